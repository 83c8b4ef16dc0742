"""FER+ (Barsoum et al., 2016): ten people's votes on every image of FER2013.

- ``fer2013.csv`` (or ``icml_face_data.csv``) and ``fer2013new.csv``, row for row the same images, in one folder;
- ``fer2013new.csv`` with the images as files of the names in it, in ``FER2013Train`` and so on;
- ``FER2013Train``, ``FER2013Valid``, ``FER2013Test`` with ``label.csv`` beside the images, as the authors' code writes
  them: image, box, votes, without a line of names;
- class folders, one label each: ``train/angry/*.png`` and so on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_perception.labels import EMOTIONS_8
from fer_perception.types import UInt8Image
from fer_training.datasets.fer2013 import (
    COLUMNS,
    FILES,
    USAGE,
    VOTES_FILE,
    find_csv,
    load_crops,
    parse_pixels,
    read_grey,
    read_rows,
    row_name,
)
from fer_training.datasets.files.tables import read_table
from fer_training.datasets.files.trees import child, find_tree, found, images_below, levels, split_folders
from fer_training.datasets.labels import emotion_index
from fer_training.datasets.samples import Crops, DatasetError, Samples, Split

SPLIT_FILE = "label.csv"
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
NO_EMOTION = ("unknown", "NF")  # NF: no face
IMAGE = "Image name"

log = logging.getLogger(__name__)


class Voted(NamedTuple):
    """An image's name, its split, its votes (int64, ``VOTES`` and ``NO_EMOTION``), how to read it, the files."""

    name: str
    split: Split
    votes: np.ndarray
    read: Callable[[], UInt8Image]  # uint8, (48, 48)
    files: tuple[Path, Path]


def read_votes(path: Path) -> Iterator[Voted]:
    """Each image with votes, of all splits; none where there are no votes.

    :param path: the folder with the files, or one that holds it alone.
    :raises DatasetError: a row cannot be used, or the rows of the files do not belong together.
    """
    for level in levels(path):
        if file := child(level, VOTES_FILE):
            pixels = find_csv(level, FILES)
            yield from _by_row(file, pixels) if pixels else _by_name(file)
            return
        for split, folder in split_folders(level).items():
            if split and (file := child(folder, SPLIT_FILE)):
                columns = (IMAGE, "box", *VOTES, *NO_EMOTION)
                for where, row in read_table(file, columns, f"Get {SPLIT_FILE} again", may_lack_names=True):
                    yield _voted(folder / (row[IMAGE] or ""), split, row, where, file)


def _by_row(file: Path, pixels: Path) -> Iterator[Voted]:
    rows_of_images = read_rows(pixels, COLUMNS)
    for where, split, row in read_rows(file, ("Usage", *VOTES, *NO_EMOTION)):
        image_where, image_split, image = next(rows_of_images, ("", None, {}))
        if image_split != split:
            raise DatasetError(f"{where}: is not the same row of {pixels}. Get both files in one release")
        read = partial(parse_pixels, image.get("pixels"), image_where)
        yield Voted(row_name(image_where), split, _parse_votes(row, where), read, (file, pixels))
    if next(rows_of_images, None) is not None:
        raise DatasetError(f"{file}: has fewer rows than {pixels}. Get both files in one release")


def _by_name(file: Path) -> Iterator[Voted]:
    images = {image.name: image for image in images_below(file.parent)}
    for where, split, row in read_rows(file, ("Usage", IMAGE, *VOTES, *NO_EMOTION)):
        name = row[IMAGE]
        if not name:
            continue  # an image that the authors took out
        if name not in images:
            raise DatasetError(
                f"{where}: {name} is nowhere in {file.parent}, nor is {FILES[0]}. Put {FILES[0]} there, or the images"
            )
        yield _voted(images[name], split, row, where, file)


def _voted(image: Path, split: Split, row: dict[str, str | None], where: str, file: Path) -> Voted:
    name = f"{image.parent.name}/{image.name}"
    return Voted(name, split, _parse_votes(row, where), partial(read_grey, image), (file, image))


def load_ferplus(path: Path, split: Split) -> Crops:
    """Load a split with eight labels, under the rule "majority" of the authors' code.

    Single votes are taken back; an image is kept where one of the emotions has more than half of the votes that are
    left, "unknown" and "no face" included. Its soft target is each emotion's fraction of these votes. Images in class
    folders have one label each.

    :param path: the folder with the files.
    :raises DatasetError: a file is missing, a row cannot be used, or the rows of the files do not belong together.
    """
    labels = [emotion_index(vote, EMOTIONS_8, VOTES_FILE) for vote in VOTES]
    images: list[UInt8Image] = []
    names: list[str] = []
    soft: list[np.ndarray] = []
    used: set[Path] = set()
    count = 0
    for voted in read_votes(path):
        used.update(voted.files)
        if voted.split != split:
            continue
        count += 1
        votes = np.where(voted.votes > 1, voted.votes, 0)
        emotions = votes[: len(VOTES)]
        if emotions.max() * 2 > votes.sum():
            fractions = np.zeros(len(EMOTIONS_8), np.float32)
            fractions[labels] = emotions / emotions.sum()
            images.append(voted.read())
            names.append(voted.name)
            soft.append(fractions)
    if not used:
        return _load_class_folders(path, split)
    if not images:
        raise DatasetError(f"{path}: holds no image of the split '{split}' ({USAGE[split]}) that can be used")
    log.info("ferplus %s: %d of %d images, without a majority, are left out", split, count - len(images), count)
    soft_targets = np.stack(soft)
    return Crops(Samples("ferplus", split, EMOTIONS_8, images, soft_targets.argmax(axis=1), names, soft_targets), used)


def _load_class_folders(path: Path, split: Split) -> Crops:
    tree = find_tree(path)
    if tree is None:
        raise DatasetError(
            f"{path}: neither {VOTES_FILE} with {FILES[0]} or images, nor folders FER2013Train with {SPLIT_FILE}, nor "
            f"class folders are there ({found(path)}). Get the official {VOTES_FILE}, and put it beside {FILES[0]}"
        )
    return load_crops(tree, split, "ferplus", EMOTIONS_8)


def _parse_votes(row: dict[str, str | None], where: str) -> np.ndarray:
    texts = [row[vote] for vote in (*VOTES, *NO_EMOTION)]
    if not all(text is not None and text.isdecimal() for text in texts):
        raise DatasetError(f"{where}: a vote is no whole number ({texts}). Get the official file again")
    return np.asarray(texts, np.int64)
