"""Supervision of attention maps: where eyes, brows and mouth lie in an aligned crop, and a loss that draws to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fer_perception.alignment import AlignmentTemplate
from fer_perception.preprocessing import Float32Array

# In distances between the eyes: how far brows lie above the eyes, and standard deviations across and down the face.
# The latter leave room for expressions and for faces that are not exactly aligned.
BROW_LIFT = 0.3
EYE, BROW, MOUTH = (0.25, 0.15), (0.3, 0.12), (0.4, 0.22)


def landmark_regions(template: AlignmentTemplate, width: int, height: int) -> Float32Array:
    """Where eyes, brows and mouth lie in a crop that was aligned to the template: float32 (height, width) in 0..1.

    Each region is a Gaussian, 1 at its middle. The size may be that of the crop or of an attention map over it.
    """
    right_eye, left_eye, mouth = template.points(width, height).astype(np.float64)
    across = left_eye - right_eye
    down = np.array([-across[1], across[0]])
    regions = [(mouth, MOUTH)]
    for eye in (right_eye, left_eye):
        regions += [(eye, EYE), (eye - BROW_LIFT * down, BROW)]
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    area = across @ across
    exponents = [
        ((places - middle) @ across / (area * wide)) ** 2 + ((places - middle) @ down / (area * high)) ** 2
        for middle, (wide, high) in regions
    ]
    return np.exp(-0.5 * np.min(exponents, 0)).astype(np.float32)


def region_share(attention: Tensor, regions: Tensor) -> Tensor:
    """How much of each picture's attention rests on the regions: 0..1, (N,).

    :param attention: (N, 1, h, w) in 0..1.
    :param regions: (1 or N, 1, H, W) in 0..1; it is averaged down to the attention's size.
    """
    attention = attention.float()
    regions = nn.functional.interpolate(regions, size=attention.shape[-2:], mode="area")
    inside = (attention * regions).sum((1, 2, 3))
    return inside / attention.sum((1, 2, 3)).clamp_min(1e-6)


def attention_loss(maps: Sequence[Tensor], regions: Tensor) -> Tensor:
    """What share of the attention rests elsewhere, mean over maps and pictures: 0..1, a scalar.

    It leaves open which of the regions a picture's attention rests on; that is the classification's to learn.
    """
    return 1 - torch.stack([region_share(attention, regions).mean() for attention in maps]).mean()
