"""The verb ``report``: model cards and a comparison, from what the bundles' manifests hold and nothing else."""

from __future__ import annotations

from pathlib import Path

from fer_perception.errors import FerError
from fer_perception.evaluation.speed import EnginesResult
from fer_perception.models.bundle import MANIFEST
from fer_training.reporting.card import format_card
from fer_training.reporting.comparison import compare, draw_accuracy, format_results
from fer_training.reporting.entries import read_entry
from fer_training.reporting.speed import draw_speed, format_speed

CARD, RESULTS, IMAGE = "README.md", "results.md", "accuracy.png"
SPEED, SPEED_IMAGE = "speed.md", "speed.png"


def report(bundles: Path, out: Path, speed: Path | None = None) -> list[Path]:
    """Write a model card into every bundle, and a table and a plot of all of them into ``out``.

    The same manifests give the same files, byte for byte.

    :param bundles: the folder that holds the bundles' folders.
    :param speed: a result of ``benchmark engines``, for a table and a plot of its own.
    :return: the written files.
    :raises FerError: there is no bundle, or a manifest or ``speed`` is damaged; then nothing is written.
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
    texts[out / RESULTS] = format_results(rows, datasets, IMAGE)
    images = {out / IMAGE: draw_accuracy(rows, datasets[0])} if datasets else {}
    if speed:
        run = EnginesResult.read(speed)
        texts[out / SPEED] = format_speed(run, SPEED_IMAGE)
        if run.dataset:
            images[out / SPEED_IMAGE] = draw_speed(run)
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    for file, figure in images.items():
        figure.savefig(file, dpi=120)
    return [*texts, *images]
