"""FER2013 (Goodfellow et al., 2013) in its two usual layouts, and what circulates in the same form.

- ``fer2013.csv``, on Kaggle ``icml_face_data.csv``: columns emotion, pixels, Usage; 48 x 48 grey values in a row's
  ``pixels``; emotions 0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral; Usage Training, PublicTest or
  PrivateTest;
- class folders: ``train/angry/*.png`` and so on, or numbered, with ``train``, ``val`` and ``test`` at the top. Without
  ``val``, as on Kaggle, a tenth of ``train`` is.

``ckextended.csv`` has images of CK+ in the same columns, with 7 contempt. It does not name subjects.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.splits import split_named
from fer_perception.types import UInt8Image
from fer_training.datasets.files.tables import read_table
from fer_training.datasets.files.trees import Tree, child, find_tree, found, levels
from fer_training.datasets.photographs import read_image
from fer_training.datasets.samples import Crops, DatasetError, Samples, Split

FILES = ("fer2013.csv", "icml_face_data.csv")
CKEXTENDED = "ckextended.csv"
VOTES_FILE = "fer2013new.csv"  # other labels of the same images, which the dataset ferplus reads
SIDE = 48

# Where eyes and mouth lie in FER2013's own images: medians of MediaPipe's key points over every tenth training
# image, made symmetric (docs/training.md). So a live face is framed as the faces that the network learnt from.
FER2013_TEMPLATE = AlignmentTemplate(right_eye=(0.315, 0.395), left_eye=(0.685, 0.395), mouth=(0.5, 0.78))

USAGE: dict[Split, str] = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
COLUMNS = ("emotion", "pixels", "Usage")


def load_fer2013(path: Path, split: Split) -> Crops:
    """Load a split from the CSV, from the folder that holds it, or from class folders.

    :raises DatasetError: nothing readable there, or a row or image that cannot be used.
    """
    if file := find_csv(path, FILES):
        crops = _load_csv(file, split, "fer2013", EMOTIONS_7)
        return crops._replace(used={file, file.with_name(VOTES_FILE)})
    if tree := find_tree(path, dict(enumerate(EMOTIONS_7))):
        return load_crops(tree, split, "fer2013", EMOTIONS_7)
    raise DatasetError(
        f"{path}: neither {' nor '.join(FILES)} nor a folder '{split}' with one folder per emotion is there "
        f"({found(path)}). Give the path of the CSV, of its folder, or of the folder that holds train, val and test"
    )


def load_ckextended(path: Path, split: Split) -> Crops:
    """Load a split of CK+ as ``ckextended.csv``, of the file or the folder that holds it.

    :raises DatasetError: it is not there, or a row cannot be used.
    """
    file = find_csv(path, (CKEXTENDED,))
    if file is None:
        raise DatasetError(f"{path}: {CKEXTENDED} is not there ({found(path)}). Give its path, or its folder's")
    return _load_csv(file, split, "ckextended", EMOTIONS_8)


def find_csv(path: Path, names: tuple[str, ...]) -> Path | None:
    """The CSV that the path is, or one of these names in its folder or in the folder that this holds alone."""
    if path.is_file():
        return path
    return next((file for level in levels(path) if (file := child(level, *names))), None)


def read_rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Split, dict[str, str | None]]]:
    """The rows of a CSV of FER2013 or FER+: each row's place, for errors, its split, and its values.

    :raises DatasetError: the file cannot be read, lacks one of the columns, or has an unknown Usage.
    """
    for where, row in read_table(file, columns, f"Give the official {', '.join(FILES)} or {VOTES_FILE}"):
        split = split_named(row["Usage"])
        if split is None:
            raise DatasetError(f"{where}: Usage is '{row['Usage']}', known are {', '.join(USAGE.values())}")
        yield where, split, row


def _load_csv(file: Path, split: Split, dataset: str, labels: tuple[str, ...]) -> Crops:
    images: list[UInt8Image] = []
    targets: list[int] = []
    names: list[str] = []
    for where, of, row in read_rows(file, COLUMNS):
        if of == split:
            images.append(parse_pixels(row["pixels"], where))
            targets.append(_parse_emotion(row["emotion"], labels, where))
            names.append(row_name(where))
    if not images:
        raise DatasetError(f"{file}: holds no image of the split '{split}' ({USAGE[split]} in the CSV)")
    return Crops(Samples(dataset, split, labels, images, np.asarray(targets, np.int64), names), {file})


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


def _parse_emotion(text: str | None, labels: tuple[str, ...], where: str) -> int:
    if text is None or not text.isdecimal() or int(text) >= len(labels):
        raise DatasetError(f"{where}: emotion is '{text}', expected 0 to {len(labels) - 1}. Delete or mend the row")
    return int(text)


def load_crops(tree: Tree, split: Split, dataset: str, labels: tuple[str, ...]) -> Crops:
    """Load a split of class folders whose images are faces that were cut out.

    :raises DatasetError: there is no such split, or an image cannot be used.
    """
    listing = tree.listing(split, labels)
    listing.say_left_out(dataset)
    images = [read_grey(photograph.file) for photograph in listing.photographs]
    targets = np.asarray([photograph.target for photograph in listing.photographs], np.int64)
    names = [photograph.file.relative_to(tree.root).as_posix() for photograph in listing.photographs]
    return Crops(Samples(dataset, split, labels, images, targets, names), listing.used)


def read_grey(file: Path) -> UInt8Image:
    """An image file in grey: uint8, (H, W).

    :raises DatasetError: it is truncated, or no image.
    """
    return np.asarray(cv2.cvtColor(read_image(file), cv2.COLOR_RGB2GRAY))
