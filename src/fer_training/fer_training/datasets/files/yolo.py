"""Faces in YOLO's form: a text file with class and box beside each image, and ``data.yaml`` with the classes' names.

``train/images`` and ``train/labels``, or ``images/train`` and ``labels/train``, and so on for the other splits.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from PIL import Image

from fer_perception.faces.single_face import Region
from fer_perception.labels import emotion_named
from fer_training.datasets.files.trees import Labelled, Tree, child, entries, images_below, levels, split_folders
from fer_training.datasets.samples import DatasetError, Split

NAMES = ("data.yaml", "data.yml", "dataset.yaml")


def find_yolo(path: Path) -> Tree | None:
    """The images at a path, or in the folder that it holds alone, if they are in YOLO's form; else None.

    :raises DatasetError: the classes have no names, or one is no emotion, or a label cannot be used.
    """
    for level in levels(path):
        pairs = _pairs(level)
        if not pairs:
            continue
        file = child(level, *NAMES)
        if file is None:
            raise DatasetError(
                f"{level}: has YOLO's folders, images and labels, but no {NAMES[0]}, which names classes"
            )
        names = _names(file)
        parts: dict[Split | None, list[Labelled]] = {}
        texts: set[Path] = {file}
        for split, (images, labels) in pairs.items():
            by_stem = {image.stem: image for image in images_below(images)}
            own = [entry for entry in entries(labels) if entry.suffix == ".txt" and entry.name != "classes.txt"]
            texts.update(own)
            parts[split] = [labelled for text in own for labelled in _faces(text, images, by_stem, names)]
        return Tree(level, parts, frozenset(texts))
    return None


def _pairs(level: Path) -> dict[Split | None, tuple[Path, Path]]:
    """The folders of images and of labels, by split."""
    images, labels = child(level, "images"), child(level, "labels")
    if images and labels:
        ours, theirs = split_folders(images), split_folders(labels)
        return {split: (ours[split], theirs[split]) for split in ours if split in theirs}
    found = {split: (child(top, "images"), child(top, "labels")) for split, top in split_folders(level).items()}
    return {split: (images, labels) for split, (images, labels) in found.items() if images and labels}


def _names(file: Path) -> dict[int, str]:
    """The classes' emotions by their numbers."""
    try:
        names = yaml.safe_load(file.read_text(encoding="utf-8"))["names"]
        numbered = names.items() if isinstance(names, dict) else enumerate(names)
        words = {int(number): str(name) for number, name in numbered}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise DatasetError(f"{file}: has no list 'names' of the classes ({error!r}). Get the dataset again") from error
    if unknown := [word for word in words.values() if emotion_named(word) is None]:
        raise DatasetError(f"{file}: the classes {', '.join(unknown)} are no emotions that are known")
    return {number: emotion_named(word) or "" for number, word in words.items()}


def _faces(text: Path, images: Path, by_stem: dict[str, Path], names: dict[int, str]) -> list[Labelled]:
    """The faces of one label file: lines of class, middle, width and height, as fractions of the image."""
    image = by_stem.get(text.stem, images / f"{text.stem}.jpg")
    faces = []
    try:
        lines = text.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{text}: cannot be read ({error}). Write it in UTF-8, or delete it") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{text}, line {number}"
        try:
            label, *box = line.split()
            emotion = names[int(label)]
            x, y, width, height = map(float, box)
        except (ValueError, KeyError) as error:
            raise DatasetError(
                f"{where}: '{line}' is no class ({', '.join(map(str, names))}) and four numbers of a box. Mend or "
                "delete it"
            ) from error
        faces.append(Labelled(image, emotion, where, _pixels(image, x - width / 2, y - height / 2, width, height)))
    return faces


def _pixels(image: Path, *box: float) -> Region | None:
    """A box of fractions in pixels; None where the image cannot be opened, which is said when it is read."""
    try:
        with Image.open(image) as opened:
            x, y, width, height = (value * opened.size[index % 2] for index, value in enumerate(box))
    except (OSError, ValueError, SyntaxError):
        return None
    return x, y, width, height
