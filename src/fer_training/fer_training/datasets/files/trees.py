"""Folders of datasets: class folders, with folders of splits above them or without, as archives unpack them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from fer_perception.faces.single_face import Region
from fer_perception.files import visible_entries
from fer_perception.labels import emotion_named
from fer_perception.splits import split_named
from fer_training.datasets.labels import emotion_index, emotion_of_class
from fer_training.datasets.photographs import IMAGE_SUFFIXES, Listing, Photograph, without_validation
from fer_training.datasets.samples import DatasetError, Split
from fer_training.datasets.splits import held_out

MAX_LEVELS = 5
FOUND = 8  # names in an error

log = logging.getLogger(__name__)


class Labelled(NamedTuple):
    """An image's file, what it shows ("": nothing that can be learnt), and where its annotation has the face."""

    file: Path
    emotion: str
    where: str
    box: Region | None = None


@dataclass(frozen=True)
class Tree:
    """All images of a dataset that is folders, by split; the only key is None where no folders of splits are there.

    ``others``: files beside the images that were read.
    """

    root: Path
    parts: dict[Split | None, list[Labelled]]
    others: frozenset[Path] = frozenset()

    @property
    def emotions(self) -> set[str]:
        """All that the images show."""
        return {labelled.emotion for part in self.parts.values() for labelled in part}

    def listing(self, split: Split, labels: tuple[str, ...], unwanted: tuple[str, ...] = ("",)) -> Listing:
        """One split. Without a split ``val`` a tenth of ``train`` is; without any splits a tenth of all is ``test``.

        :param unwanted: emotions whose images are left out.
        :raises DatasetError: there is no such split, it is empty, or an image shows another emotion.
        """
        parts = {
            key: [
                Photograph(file, emotion_index(emotion, labels, where), where, box)
                for file, emotion, where, box in part
                if emotion not in unwanted
            ]
            for key, part in self.parts.items()
        }
        used = {labelled.file for part in self.parts.values() for labelled in part} | self.others
        left_out = sum(map(len, self.parts.values())) - sum(map(len, parts.values()))
        chosen = self._of_split(parts, split)
        if not chosen:
            top = split_folders(self.root).get(split if split in self.parts else "train", self.root)
            raise DatasetError(
                f"{top}: holds no image of the split '{split}' in folders of emotions ({found(top)}). Put each into "
                "the folder of its emotion"
            )
        return Listing(self.root, labels, chosen, used, left_out)

    def _of_split(self, parts: dict[Split | None, list[Photograph]], split: Split) -> list[Photograph]:
        if None in parts:
            test = held_out(photograph.key for photograph in parts[None])
            chosen = [photograph for photograph in parts[None] if (photograph.key in test) == (split == "test")]
            return chosen if split == "test" else without_validation(chosen, split)
        if split in ("train", "val") and "train" in parts and "val" not in parts:
            log.info("%s: has no folder of the split 'val': a tenth of 'train' is", self.root)
            return without_validation(parts["train"], split)
        if split not in parts:
            raise DatasetError(
                f"{self.root}: has no folder of the split '{split}', but of {', '.join(map(str, parts))}. Add one "
                f"with one folder per emotion in it, or choose another split ({found(self.root)})"
            )
        return parts[split]


def find_tree(path: Path, numbers: Mapping[int, str] = MappingProxyType({})) -> Tree | None:
    """The class folders at a path, or in the folder that it holds alone; None where neither is there.

    Folders of splits and emotions may have any of the usual names (:mod:`fer_perception.splits`,
    :mod:`fer_training.datasets.labels`). Images may lie deeper inside a class folder.

    :param numbers: what numbered class folders mean; the first one must be there.
    :raises DatasetError: a class folder's name is no emotion, or two folders are of the same split.
    """
    for level in levels(path):
        tops: Mapping[Split | None, Path] = split_folders(level) or {None: level}
        if None not in tops or _has_classes(level, numbers):
            inner = {
                split: next((each for each in levels(top) if _has_classes(each, numbers)), top)
                for split, top in tops.items()
            }
            found_numbers = {int(each.name) for top in inner.values() for each in folders(top) if each.name.isdecimal()}
            # A copy that counts from another number has another list of classes.
            if found_numbers and min(found_numbers) != min(numbers, default=0):
                numbers = {}
            return Tree(level, {split: _images_by_class(top, numbers) for split, top in inner.items()})
    return None


def _has_classes(folder: Path, numbers: Mapping[int, str]) -> bool:
    names = [inner.name for inner in folders(folder)]
    return any(name.strip().isdecimal() or emotion_of_class(name, numbers) for name in names)


def _images_by_class(top: Path, numbers: Mapping[int, str]) -> list[Labelled]:
    labelled = []
    for folder in folders(top):
        emotion = emotion_of_class(folder.name, numbers)
        where = f"{folder} (a class folder)"
        if emotion is None and folder.name.strip().isdecimal():
            raise DatasetError(
                f"{where}: what the number means is not known. Name the folder after its emotion; or give the "
                "dataset whose numbers these are, if it is fer2013, affectnet7, affectnet8 or rafdb, as NAME:PATH"
            )
        if emotion is None:
            emotion_index(folder.name, (), where)
        for file in images_below(folder):
            for inner in file.relative_to(folder).parts[:-1]:
                if split_named(inner) or emotion_named(inner) not in (None, emotion):
                    raise DatasetError(
                        f"{file.parent}: a folder '{inner}' lies inside the class folder {folder}. Put folders of "
                        "splits above the class folders, and class folders beside each other"
                    )
            labelled.append(Labelled(file, emotion or "", str(folder)))
    return labelled


def split_folders(folder: Path) -> dict[Split | None, Path]:
    """The folders of splits in a folder, whatever their usual name: train, Training, valid, dev, testing ...

    :raises DatasetError: two are of the same split.
    """
    tops: dict[Split | None, Path] = {}
    for inner in folders(folder):
        split = split_named(inner.name)
        if split is None or split == "adapt":
            continue
        if split in tops:
            raise DatasetError(
                f"{folder}: '{tops[split].name}' and '{inner.name}' both mean the split '{split}'. Rename or move one"
            )
        tops[split] = inner
    return tops


def levels(path: Path) -> Iterator[Path]:
    """A folder, and the one that it holds alone, and so on, as archives are unpacked into a folder of their name."""
    for _ in range(MAX_LEVELS):
        if not path.is_dir():
            return
        yield path
        inside = folders(path)
        if len(inside) != 1:
            return
        (path,) = inside


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without hidden files and what operating systems leave behind."""
    # As text: the order is part of a split's fingerprint.
    return sorted(visible_entries(folder))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, see :func:`entries`."""
    return [entry for entry in entries(folder) if entry.is_dir()]


def child(folder: Path, *names: str) -> Path | None:
    """The first of these names that is in a folder, whatever its case."""
    inside = {entry.name.lower(): entry for entry in reversed(entries(folder))} if folder.is_dir() else {}
    return next((inside[name.lower()] for name in names if name.lower() in inside), None)


def images_below(folder: Path) -> list[Path]:
    """All image files in a folder and in those inside it, sorted."""
    images = []
    for entry in entries(folder):
        if entry.is_dir():
            images += images_below(entry)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            images.append(entry)
    return images


def found(path: Path) -> str:
    """What lies at a path, for errors."""
    if not path.exists():
        return "nothing is there"
    names = [entry.name for entry in entries(path)] if path.is_dir() else [f"the file {path.name}"]
    more = f" and {len(names) - FOUND} more" if len(names) > FOUND else ""
    return f"found: {', '.join(names[:FOUND]) or 'an empty folder'}{more}"
