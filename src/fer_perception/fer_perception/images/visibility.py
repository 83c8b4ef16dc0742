"""Whether an image can show a face at all, and 16-bit images brought to the 8 bits that can."""

from __future__ import annotations

import logging
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.types import UInt8Image

Flaw = Literal["", "nearly black", "nearly white", "without contrast"]
# What a user does about it.
FLAW_REMEDIES: dict[str, str] = {
    "nearly black": "is the lens covered, is there light? Of 16-bit images image_bits says which bits the camera uses",
    "nearly white": "lower the camera's exposure, or image_bits if it is set",
    "without contrast": "is the lens covered or fogged? Have the camera's driver stretch the contrast",
}

log = logging.getLogger(__name__)

# Of 255. Faces are found in images whose brightest parts have 14, and whose grey values reach over 20.
BLACK, WHITE, CONTRAST = 16, 240, 16
# About so many rows of pixels are looked at: a flaw is of the whole image.
SAMPLED_ROWS = 64

SENSOR_BITS = (8, 10, 12, 14, 16)
# Some pixels of a sensor are hot: a value counts where more than this fraction of an image has it.
HOT_FRACTION = 0.001


def flaw_of(image: UInt8Image) -> Flaw:
    """Why no face can be seen in an image; empty where one could.

    :param image: uint8, (H, W, 3), RGB.
    """
    step = max(1, min(image.shape[:2]) // SAMPLED_ROWS)
    rows, columns = (side // step for side in image.shape[:2])
    # Means of squares, in which a sensor's noise is no contrast.
    grey = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA).mean(axis=2)
    darkest, dark, bright, brightest = np.percentile(grey, (1, 5, 95, 99))
    if bright < BLACK:
        return "nearly black"
    if dark > WHITE:
        return "nearly white"
    return "without contrast" if brightest - darkest < CONTRAST else ""


class SensorRange:
    """How many bits of their 16 the images of one stream use: infrared cameras have 10 or 12.

    ``bits``: 0 until the first 16-bit image. Unless given it grows from image to image to what they need, and never
    shrinks: brightness does not flicker. An image of one value, as drivers give between others, needs nothing.

    :param bits: as the setting ``image_bits``; 0: found from the images.
    """

    def __init__(self, bits: int = 0) -> None:
        self.bits = bits
        self._given = bits > 0

    def to_8_bits(self, pixels: npt.NDArray[np.uint16]) -> UInt8Image:
        """Pixels of any shape, whose ``bits`` bits become 8; what is brighter is white."""
        if not self._given and not (self.bits and _fits(pixels, self.bits)):
            self._grow(pixels)
        if self.bits < 16:
            pixels = np.minimum(pixels, (1 << self.bits) - 1)
        return (pixels >> (self.bits - 8)).astype(np.uint8)

    def _grow(self, pixels: npt.NDArray[np.uint16]) -> None:
        if self.bits and pixels.min() == pixels.max():
            return
        bits = next(bits for bits in SENSOR_BITS if bits >= self.bits and _fits(pixels, bits))
        if self.bits:
            log.info("images of 16 bits use %d of them, not %d as those before", bits, self.bits)
        self.bits = bits


def _fits(pixels: npt.NDArray[np.uint16], bits: int) -> bool:
    return bits == 16 or int(np.count_nonzero(pixels >> bits)) <= HOT_FRACTION * pixels.size
