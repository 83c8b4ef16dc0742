"""FER2013 (Goodfellow et al., 2013) in its two usual layouts.

- the official ``fer2013.csv``: columns emotion, pixels, Usage; 48 x 48 grey values in a row's ``pixels``; emotions
  0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral; Usage Training, PublicTest or PrivateTest;
- class folders: ``train/angry/*.png`` and so on, with ``train``, ``val`` and ``test`` at the top.
"""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fer_perception.labels import EMOTIONS_7
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.types import UInt8Image
from fer_training.datasets.samples import DatasetError, Samples, Split

FILE = "fer2013.csv"
SIDE = 48

# Where eyes and mouth lie in FER2013's own images: medians of MediaPipe's key points over every tenth training
# image, made symmetric (docs/training.md). So a live face is framed as the faces that the network learnt from.
FER2013_TEMPLATE = AlignmentTemplate(right_eye=(0.315, 0.395), left_eye=(0.685, 0.395), mouth=(0.5, 0.78))

USAGE: dict[Split, str] = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
COLUMNS = ("emotion", "pixels", "Usage")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def load_fer2013(path: Path, split: Split) -> Samples:
    """Load a split from ``fer2013.csv``, from the folder that holds it, or from class folders.

    :raises DatasetError: nothing readable there, or a row or image that cannot be used.
    """
    csv_file = path / FILE if path.is_dir() else path
    if csv_file.is_file():
        return _load_csv(csv_file, split)
    if (path / split).is_dir():
        return _load_folders(path, split)
    raise DatasetError(
        f"{path}: neither {FILE} nor a folder '{split}' with one folder per emotion is there. Give the path of "
        "the official CSV, of its folder, or of the folder that holds train, val and test"
    )


def read_rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str | None]]]:
    """The rows of a CSV of FER2013 or FER+: each row's place, for errors, and its values.

    :raises DatasetError: the file cannot be read, lacks one of the columns, or has an unknown Usage.
    """
    csv.field_size_limit(sys.maxsize)
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream)
            missing = [column for column in columns if column not in (rows.fieldnames or ())]
            if missing:
                raise DatasetError(
                    f"{file}: lacks the column(s) {', '.join(missing)}. The official {file.name} has "
                    f"{', '.join(columns)}"
                )
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                if row["Usage"] not in USAGE.values():
                    raise DatasetError(f"{where}: Usage is '{row['Usage']}', known are {', '.join(USAGE.values())}")
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read ({error}). Get the official {file.name} again") from error


def _load_csv(file: Path, split: Split) -> Samples:
    images: list[UInt8Image] = []
    targets: list[int] = []
    names: list[str] = []
    for where, row in read_rows(file, COLUMNS):
        if row["Usage"] == USAGE[split]:
            images.append(parse_pixels(row["pixels"], where))
            targets.append(_parse_emotion(row["emotion"], where))
            names.append(row_name(where))
    return _samples(images, targets, names, split, file)


def row_name(where: str) -> str:
    """A row's name among samples: file name and line, from its place."""
    file, _, line = where.rpartition(", line ")
    return f"{Path(file).name}:{line}"


def parse_pixels(text: str | None, where: str) -> UInt8Image:
    """An image from a row of fer2013.csv: uint8, (48, 48).

    :raises DatasetError: these are not 48 x 48 values from 0 to 255.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # text that is no number is only a warning in some versions of numpy
            pixels = np.fromstring(text or "", np.int64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise DatasetError(f"{where}: a pixel is not a whole number. Delete or mend the row") from error
    if len(pixels) != SIDE * SIDE:
        raise DatasetError(
            f"{where}: {len(pixels)} pixels where {SIDE * SIDE} are expected ({SIDE} x {SIDE}). The file is damaged: "
            "get it again, or delete the row"
        )
    if pixels.min() < 0 or pixels.max() > 255:
        raise DatasetError(f"{where}: a pixel lies outside 0 to 255. Delete or mend the row")
    return pixels.astype(np.uint8).reshape(SIDE, SIDE)


def _parse_emotion(text: str | None, where: str) -> int:
    if text is None or not text.isdecimal() or int(text) >= len(EMOTIONS_7):
        raise DatasetError(f"{where}: emotion is '{text}', expected 0 to {len(EMOTIONS_7) - 1}. Delete or mend the row")
    return int(text)


def _load_folders(path: Path, split: Split) -> Samples:
    images: list[UInt8Image] = []
    targets: list[int] = []
    names: list[str] = []
    folders = {folder.name: folder for folder in sorted((path / split).iterdir()) if folder.is_dir()}
    unknown = sorted(set(folders) - set(EMOTIONS_7))
    if unknown:
        raise DatasetError(
            f"{path / split}: unknown class folder(s) {', '.join(unknown)}. Name them {', '.join(EMOTIONS_7)}"
        )
    for name, folder in folders.items():
        for file in sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES):
            image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            if image is None:
                raise DatasetError(f"{file}: not a readable image. Delete or replace it")
            images.append(image)
            targets.append(EMOTIONS_7.index(name))
            names.append(file.relative_to(path).as_posix())
    return _samples(images, targets, names, split, path / split)


def _samples(images: list[UInt8Image], targets: list[int], names: list[str], split: Split, where: Path) -> Samples:
    if not images:
        raise DatasetError(f"{where}: holds no image of the split '{split}' ({USAGE[split]} in the CSV)")
    return Samples("fer2013", split, EMOTIONS_7, images, np.asarray(targets, np.int64), names)
