"""RAF-DB (Li, Deng and Du, 2017): the folders ``basic`` and ``compound`` as they are published.

``EmoLabel/list_patition_label.txt`` (its real name) has a row ``train_00001.jpg 5`` for every image; the images lie
in ``Image/original`` and, cut out, in ``Image/aligned``. ``Annotation/boundingbox`` and ``Annotation/manual`` are used
where they are: the first says which face is meant, the second gives gender, ethnicity and age.

Official splits: the file's name begins with train or test. ``val`` is a tenth of the training set.
"""

from __future__ import annotations

from pathlib import Path

from fer_perception.faces.single_face import Region
from fer_perception.labels import EMOTIONS_7
from fer_training.datasets.photographs import Listing, Photograph, without_validation
from fer_training.datasets.samples import DatasetError, Split

LABELS = "EmoLabel/list_patition_label.txt"
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
ATTRIBUTES = {
    "gender": ("male", "female", "unsure"),
    "ethnicity": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}


def list_rafdb(path: Path, split: Split) -> Listing:
    """The photographs of one split of the basic set.

    :param path: ``basic``, or the folder that holds it.
    :raises DatasetError: a file is missing, or a row cannot be used.
    """
    root = path / "basic" if (path / "basic").is_dir() else path
    photographs = []
    for where, name, number in _rows(root, len(BASIC), split):
        photographs.append(_photograph(root, where, name, EMOTIONS_7.index(BASIC[number - 1]), None, {}))
    return Listing(root, EMOTIONS_7, photographs if split == "test" else without_validation(photographs, split))


def list_rafdb_compound(path: Path, split: Split) -> Listing:
    """The photographs of one split of the compound set, whose labels are pairs of basic emotions.

    A soft target gives half to each of the pair. The target is the second ("happily surprised" is surprise), and the
    group column ``compound`` has the pair.

    :param path: ``compound``, or the folder that holds it.
    :raises DatasetError: a file is missing, or a row cannot be used.
    """
    root = path / "compound" if (path / "compound").is_dir() else path
    photographs = []
    for where, name, number in _rows(root, len(COMPOUND), split):
        pair = COMPOUND[number - 1]
        soft = tuple(0.5 if label in pair else 0.0 for label in EMOTIONS_7)
        groups = {"compound": "+".join(pair)}
        photographs.append(_photograph(root, where, name, EMOTIONS_7.index(pair[1]), soft, groups))
    return Listing(root, EMOTIONS_7, photographs if split == "test" else without_validation(photographs, split))


def _rows(root: Path, classes: int, split: Split) -> list[tuple[str, str, int]]:
    """Place, image's name and class of every row that belongs to train (with val) or to test."""
    file = root / LABELS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{file}: cannot be read ({error}). Give RAF-DB's folder basic or compound, or the folder that holds it"
        ) from error
    rows = []
    for number, line in enumerate(lines, 1):
        where, parts = f"{file}, line {number}", line.split()
        if not parts:
            continue
        if len(parts) != 2 or not parts[1].isdecimal() or not 1 <= int(parts[1]) <= classes:
            raise DatasetError(f"{where}: '{line}' is no image and a class from 1 to {classes}. Mend or delete it")
        if not parts[0].startswith(("train_", "test_")):
            raise DatasetError(f"{where}: {parts[0]} begins with neither train_ nor test_. Mend or delete it")
        if parts[0].startswith("test_") == (split == "test"):
            rows.append((where, parts[0], int(parts[1])))
    return rows


def _photograph(
    root: Path, where: str, name: str, target: int, soft: tuple[float, ...] | None, groups: dict[str, str]
) -> Photograph:
    stem, suffix = Path(name).stem, Path(name).suffix
    has_originals = (root / "Image" / "original").is_dir()
    file = root / "Image" / ("original" if has_originals else "aligned")
    file /= name if has_originals else f"{stem}_aligned{suffix}"
    groups = groups | _attributes(root / "Annotation" / "manual" / f"{stem}_manu_attri.txt")
    box = _box(root / "Annotation" / "boundingbox" / f"{stem}_boundingbox.txt") if has_originals else None
    return Photograph(file, target, where, box, is_crop=not has_originals, soft=soft, groups=groups)


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
