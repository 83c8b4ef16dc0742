"""Boxes in images: x, y, width, height in pixels."""

from __future__ import annotations

import cv2
import numpy as np

from fer_perception.types import Box, Float32Array, UInt8Image


def is_inside(box: Box, frame: Box) -> bool:
    """Whether a box lies wholly in a frame."""
    return (
        box[0] >= frame[0]
        and box[1] >= frame[1]
        and box[0] + box[2] <= frame[0] + frame[2]
        and box[1] + box[3] <= frame[1] + frame[3]
    )


def clip(box: Box, width: int, height: int) -> Box:
    """The part of a box inside the image, at least one pixel of it."""
    left, top = min(max(box[0], 0), width - 1), min(max(box[1], 0), height - 1)
    right, bottom = min(max(box[0] + box[2], left + 1), width), min(max(box[1] + box[3], top + 1), height)
    return left, top, right - left, bottom - top


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def cut_out(image: UInt8Image, box: Box, margin: float, resolution: int) -> tuple[UInt8Image, float, Float32Array]:
    """A square around a box, ``margin`` times its size, of ``resolution`` pixels a side.

    :return: the cut-out, its scale (cut-out pixels per image pixel) and its origin in the image.
    """
    x, y, width, height = box
    side = margin * max(width, height)
    scale = resolution / side
    origin = np.asarray([x + width / 2 - side / 2, y + height / 2 - side / 2], np.float32)
    matrix = np.asarray([[scale, 0, -origin[0] * scale], [0, scale, -origin[1] * scale]])
    return cv2.warpAffine(image, matrix, (resolution, resolution), flags=cv2.INTER_LINEAR), scale, origin
