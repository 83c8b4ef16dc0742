"""Whether a map's places matter to the network: deletion and insertion (Petsiuk et al., 2018, arXiv:1806.07421)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from fer_perception.types import Float32Array

STEPS = 12
BLUR = 1 / 12  # standard deviation in widths of the crop: 4 of 48 pixels leave a face without expression


def ranks(densities: Float32Array) -> npt.NDArray[np.int64]:
    """Each pixel's place in the order from the densest down: (N, H, W) to int64, (N, H * W).

    Equal pixels, as where Grad-CAM is 0, come in an order that is drawn at random and is always the same: row by row
    they would favour the brows over the mouth.
    """
    flat = densities.reshape(len(densities), -1)
    ties = np.random.default_rng(0).random(flat.shape)
    order = np.lexsort((ties, -flat), axis=-1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(flat.shape[1])[None], axis=1)
    return places


def deletion_and_insertion(
    probability: Callable[[Tensor], Tensor], batch: Tensor, densities: Float32Array
) -> tuple[Tensor, Tensor]:
    """The probability of each image's class while pixels change, the densest ones of the map first.

    Deletion turns the image's pixels to 0, the training data's mean; a map that shows what the prediction rests on
    makes the probability fall soon. Insertion turns the pixels of the blurred image into the sharp one's; such a map
    makes it rise soon.

    :param probability: of prepared and normalised images (N, C, H, W), as (N,).
    :param batch: the images, float32, (N, C, H, W).
    :param densities: their maps, (N, H, W).
    :return: both as (N, STEPS + 1), from no pixel changed to all; NaN for a map with NaN.
    """
    order = torch.from_numpy(ranks(densities)).view(len(batch), 1, *batch.shape[2:])
    pixels = order[0].numel()
    known = torch.from_numpy(np.isfinite(densities).all((1, 2)))

    def curve(start: Tensor, goal: Tensor) -> Tensor:
        fractions = [probability(torch.where(order < step * pixels / STEPS, goal, start)) for step in range(STEPS + 1)]
        return torch.where(known[:, None], torch.stack(fractions, 1), torch.nan)

    return curve(batch, torch.zeros_like(batch)), curve(blurred(batch), batch)


def blurred(batch: Tensor) -> Tensor:
    """Images (N, C, H, W) in which the expression cannot be seen."""
    deviation = BLUR * batch.shape[-1]
    size = 2 * math.ceil(3 * deviation) + 1
    return gaussian_blur2d(batch, (size, size), (deviation, deviation))


def area(curves: Tensor) -> Tensor:
    """The area under curves (N, STEPS + 1) over the fraction of changed pixels, 0..1: (N,)."""
    return torch.trapezoid(curves, dx=1 / STEPS)
