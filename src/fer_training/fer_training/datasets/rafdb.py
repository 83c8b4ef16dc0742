"""RAF-DB (Li, Deng and Du, 2017): the folders ``basic`` and ``compound`` as they are published, or class folders.

``EmoLabel/list_patition_label.txt`` (its real name; some copies mend it) has a row ``train_00001.jpg 5`` for every
image; the images lie in ``Image/original`` and, cut out, in ``Image/aligned``. ``Annotation/boundingbox`` and
``Annotation/manual`` are used where they are: the first says which face is meant, the second gives gender, ethnicity
and age.

Official splits: the file's name begins with train or test. ``val`` is a tenth of the training set.

Kaggle has the aligned images of ``basic`` in folders ``train/1`` to ``train/7`` and ``test/1`` to ``test/7``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fer_perception.faces.single_face import Region
from fer_perception.labels import EMOTIONS_7
from fer_training.datasets.files.trees import child, find_tree, found, levels
from fer_training.datasets.photographs import Listing, Photograph, without_validation
from fer_training.datasets.samples import DatasetError, Split

LABELS = ("list_patition_label.txt", "list_partition_label.txt")
BASIC = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
# "Happily surprised" and so on: the manner, then the emotion itself.
COMPOUND = (
    ("happy", "surprise"),
    ("happy", "disgust"),
    ("sad", "fear"),
    ("sad", "angry"),
    ("sad", "surprise"),
    ("sad", "disgust"),
    ("fear", "angry"),
    ("fear", "surprise"),
    ("angry", "surprise"),
    ("angry", "disgust"),
    ("disgust", "surprise"),
)
ALIGNED = "_aligned"  # ends the names of images that were cut out
ATTRIBUTES = {
    "gender": ("male", "female", "unsure"),
    "ethnicity": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}

Meaning = tuple[str, tuple[float, ...] | None, dict[str, str]]  # a class's emotion, soft targets and groups


def list_rafdb(path: Path, split: Split) -> Listing:
    """The photographs of one split of the basic set.

    :param path: ``basic``, or the folder that holds it.
    :raises DatasetError: a file is missing, or a row cannot be used.
    """
    found_list = _find_list(path, ("basic", "raf-basic"))
    if found_list is None:
        if tree := find_tree(path, dict(enumerate(BASIC, 1))):
            listing = tree.listing(split, EMOTIONS_7)
            crops = [replace(each, is_crop=each.file.stem.endswith(ALIGNED)) for each in listing.photographs]
            return replace(listing, photographs=crops)
        raise _nothing(path)
    return _listing(*found_list, split, len(BASIC), lambda number: (BASIC[number - 1], None, {}))


def list_rafdb_compound(path: Path, split: Split) -> Listing:
    """The photographs of one split of the compound set, whose labels are pairs of basic emotions.

    A soft target gives half to each of the pair. The target is the second ("happily surprised" is surprise), and the
    group column ``compound`` has the pair.

    :param path: ``compound``, or the folder that holds it.
    :raises DatasetError: a file is missing, or a row cannot be used.
    """
    found_list = _find_list(path, ("compound", "raf-compound"))
    if found_list is None:
        raise _nothing(path)

    def meaning(number: int) -> Meaning:
        pair = COMPOUND[number - 1]
        return pair[1], tuple(0.5 if label in pair else 0.0 for label in EMOTIONS_7), {"compound": "+".join(pair)}

    return _listing(*found_list, split, len(COMPOUND), meaning)


def _nothing(path: Path) -> DatasetError:
    return DatasetError(
        f"{path}: EmoLabel/{LABELS[0]} is not there ({found(path)}). Give RAF-DB's folder basic or compound, or the "
        "folder that holds it; of basic also the folder that holds train and test with folders 1 to 7"
    )


def _find_list(path: Path, names: tuple[str, ...]) -> tuple[Path, Path] | None:
    """The folder of the set, and its list of labels."""
    for level in levels(path):
        root = child(level, *names) or level
        for folder in (child(root, "EmoLabel"), root):
            if folder and (file := child(folder, *LABELS)):
                return root, file
    return None


def _listing(root: Path, file: Path, split: Split, classes: int, meaning: Callable[[int], Meaning]) -> Listing:
    """All images of a split (train with val, or test) by the list of labels."""
    images = child(root, "Image") or root
    originals, aligned = child(images, "original"), child(images, "aligned")
    folder = originals or aligned or images / "aligned"
    photographs, used = [], {file}
    for where, name, number in _rows(file, classes):
        stem, suffix = Path(name).stem.removesuffix(ALIGNED), Path(name).suffix
        aligned_name = f"{stem}{ALIGNED}{suffix}"
        image = folder / (f"{stem}{suffix}" if originals else aligned_name)
        used |= {image, *_annotations(root, stem), *([aligned / aligned_name] if aligned else [])}
        if stem.startswith("test_") == (split == "test"):
            emotion, soft, groups = meaning(number)
            manual, box, _ = _annotations(root, stem)
            groups = groups | _attributes(manual)
            photographs.append(
                Photograph(
                    image,
                    EMOTIONS_7.index(emotion),
                    where,
                    _box(box) if originals else None,
                    is_crop=not originals,
                    soft=soft,
                    groups=groups,
                )
            )
    chosen = photographs if split == "test" else without_validation(photographs, split)
    return Listing(root, EMOTIONS_7, chosen, used)


def _annotations(root: Path, stem: str) -> tuple[Path, Path, Path]:
    """Manual attributes, bounding box, and automatic landmarks, which are not needed."""
    folder = root / "Annotation"
    names = {"manual": "manu_attri", "boundingbox": "boundingbox", "auto": "auto_attri"}
    manual, box, auto = (folder / inner / f"{stem}_{ending}.txt" for inner, ending in names.items())
    return manual, box, auto


def _rows(file: Path, classes: int) -> list[tuple[str, str, int]]:
    """Place, image's name and class of every row."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}). Get the labels again") from error
    rows = []
    for number, line in enumerate(lines, 1):
        where, parts = f"{file}, line {number}", line.split()
        if not parts:
            continue
        if len(parts) != 2 or not parts[1].isdecimal() or not 1 <= int(parts[1]) <= classes:
            raise DatasetError(f"{where}: '{line}' is no image and a class from 1 to {classes}. Mend or delete it")
        if not parts[0].startswith(("train_", "test_")):
            raise DatasetError(f"{where}: {parts[0]} begins with neither train_ nor test_. Mend or delete it")
        rows.append((where, parts[0], int(parts[1])))
    return rows


def _attributes(file: Path) -> dict[str, str]:
    """Five landmarks, which are not needed, then one number each for gender, ethnicity and age."""
    if not file.is_file():
        return {}
    numbers = file.read_text(encoding="utf-8").split()[10:]
    try:
        return {column: names[int(number)] for (column, names), number in zip(ATTRIBUTES.items(), numbers, strict=True)}
    except (ValueError, IndexError) as error:
        raise DatasetError(
            f"{file}: ends with {numbers}, expected numbers of gender, ethnicity and age. Get the annotations again"
        ) from error


def _box(file: Path) -> Region | None:
    if not file.is_file():
        return None
    try:
        left, top, right, bottom = map(float, file.read_text(encoding="utf-8").split())
    except ValueError as error:
        raise DatasetError(f"{file}: holds no four numbers. Get the bounding boxes again") from error
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None
