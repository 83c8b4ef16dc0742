"""AffectNet (Mollahosseini et al., 2017), the manually annotated set, in its two layouts.

- 2017: ``training.csv`` and ``validation.csv`` (or the same in ``Manually_Annotated_file_lists``), and the images in
  ``Manually_Annotated/Manually_Annotated_Images`` or ``Manually_Annotated_Images``;
- later: ``train_set/images/N.jpg`` with ``train_set/annotations/N_exp.npy``, and ``val_set`` alike.

Expressions: 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt. 8 none,
9 uncertain and 10 no face show no emotion that can be learnt and are left out.

The official test set was never published: as everywhere in the literature, ``test`` is the validation set, and ``val``
is a tenth of the training set.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_perception.faces.single_face import Region
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.datasets.photographs import Listing, Photograph, without_validation
from fer_training.datasets.samples import DatasetError, Split

EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
LAST_EXPRESSION = 10
BOX = ("face_x", "face_y", "face_width", "face_height")
COLUMNS = ("subDirectory_filePath", *BOX, "facial_landmarks", "expression", "valence", "arousal")
LISTS = ("", "Manually_Annotated_file_lists")
IMAGES = ("Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_Images")


def affectnet(labels: tuple[str, ...]) -> Callable[[Path, Split], Listing]:
    """The loader for seven or eight labels; with seven, images of contempt are left out."""
    assert labels in (EMOTIONS_7, EMOTIONS_8)

    def list_affectnet(path: Path, split: Split) -> Listing:
        """The photographs of one split.

        :raises DatasetError: neither layout is there, or a row or annotation cannot be used.
        """
        official = "validation" if split == "test" else "training"
        later = path / ("val_set" if split == "test" else "train_set")
        lists = [path / folder / f"{official}.csv" for folder in LISTS]
        file = next((file for file in lists if file.is_file()), None)
        if file is not None:
            photographs = _from_csv(path, file, labels)
        elif later.is_dir():
            photographs = _from_folder(later, labels)
        else:
            raise DatasetError(
                f"{path}: neither {official}.csv nor the folder {later.name} is there. Give the folder that holds "
                f"{' or '.join(LISTS[1:])} and Manually_Annotated, or the one that holds train_set and val_set"
            )
        return Listing(path, labels, photographs if split == "test" else without_validation(photographs, split))

    return list_affectnet


def _from_csv(path: Path, file: Path, labels: tuple[str, ...]) -> list[Photograph]:
    folder = next((path / name for name in IMAGES if (path / name).is_dir()), None)
    if folder is None:
        raise DatasetError(f"{path}: the folder {IMAGES[0]} is missing. Unpack the images there")
    photographs = []
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, COLUMNS)
            for row in reader:
                # Some releases have no line of column names in validation.csv.
                if row[COLUMNS[0]] == COLUMNS[0]:
                    continue
                where = f"{file}, line {reader.line_num}"
                target = _target(row["expression"], labels, where)
                if target is not None:
                    image = folder / str(row[COLUMNS[0]])
                    photographs.append(Photograph(image, target, where, box=_box([row[key] for key in BOX], where)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read ({error}). Get the official file lists again") from error
    return photographs


def _from_folder(folder: Path, labels: tuple[str, ...]) -> list[Photograph]:
    photographs = []
    for annotation in sorted((folder / "annotations").glob("*_exp.npy")):
        try:
            expression = str(np.load(annotation, allow_pickle=False).item())
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(f"{annotation}: cannot be read ({error}). Get the annotations again") from error
        target = _target(expression, labels, str(annotation))
        if target is not None:
            image = folder / "images" / f"{annotation.name.removesuffix('_exp.npy')}.jpg"
            photographs.append(Photograph(image, target, str(annotation)))
    return photographs


def _target(expression: str | None, labels: tuple[str, ...], where: str) -> int | None:
    """Index into labels; None for what shows none of them."""
    if expression is None or not expression.isdecimal() or int(expression) > LAST_EXPRESSION:
        raise DatasetError(f"{where}: expression is '{expression}', expected 0 to {LAST_EXPRESSION}. Mend or delete it")
    name = EXPRESSIONS[int(expression)] if int(expression) < len(EXPRESSIONS) else ""
    return labels.index(name) if name in labels else None


def _box(values: list[str | None], where: str) -> Region | None:
    if all(value == "NULL" for value in values):
        return None
    try:
        x, y, width, height = (float(value or "") for value in values)
    except ValueError as error:
        raise DatasetError(f"{where}: {', '.join(BOX)} are {values}, expected numbers. Mend or delete it") from error
    return (x, y, width, height) if width > 0 and height > 0 else None
