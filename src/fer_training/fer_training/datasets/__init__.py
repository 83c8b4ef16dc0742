"""Labelled face images. A dataset is named on the command line as ``NAME:PATH``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.datasets.affectnet import affectnet
from fer_training.datasets.ckplus import FOLDS, ckplus
from fer_training.datasets.fer2013 import load_fer2013
from fer_training.datasets.ferplus import load_ferplus
from fer_training.datasets.folder import list_folder
from fer_training.datasets.manifest import list_manifest
from fer_training.datasets.photographs import Alignment, Listing, load_photographs
from fer_training.datasets.rafdb import list_rafdb, list_rafdb_compound
from fer_training.datasets.samples import SPLITS, DatasetError, Samples, Split, balanced

# Faces that come cut out, all of one size, and are used as they are.
CROPS: dict[str, Callable[[Path, Split], Samples]] = {"fer2013": load_fer2013, "ferplus": load_ferplus}

# Photographs, in which faces are looked for and aligned.
PHOTOGRAPHS: dict[str, Callable[[Path, Split], Listing]] = {
    "affectnet7": affectnet(EMOTIONS_7),
    "affectnet8": affectnet(EMOTIONS_8),
    "rafdb": list_rafdb,
    "rafdb_compound": list_rafdb_compound,
    **{f"ckplus@{fold}": ckplus(fold) for fold in range(1, FOLDS + 1)},
    "folder": list_folder,
    "manifest": list_manifest,
}

__all__ = [
    "CROPS",
    "PHOTOGRAPHS",
    "SPLITS",
    "Alignment",
    "DatasetError",
    "Samples",
    "Split",
    "balanced",
    "load_dataset",
]


def load_dataset(name_and_path: str, split: Split, alignment: Alignment | None = None) -> Samples:
    """Load one split of a dataset given as ``NAME:PATH``.

    :param alignment: how to cut faces out of photographs; without it these stay whole. FER2013 and FER+ do not need it.
    :raises FerError: unknown name, unreadable path, or a row or image that cannot be used.
    """
    name, separator, path = name_and_path.partition(":")
    if not separator or name not in CROPS | PHOTOGRAPHS:
        raise FerError(f"dataset '{name_and_path}': write NAME:PATH with NAME one of {', '.join(CROPS | PHOTOGRAPHS)}")
    if split == "adapt" and name != "manifest":
        raise DatasetError(f"dataset '{name_and_path}': only a manifest has a split 'adapt'. Choose another split")
    folder = Path(path).expanduser()
    if name in CROPS:
        return CROPS[name](folder, split)
    return load_photographs(name, split, PHOTOGRAPHS[name](folder, split), alignment)
