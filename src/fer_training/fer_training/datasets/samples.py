"""What every dataset loader returns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from fer_perception.errors import FerError
from fer_perception.preprocessing import UInt8Image

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class DatasetError(FerError):
    """A dataset's file or row cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Samples:
    """One split of a dataset.

    ``images``: N uint8 face crops, each (H, W) grey or (H, W, 3) RGB. ``targets``: int64, (N,), indices into
    ``labels``.
    """

    dataset: str
    split: Split
    labels: tuple[str, ...]
    images: list[UInt8Image]
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """SHA-256 over labels and pixels, in the order of the samples, whatever the encoding of the files."""
        digest = hashlib.sha256(",".join(self.labels).encode())
        for image, target in zip(self.images, self.targets, strict=True):
            digest.update(f"{target}:{image.shape}".encode())
            digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()
