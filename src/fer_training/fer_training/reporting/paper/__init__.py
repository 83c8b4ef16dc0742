"""The paper's claims beside our own figures: ``report --measured``."""

from __future__ import annotations

from pathlib import Path

from fer_training.reporting.paper.measurements import Folder
from fer_training.reporting.paper.page import format_page, to_html

PAGE, HTML_PAGE, PICTURES = "claims.md", "claims.html", "claims"


def report_claims(measured: Path, out: Path, root: Path = Path()) -> list[Path]:
    """Write ``claims.md``, the same as ``claims.html``, which needs nothing else, and pictures into ``out``.

    A claim whose measurement is missing, damaged, of another model or of replaced weights is "not measured", with the
    reason. The same measurements give the same files, byte for byte.

    :param measured: the folder with what the commands of :mod:`.measurements` wrote.
    :param root: the repository's, where the measured weights are.
    :return: the two pages.
    :raises FerError: ``measured`` is no folder.
    """
    folder = Folder(measured, root)
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    text = format_page(folder, out, out / PICTURES)
    pages = {out / PAGE: text, out / HTML_PAGE: to_html(text, out)}
    for file, content in pages.items():
        file.write_text(content, encoding="utf-8")
    return list(pages)


def measuring_script(measured: Path, root: Path = Path()) -> str:
    """A bash script that measures what ``measured`` lacks, see :meth:`.measurements.Folder.script`.

    :raises FerError: ``measured`` is no folder.
    """
    return Folder(measured, root).script()
