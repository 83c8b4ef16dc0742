"""A CSV of images: columns image, emotion, split, and any others, which name groups: age, source, subject ..."""

from __future__ import annotations

import csv
from pathlib import Path

from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.datasets.labels import emotion_index
from fer_training.datasets.photographs import Listing, Photograph, without_validation
from fer_training.datasets.samples import SPLITS, DatasetError, Split

DEFAULT_FILE = "labels.csv"
COLUMNS = ("image", "emotion", "split")


def list_manifest(path: Path, split: Split) -> Listing:
    """The photographs of one split of a manifest.

    An image's path begins at the manifest's folder, or at ``images`` in it. Where no row is of the split ``val``, a
    tenth of the training rows is: of the subjects where that column is filled, else of the images. There are
    eight labels where a row shows contempt, else seven. All further columns are groups.

    :param path: the CSV, or the folder with ``labels.csv``.
    :raises DatasetError: the file or a row cannot be used.
    """
    file = path / DEFAULT_FILE if path.is_dir() else path
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{file}: lacks the column(s) {', '.join(missing)}. It needs {', '.join(COLUMNS)}")
            rows = [(f"{file}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read ({error}). Give the path of a CSV in UTF-8") from error
    for where, row in rows:
        if row["split"] not in SPLITS:
            raise DatasetError(f"{where}: split is '{row['split']}'. Write one of {', '.join(SPLITS)}")
        if not row["image"]:
            raise DatasetError(f"{where}: names no image. Delete the row")
    contempt = any((row["emotion"] or "").strip().lower() == "contempt" for _, row in rows)
    labels = EMOTIONS_8 if contempt else EMOTIONS_7
    # Without rows of the split "val" some of the training rows become it.
    held = split in ("train", "val") and not any(row["split"] == "val" for _, row in rows)
    photographs = [
        Photograph(
            _find(file.parent, row["image"]),
            emotion_index(row["emotion"], labels, where),
            where,
            groups={column: value or "" for column, value in row.items() if column and column not in COLUMNS},
        )
        for where, row in rows
        if row["split"] == ("train" if held else split)
    ]
    return Listing(file.parent, labels, without_validation(photographs, split) if held else photographs)


def _find(folder: Path, image: str) -> Path:
    beside = folder / image
    in_images = folder / "images" / image
    return in_images if not beside.exists() and in_images.exists() else beside
