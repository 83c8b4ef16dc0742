"""A plain tree of class folders: ``angry/*.jpg`` and so on, or ``train/angry/*.jpg`` with train, val and test."""

from __future__ import annotations

from pathlib import Path

from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.datasets.labels import emotion_index
from fer_training.datasets.photographs import IMAGE_SUFFIXES, Listing, Photograph, without_validation
from fer_training.datasets.samples import DatasetError, Split
from fer_training.datasets.splits import held_out

SPLIT_FOLDERS = ("train", "val", "test")


def list_folder(path: Path, split: Split) -> Listing:
    """The photographs of one split of a class-folder tree.

    Without folders ``train``, ``val``, ``test`` a tenth of the images is ``test``. Without a folder ``val`` a tenth
    of the training images is. There are eight labels where there is a folder of contempt, else seven.

    :raises DatasetError: the folder is missing, or a class folder's name is no emotion.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: is no folder. Give the folder that holds one folder per emotion")
    tops = [path / name for name in SPLIT_FOLDERS if (path / name).is_dir()]
    classes = {folder.name.lower() for top in tops or [path] for folder in top.iterdir()}
    labels = EMOTIONS_8 if "contempt" in classes else EMOTIONS_7
    if not tops:
        photographs = _images(path, labels)
        test = held_out(photograph.key for photograph in photographs)
        photographs = [photograph for photograph in photographs if (photograph.key in test) == (split == "test")]
        has_validation = split == "test"
    else:
        has_validation = (path / "val").is_dir() or split == "test"
        photographs = _images(path / (split if has_validation else "train"), labels)
    return Listing(path, labels, photographs if has_validation else without_validation(photographs, split))


def _images(top: Path, labels: tuple[str, ...]) -> list[Photograph]:
    if not top.is_dir():
        raise DatasetError(f"{top}: is no folder. Add it with one folder per emotion in it, or choose another split")
    photographs = []
    for folder in sorted(folder for folder in top.iterdir() if folder.is_dir()):
        target = emotion_index(folder.name, labels, f"{folder} (a class folder)")
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        photographs += [Photograph(file, target, str(folder)) for file in files]
    return photographs
