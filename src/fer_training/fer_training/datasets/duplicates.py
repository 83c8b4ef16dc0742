"""Near-duplicates between two sets of images, such as a training and a test split."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from fer_training.datasets.samples import Samples

# Of 64 bits. Between FER2013's splits pairs at 4 bits are the same photograph, cut or lit otherwise; at 6 some are
# two people, at 8 half of them.
MAX_DISTANCE = 4
ROWS_AT_ONCE = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Duplicate:
    """Two samples that look alike: their indices and names, and the bits in which their hashes differ."""

    first: int
    second: int
    first_name: str
    second_name: str
    distance: int


def find_duplicates(first: Samples, second: Samples, max_distance: int = MAX_DISTANCE) -> list[Duplicate]:
    """Pairs of images whose perceptual hashes differ in at most ``max_distance`` of 64 bits, closest pairs first.

    The hash (pHash) holds the signs of an image's lowest frequencies: another size, compression or brightness
    leaves it as it is, a mirrored or otherwise cut image has another one.
    """
    hashes = [_hashes(samples) for samples in (first, second)]
    found = []
    for start in range(0, len(hashes[0]), ROWS_AT_ONCE):
        distances = np.bitwise_count(hashes[0][start : start + ROWS_AT_ONCE, None] ^ hashes[1])
        for row, column in np.argwhere(distances <= max_distance):
            i, j = start + int(row), int(column)
            found.append(Duplicate(i, j, _name(first, i), _name(second, j), int(distances[row, column])))
    return sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second))


def report_duplicates(first: Samples, second: Samples, examples: int = 5) -> list[Duplicate]:
    """Log how many images of ``second`` have a near-duplicate in ``first``, with examples; returns all pairs."""
    pairs = find_duplicates(first, second)
    count = len({pair.second for pair in pairs})
    level = logging.WARNING if pairs else logging.INFO
    log.log(
        level,
        "%d of %d images of %s %s have a near-duplicate in %s %s",
        count,
        len(second),
        second.dataset,
        second.split,
        first.dataset,
        first.split,
    )
    for pair in pairs[:examples]:
        log.log(level, "  %s is like %s (%d bits differ)", pair.second_name, pair.first_name, pair.distance)
    return pairs


def _hashes(samples: Samples) -> npt.NDArray[np.uint64]:
    """One perceptual hash for each image: uint64, (N,)."""
    bar = tqdm(samples.images, desc=f"hashes of {samples.dataset} {samples.split}", unit="image", mininterval=1.0)
    bits = [np.packbits(imagehash.phash(Image.fromarray(image)).hash) for image in bar]
    return np.stack(bits).view(np.uint64)[:, 0] if bits else np.empty(0, np.uint64)


def _name(samples: Samples, index: int) -> str:
    return samples.names[index] if samples.names else f"sample {index}"
