"""A CSV of images: columns image, emotion, split, and any others, which name groups: age, source, subject ..."""

from __future__ import annotations

import logging
from pathlib import Path

from fer_perception.files import some_names
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8, emotion_named
from fer_perception.splits import SPLITS, Split, split_named
from fer_training.datasets.files.tables import read_table
from fer_training.datasets.files.trees import child
from fer_training.datasets.labels import emotion_index, is_no_emotion
from fer_training.datasets.photographs import Listing, Photograph, without_validation
from fer_training.datasets.samples import DatasetError

DEFAULT_FILE = "labels.csv"
COLUMNS = ("image", "emotion", "split")

log = logging.getLogger(__name__)


def list_manifest(path: Path, split: Split) -> Listing:
    """The photographs of one split of a manifest.

    An image's path begins at the manifest's folder, or at ``images`` in it. Where no row is of the split ``val``, a
    tenth of the training rows is: of the subjects where that column is filled, else of the images. There are
    eight labels where a row shows contempt, else seven. All further columns are groups. Splits may have any of their
    usual names (:mod:`fer_perception.splits`). Rows without an emotion, or "unknown", are left out.

    :param path: the CSV, or the folder with ``labels.csv``.
    :raises DatasetError: the file or a row cannot be used.
    """
    file = (child(path, DEFAULT_FILE) or path / DEFAULT_FILE) if path.is_dir() else path
    rows = list(read_table(file, COLUMNS, "Give the path of a CSV in UTF-8 with these columns"))
    splits = [split_named(row["split"]) for _, row in rows]
    for (where, row), named in zip(rows, splits, strict=True):
        if named is None:
            raise DatasetError(f"{where}: split is '{row['split']}'. Write one of {', '.join(SPLITS)}")
        if not row["image"]:
            raise DatasetError(f"{where}: names no image. Delete the row")
    labels = EMOTIONS_8 if any(emotion_named(row["emotion"] or "") == "contempt" for _, row in rows) else EMOTIONS_7
    # Without rows of the split "val" some of the training rows become it.
    held = split in ("train", "val") and "val" not in splits
    files = [_find(file.parent, row["image"] or "") for _, row in rows]
    by_file: dict[Path, set[str | None]] = {}
    for image, named in zip(files, splits, strict=True):
        by_file.setdefault(image, set()).add(named)
    if shared := [image for image, of in by_file.items() if len(of) > 1]:
        log.warning("%s: %d images are in several splits: %s", file, len(shared), some_names(shared))
    chosen = [named == ("train" if held else split) for named in splits]
    photographs = [
        Photograph(
            image,
            emotion_index(row["emotion"], labels, where),
            where,
            groups={column: value or "" for column, value in row.items() if column and column not in COLUMNS},
        )
        for (where, row), is_chosen, image in zip(rows, chosen, files, strict=True)
        if is_chosen and not is_no_emotion(row["emotion"])
    ]
    left_out = sum(chosen) - len(photographs)
    photographs = without_validation(photographs, split) if held else photographs
    return Listing(file.parent, labels, photographs, {file, *files}, left_out)


def _find(folder: Path, image: str) -> Path:
    beside = folder / image
    in_images = folder / "images" / image
    return in_images if not beside.exists() and in_images.exists() else beside
