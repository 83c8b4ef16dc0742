"""The paper's claims beside our own figures: ``report --claims``."""

from __future__ import annotations

from pathlib import Path

from fer_training.reporting.paper.drawing import draw_figures
from fer_training.reporting.paper.folder import Folder
from fer_training.reporting.paper.page import format_page

PAGE = "claims.md"


def report_claims(measured: Path, out: Path, root: Path = Path()) -> list[Path]:
    """Write ``claims.md`` and its figures into ``out``.

    A figure whose measurement is missing, of another model or of replaced weights is "not measured", with the reason.
    The same measurements give the same files, byte for byte.

    :param measured: the folder with what the commands of :mod:`.measurements` wrote.
    :param root: the repository's, where the measured weights are.
    :return: the written files.
    :raises FerError: ``measured`` is no folder, or a measurement is damaged or of another version.
    """
    folder = Folder(measured, root)
    text = format_page(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).write_text(text, encoding="utf-8")
    return [out / PAGE, *draw_figures(folder, out)]


def measuring_script(measured: Path, root: Path = Path()) -> str:
    """A bash script that measures what ``measured`` lacks, see :meth:`.folder.Folder.script`.

    :raises FerError: ``measured`` is no folder.
    """
    return Folder(measured, root).script()
