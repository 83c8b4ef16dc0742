"""FER+ (Barsoum et al., 2016): ten people's votes on every image of FER2013.

``fer2013.csv`` and ``fer2013new.csv``, row for row the same images, in one folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fer_perception.labels import EMOTIONS_8
from fer_perception.types import UInt8Image
from fer_training.datasets.fer2013 import COLUMNS, FILE, USAGE, parse_pixels, read_rows, row_name
from fer_training.datasets.labels import emotion_index
from fer_training.datasets.samples import DatasetError, Samples, Split

VOTES_FILE = "fer2013new.csv"
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
NO_EMOTION = ("unknown", "NF")  # NF: no face


def read_votes(path: Path, split: Split) -> Iterator[tuple[str, dict[str, str | None], np.ndarray]]:
    """Each image of a split: its place, its row of fer2013.csv, and its votes: int64, ``VOTES`` and ``NO_EMOTION``.

    :param path: the folder with both files.
    :raises DatasetError: a file is missing, a row cannot be used, or the rows of the files do not belong together.
    """
    file = path / VOTES_FILE
    rows_of_images = read_rows(path / FILE, COLUMNS)
    for where, row in read_rows(file, ("Usage", *VOTES, *NO_EMOTION)):
        image_where, image = next(rows_of_images, ("", None))
        if image is None or image["Usage"] != row["Usage"]:
            raise DatasetError(f"{where}: is not the same row of {path / FILE}. Get both files in one release")
        if row["Usage"] == USAGE[split]:
            yield image_where, image, _parse_votes([row[vote] for vote in (*VOTES, *NO_EMOTION)], where)
    if next(rows_of_images, None) is not None:
        raise DatasetError(f"{file}: has fewer rows than {path / FILE}. Get both files in one release")


def load_ferplus(path: Path, split: Split) -> Samples:
    """Load a split with eight labels, under the rule "majority" of the authors' code.

    Single votes are taken back; an image is kept where one of the emotions has more than half of the votes that are
    left, "unknown" and "no face" included. Its soft target is each emotion's fraction of these votes.

    :param path: the folder with both files.
    :raises DatasetError: a file is missing, a row cannot be used, or the rows of the files do not belong together.
    """
    labels = [emotion_index(vote, EMOTIONS_8, VOTES_FILE) for vote in VOTES]
    images: list[UInt8Image] = []
    names: list[str] = []
    soft: list[np.ndarray] = []
    for where, image, votes in read_votes(path, split):
        votes[votes <= 1] = 0
        emotions = votes[: len(VOTES)]
        if emotions.max() * 2 <= votes.sum():
            continue
        fractions = np.zeros(len(EMOTIONS_8), np.float32)
        fractions[labels] = emotions / emotions.sum()
        images.append(parse_pixels(image["pixels"], where))
        names.append(row_name(where))
        soft.append(fractions)
    if not images:
        raise DatasetError(
            f"{path / VOTES_FILE}: holds no image of the split '{split}' ({USAGE[split]}) that can be used"
        )
    soft_targets = np.stack(soft)
    return Samples("ferplus", split, EMOTIONS_8, images, soft_targets.argmax(axis=1), names, soft_targets)


def _parse_votes(texts: list[str | None], where: str) -> np.ndarray:
    if not all(text is not None and text.isdecimal() for text in texts):
        raise DatasetError(f"{where}: a vote is no whole number ({texts}). Get the official {VOTES_FILE} again")
    return np.asarray(texts, np.int64)
