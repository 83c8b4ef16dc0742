"""What every dataset loader returns."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_perception.errors import FerError
from fer_perception.splits import Split
from fer_perception.types import Float32Array, UInt8Image


class DatasetError(FerError):
    """A dataset's file or row cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Samples:
    """One split of a dataset.

    ``images``: N uint8 face crops, each (H, W) grey or (H, W, 3) RGB. ``targets``: int64, (N,), indices into
    ``labels``. ``names``: N, the file or row of each sample. ``soft_targets``: float32, (N, labels), rows that sum to
    1, where the dataset knows more than one label for an image. ``groups``: for every column the N values, an empty
    one where it is not known. ``label_sets``: by dataset its labels, where ``soft_targets`` are of several, see
    :func:`fer_training.datasets.derived.joint.join`.
    """

    dataset: str
    split: Split
    labels: tuple[str, ...]
    images: list[UInt8Image]
    targets: npt.NDArray[np.int64]
    names: list[str] = field(default_factory=list)
    soft_targets: Float32Array | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)
    label_sets: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """The labels of each of the label sets, by the dataset that they are of."""
        return self.label_sets or {self.dataset: self.labels}

    def distributions(self) -> Float32Array:
        """What annotators said: float32, (N, labels of all sets). A set's rows sum to 1, or 0 where it has no label."""
        if self.soft_targets is not None:
            return self.soft_targets
        return np.eye(len(self.labels), dtype=np.float32)[self.targets]

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """SHA-256 over labels and pixels, in the order of the samples, whatever the encoding of the files."""
        digest = hashlib.sha256(",".join(self.labels).encode())
        for image, target in zip(self.images, self.targets, strict=True):
            digest.update(f"{target}:{image.shape}".encode())
            digest.update(np.ascontiguousarray(image).data)
        if self.soft_targets is not None:
            digest.update(np.ascontiguousarray(self.soft_targets).data)
        return digest.hexdigest()


class Crops(NamedTuple):
    """Samples of a dataset of faces that come cut out, and all files that the dataset knows, in whatever split."""

    samples: Samples
    used: Collection[Path]


def balanced(targets: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Which samples to take of a large set: (at most count,), as many of each label as there are, always the same.

    :param targets: int64, (N,), each sample's label.
    """
    order = np.random.default_rng(0).permutation(len(targets))
    turns = np.zeros(len(targets), np.int64)  # the n-th sample of each label has turn n
    for label in np.unique(targets):
        mine = order[targets[order] == label]
        turns[mine] = np.arange(len(mine))
    return order[np.argsort(turns[order], kind="stable")][:count]
