"""The verb ``report``: model cards and a comparison, from what the bundles' manifests hold and nothing else."""

from __future__ import annotations

from pathlib import Path

from fer_perception.bundle import MANIFEST
from fer_perception.errors import FerError
from fer_training.reporting.card import format_card
from fer_training.reporting.comparison import compare, draw_accuracy, format_results
from fer_training.reporting.entries import read_entry

CARD, RESULTS, PICTURE = "README.md", "results.md", "accuracy.png"


def report(bundles: Path, out: Path) -> list[Path]:
    """Write a model card into every bundle, and a table and a picture of all of them into ``out``.

    The same manifests give the same files, byte for byte.

    :param bundles: the folder that holds the bundles' folders.
    :return: the written files.
    :raises FerError: there is no bundle, or a manifest is damaged; then nothing is written.
    """
    folders = sorted(manifest.parent for manifest in bundles.glob(f"*/{MANIFEST}"))
    if not folders:
        raise FerError(
            f"{bundles}: holds no bundle, that is no folder with a {MANIFEST}. Give the folder above the bundles, or "
            "make one with export"
        )
    entries = [read_entry(folder) for folder in folders]
    rows, datasets = compare(entries)
    texts = {entry.folder / CARD: format_card(entry) for entry in entries}
    texts[out / RESULTS] = format_results(rows, datasets, PICTURE)
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    if not datasets:
        return list(texts)
    draw_accuracy(rows, datasets[0]).savefig(out / PICTURE, dpi=120)
    return [*texts, out / PICTURE]
