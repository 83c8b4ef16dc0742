"""From a face crop to the network's input: colour, size, normalisation. Training and serving both use this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fer_perception.errors import ImageError
from fer_perception.types import Float32Array, UInt8Image

MAX_SIDE = 1024


class InputSpec(BaseModel):
    """What a network expects. ``mean`` and ``std`` are per channel, of pixels scaled to 0..1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(ge=8, le=MAX_SIDE)
    height: int = Field(ge=8, le=MAX_SIDE)
    color: Literal["grey", "rgb"]
    mean: list[float]
    std: list[float]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return 1 if self.color == "grey" else 3

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> InputSpec:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"mean and std need {self.channels} value(s) for color '{self.color}'")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self


def prepare_crop(crop: UInt8Image, spec: InputSpec) -> UInt8Image:
    """Bring a face crop to the network's colour and size.

    :param crop: uint8, (H, W) grey or (H, W, 3) RGB.
    :return: uint8, (spec.height, spec.width, spec.channels).
    :raises ImageError: for any other shape or dtype.
    """
    grey_in = crop.ndim == 2
    if crop.dtype != np.uint8 or not (grey_in or (crop.ndim == 3 and crop.shape[2] == 3)) or crop.size == 0:
        raise ImageError(
            f"a face crop must be uint8 of shape (H, W) or (H, W, 3), got {crop.dtype} {crop.shape}: convert it first"
        )
    if spec.color == "grey" and not grey_in:
        crop = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    elif spec.color == "rgb" and grey_in:
        crop = cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB)
    if crop.shape[:2] != (spec.height, spec.width):
        shrinks = crop.shape[0] > spec.height
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        crop = cv2.resize(crop, (spec.width, spec.height), interpolation=interpolation)
    return crop.reshape(spec.height, spec.width, spec.channels)


def normalize(crops: UInt8Image, spec: InputSpec) -> Float32Array:
    """Scale and normalise prepared crops.

    :param crops: uint8, (N, H, W, C), from :func:`prepare_crop`.
    :return: float32, (N, C, H, W), contiguous.
    """
    # One multiplication and one addition: (pixel / 255 - mean) / std
    std = np.asarray(spec.std, np.float32)
    scale, shift = np.float32(1 / 255) / std, -np.asarray(spec.mean, np.float32) / std
    return np.ascontiguousarray((crops * scale + shift).transpose(0, 3, 1, 2), np.float32)


def to_batch(crops: Sequence[UInt8Image], spec: InputSpec) -> Float32Array:
    """Crops of any size and colour as one network input: float32, (N, C, H, W)."""
    if not crops:
        return np.empty((0, spec.channels, spec.height, spec.width), np.float32)
    return normalize(np.stack([prepare_crop(crop, spec) for crop in crops]), spec)
