"""AffectNet (Mollahosseini et al., 2017), the manually annotated set, in its layouts.

- 2017: ``training.csv`` and ``validation.csv`` (or the same in ``Manually_Annotated_file_lists``), and the images in
  ``Manually_Annotated/Manually_Annotated_Images`` or ``Manually_Annotated_Images``;
- later: ``train_set/images/N.jpg`` with ``train_set/annotations/N_exp.npy``, and ``val_set`` alike;
- as others pass it on: class folders, named or numbered, with folders of splits or without, or YOLO's form.

Expressions: 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt. 8 none,
9 uncertain and 10 no face show no emotion that can be learnt and are left out.

The official test set was never published: as everywhere in the literature, ``test`` is the validation set, and ``val``
is a tenth of the training set. Of folders of splits, ``test`` is where it is there, else ``val`` is the test set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_perception.faces.single_face import Region
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.datasets.files.tables import read_table
from fer_training.datasets.files.trees import child, entries, find_tree, found, levels
from fer_training.datasets.files.yolo import find_yolo
from fer_training.datasets.photographs import Listing, Photograph, without_validation
from fer_training.datasets.samples import DatasetError, Split

EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
LAST_EXPRESSION = 10
NUMBERS = {n: EXPRESSIONS[n] if n < len(EXPRESSIONS) else "" for n in range(LAST_EXPRESSION + 1)}
BOX = ("face_x", "face_y", "face_width", "face_height")
COLUMNS = ("subDirectory_filePath", *BOX, "facial_landmarks", "expression", "valence", "arousal")
OFFICIAL = {"train": "training", "val": "training", "test": "validation"}
SETS = {"train": "train_set", "val": "train_set", "test": "val_set"}
ENDING = "_exp.npy"
LISTS = ("", "Manually_Annotated_file_lists")
IMAGES = ("Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_Images")


def affectnet(labels: tuple[str, ...]) -> Callable[[Path, Split], Listing]:
    """The loader for seven or eight labels; with seven, images of contempt are left out."""
    assert labels in (EMOTIONS_7, EMOTIONS_8)

    def list_affectnet(path: Path, split: Split) -> Listing:
        """The photographs of one split.

        :raises DatasetError: none of the layouts is there, or a row or annotation cannot be used.
        """
        for level in levels(path):
            for read in (_from_lists, _from_annotations):
                if listing := read(level, split, labels):
                    chosen = listing.photographs if split == "test" else without_validation(listing.photographs, split)
                    return replace(listing, photographs=chosen)
        # Its folders have numbers and names that are no classes.
        own = (*IMAGES, *(f"{name}/annotations" for name in SETS.values()))
        is_official = any(_inside(path, name) for name in own)
        if not is_official and (tree := find_yolo(path) or find_tree(path, NUMBERS)):
            parts = dict(tree.parts)
            if "test" not in parts and "val" in parts:
                parts["test"] = parts.pop("val")
            return replace(tree, parts=parts).listing(split, labels, unwanted=("", *set(EXPRESSIONS) - set(labels)))
        raise DatasetError(
            f"{path}: neither {OFFICIAL[split]}.csv nor the folder {SETS[split]} is there, nor class folders "
            f"({found(path)}). Give the folder that holds {' or '.join(LISTS[1:])} and Manually_Annotated, the one "
            "that holds train_set and val_set, or the one that holds class folders"
        )

    return list_affectnet


def _from_lists(path: Path, split: Split, labels: tuple[str, ...]) -> Listing | None:
    files = {}
    for name in OFFICIAL.values():
        candidates = [child(folder, f"{name}.csv") for inner in LISTS if (folder := _inside(path, inner))]
        files[name] = next(filter(None, candidates), None)
    file = files[OFFICIAL[split]]
    if file is None:
        return None
    folder = next(filter(None, (_inside(path, name) for name in IMAGES)), None)
    if folder is None:
        raise DatasetError(f"{path}: the folder {IMAGES[0]} is missing. Unpack the images there")
    photographs, left_out = [], 0
    used = {each for each in files.values() if each}
    for each in sorted(used):
        for where, row in read_table(each, COLUMNS, "Get the official file lists again", may_lack_names=True):
            image = folder / (row[COLUMNS[0]] or "")
            used.add(image)
            if each != file:
                continue
            target = _target(row["expression"], labels, where)
            if target is None:
                left_out += 1
            else:
                photographs.append(Photograph(image, target, where, box=_box([row[key] for key in BOX], where)))
    return Listing(path, labels, photographs, used, left_out)


def _from_annotations(path: Path, split: Split, labels: tuple[str, ...]) -> Listing | None:
    pairs = {name: (_inside(path, f"{name}/images"), _inside(path, f"{name}/annotations")) for name in SETS.values()}
    if not all(pairs[SETS[split]]):
        return None
    photographs, left_out = [], 0
    used: set[Path] = set()
    for name, (images, labels_folder) in pairs.items():
        if not images or not labels_folder:
            continue
        by_stem = {image.stem: image for image in entries(images)}
        files = entries(labels_folder)
        used.update(files)
        for file in files:
            if not file.name.endswith(ENDING):
                continue
            stem = file.name.removesuffix(ENDING)
            image = by_stem.get(stem, images / f"{stem}.jpg")
            used.add(image)
            if name != SETS[split]:
                continue
            target = _target(_expression(file), labels, str(file))
            if target is None:
                left_out += 1
            else:
                photographs.append(Photograph(image, target, str(file)))
    return Listing(path, labels, photographs, used, left_out)


def _inside(path: Path, inner: str) -> Path | None:
    """A folder at a path inside another, whatever the case of the names."""
    folder: Path | None = path
    for part in Path(inner).parts:
        folder = child(folder, part) if folder else None
    return folder


def _expression(file: Path) -> str:
    try:
        return str(np.load(file, allow_pickle=False).item())
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}). Get the annotations again") from error


def _target(expression: str | None, labels: tuple[str, ...], where: str) -> int | None:
    """Index into labels; None for what shows none of them."""
    if expression is None or not expression.isdecimal() or int(expression) > LAST_EXPRESSION:
        raise DatasetError(f"{where}: expression is '{expression}', expected 0 to {LAST_EXPRESSION}. Mend or delete it")
    name = NUMBERS[int(expression)]
    return labels.index(name) if name in labels else None


def _box(values: list[str | None], where: str) -> Region | None:
    if all(value == "NULL" for value in values):
        return None
    try:
        x, y, width, height = (float(value or "") for value in values)
    except ValueError as error:
        raise DatasetError(f"{where}: {', '.join(BOX)} are {values}, expected numbers. Mend or delete it") from error
    return (x, y, width, height) if width > 0 and height > 0 else None
