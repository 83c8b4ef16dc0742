"""Labelled face images. A dataset is named on the command line as ``NAME:PATH``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_perception.splits import SPLITS
from fer_training.datasets.affectnet import affectnet
from fer_training.datasets.ckplus import FOLDS, ckplus
from fer_training.datasets.derived.camera import seen_by_camera
from fer_training.datasets.derived.joint import join
from fer_training.datasets.fer2013 import load_ckextended, load_fer2013
from fer_training.datasets.ferplus import load_ferplus
from fer_training.datasets.files.unused import name_unused
from fer_training.datasets.folder import list_folder
from fer_training.datasets.manifest import list_manifest
from fer_training.datasets.photographs import Alignment, Listing, load_photographs
from fer_training.datasets.rafdb import list_rafdb, list_rafdb_compound
from fer_training.datasets.samples import Crops, DatasetError, Samples, Split, balanced

# Faces that come cut out, all of one size, and are used as they are.
CROPS: dict[str, Callable[[Path, Split], Crops]] = {
    "fer2013": load_fer2013,
    "ferplus": load_ferplus,
    "ckextended": load_ckextended,
}
JOINT = ("ferplus", "fer2013")  # label the same images

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
    "CAMERA",
    "CROPS",
    "PHOTOGRAPHS",
    "SPLITS",
    "Alignment",
    "DatasetError",
    "Samples",
    "Split",
    "balanced",
    "dataset_name",
    "load_dataset",
    "load_unlabelled",
]


CAMERA = "camera/"  # before a dataset's name: its faces as a robot's camera gives them


def load_dataset(name_and_path: str, split: Split, alignment: Alignment | None = None) -> Samples:
    """Load one split of a dataset given as ``NAME:PATH``. A warning names files at the path that are in no split.

    ``camera/NAME:PATH`` is the dataset through :mod:`fer_training.datasets.derived.camera`, ``ferplus+fer2013:PATH``
    the same images with both label sets (:func:`fer_training.datasets.derived.joint.join`).

    :param alignment: how to cut faces out of photographs; without it these stay whole. FER2013 and FER+ do not need it.
    :raises FerError: unknown name, unreadable path, or a row or image that cannot be used.
    """
    if name_and_path.startswith(CAMERA):
        in_colour = None if alignment is None else alignment.in_colour()
        return seen_by_camera(load_dataset(name_and_path.removeprefix(CAMERA), split, in_colour))
    name, separator, path = name_and_path.partition(":")
    names = name.split("+")
    is_known = name in PHOTOGRAPHS or name in CROPS or sorted(names) == sorted(JOINT)
    if not separator or not is_known:
        raise FerError(
            f"dataset '{name_and_path}': write NAME:PATH with NAME one of {', '.join(CROPS | PHOTOGRAPHS)}, "
            f"ferplus+fer2013, or one of these after '{CAMERA}'"
        )
    if split == "adapt" and name != "manifest":
        raise DatasetError(f"dataset '{name_and_path}': only a manifest has a split 'adapt'. Choose another split")
    folder = Path(path).expanduser()
    if name in PHOTOGRAPHS:
        listing = PHOTOGRAPHS[name](folder, split)
        name_unused(folder, listing.used)
        return load_photographs(name, split, listing, alignment)
    parts = [CROPS[part](folder, split) for part in names]
    name_unused(folder, {file for part in parts for file in part.used})
    return join([part.samples for part in parts]) if len(parts) > 1 else parts[0].samples


def load_unlabelled(name_and_path: str, alignment: Alignment) -> Samples:
    """Images to learn from without their labels: of a manifest the split ``adapt``, of other datasets ``val``."""
    return load_dataset(name_and_path, "adapt" if dataset_name(name_and_path) == "manifest" else "val", alignment)


def dataset_name(name_and_path: str) -> str:
    """The name of a dataset given as ``NAME:PATH``, whether or not it is seen through the camera model."""
    return name_and_path.removeprefix(CAMERA).partition(":")[0]
