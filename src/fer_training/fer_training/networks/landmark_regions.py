"""Supervision of attention maps: where eyes, brows and mouth lie in an aligned crop, and a loss that draws to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.types import Float32Array

Points = npt.NDArray[np.float64]

# In distances between the eyes: how far brows lie above the eyes, and standard deviations across and down the face.
# The latter leave room for expressions and for faces that are not exactly aligned.
BROW_LIFT = 0.3
EYE, BROW, MOUTH = (0.25, 0.15), (0.3, 0.12), (0.4, 0.22)


def region_maps(template: AlignmentTemplate, width: int, height: int) -> Float32Array:
    """Where eyes, brows and mouth lie in a crop that was aligned to the template: float32 (3, height, width) in 0..1.

    Each region is a Gaussian (eyes and brows have two), 1 at its middle. The size may be that of the crop or of an
    attention map over it.
    """
    right_eye, left_eye, mouth = template.points(width, height).astype(np.float64)
    across = left_eye - right_eye
    down = np.array([-across[1], across[0]])
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    area = across @ across

    def distances(middle: Points, extent: tuple[float, float]) -> Points:
        wide, high = extent
        return ((places - middle) @ across / (area * wide)) ** 2 + ((places - middle) @ down / (area * high)) ** 2

    eyes = (right_eye, left_eye)
    exponents = [
        np.minimum(*(distances(eye, EYE) for eye in eyes)),
        np.minimum(*(distances(eye - BROW_LIFT * down, BROW) for eye in eyes)),
        distances(mouth, MOUTH),
    ]
    return np.exp(-0.5 * np.stack(exponents)).astype(np.float32)


def landmark_regions(template: AlignmentTemplate, width: int, height: int) -> Float32Array:
    """All of :func:`region_maps` in one: float32 (height, width) in 0..1."""
    return region_maps(template, width, height).max(axis=0)


def region_fraction(attention: Tensor, regions: Tensor) -> Tensor:
    """How much of each image's attention rests on the regions: 0..1, (N,).

    :param attention: (N, 1, h, w) in 0..1.
    :param regions: (1 or N, 1, H, W) in 0..1; it is averaged down to the attention's size.
    """
    attention = attention.float()
    regions = nn.functional.interpolate(regions, size=attention.shape[-2:], mode="area")
    inside = (attention * regions).sum((1, 2, 3))
    return inside / attention.sum((1, 2, 3)).clamp_min(1e-6)


def attention_loss(maps: Sequence[Tensor], regions: Tensor) -> Tensor:
    """How far attention is from the regions: 0 (the same) upwards, a scalar, the mean over maps, images and places.

    Each place of a map counts as a probability, and the divergence (Kullback-Leibler) of the region's from it is taken.
    So attention is drawn to all of the regions, and differences between images are left to the classification. A
    loss by the fraction alone is least when all images attend to the same single place.

    :param maps: (N, 1, h, w) each, in 0..1.
    :param regions: (1 or N, 1, H, W) in 0..1; they are averaged down to the attention's size.
    """
    losses = []
    for attention in maps:
        wanted = nn.functional.interpolate(regions, size=attention.shape[-2:], mode="area").expand(
            len(attention), -1, -1, -1
        )
        wanted = wanted.clamp(0, 1)
        losses.append(nn.functional.binary_cross_entropy(attention.float(), wanted) - _entropy(wanted).mean())
    return torch.stack(losses).mean()


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
