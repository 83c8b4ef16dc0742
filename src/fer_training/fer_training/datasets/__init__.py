"""Labelled face images. A dataset is named on the command line as ``NAME:PATH``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fer_perception.errors import FerError
from fer_training.datasets.fer2013 import load_fer2013
from fer_training.datasets.samples import SPLITS, DatasetError, Samples, Split

LOADERS: dict[str, Callable[[Path, Split], Samples]] = {"fer2013": load_fer2013}

__all__ = ["LOADERS", "SPLITS", "DatasetError", "Samples", "Split", "load_dataset"]


def load_dataset(name_and_path: str, split: Split) -> Samples:
    """Load one split of a dataset given as ``NAME:PATH``.

    :raises FerError: unknown name, unreadable path, or a row that cannot be used.
    """
    name, separator, path = name_and_path.partition(":")
    if not separator or name not in LOADERS:
        raise FerError(f"dataset '{name_and_path}': write NAME:PATH with NAME one of {', '.join(sorted(LOADERS))}")
    return LOADERS[name](Path(path).expanduser(), split)
