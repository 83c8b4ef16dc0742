"""What hides a part of a face, placed by where eyes and mouth lie in an aligned crop. Sizes are in eye distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.types import Float32Array, UInt8Image

OVERSAMPLING = 8  # of drawn edges, which are averaged down
MASK_GREY, LENS_GREY = 200, 20  # of a pale surgical mask and of dark lenses
LENS_HEIGHT = 0.8  # of its width
BRIDGE = 0.08  # half the height of a frame's bridge and temples
CHEEK, CHIN = 1.0, 0.6  # half widths of a mask below its upper edge and at the chin, in half widths of the upper edge
BLOCK_MARGIN = 0.25  # how far beyond eyes and mouth a block's middle may lie


class Face(NamedTuple):
    """Eyes, mouth and the axes of a face in a crop, in pixels. ``across`` is from eye to eye, ``down`` to the chin."""

    right_eye: npt.NDArray[np.float64]
    left_eye: npt.NDArray[np.float64]
    mouth: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]
    down: npt.NDArray[np.float64]


def face_of(template: AlignmentTemplate, width: int, height: int) -> Face:
    """The face of a crop that was aligned to the template."""
    right_eye, left_eye, mouth = template.points(width, height).astype(np.float64)
    across = left_eye - right_eye
    return Face(right_eye, left_eye, mouth, across, np.array([-across[1], across[0]]))


def mouth_mask(template: AlignmentTemplate, width: int, height: int, top: float, bottom: float) -> Float32Array:
    """What a surgical mask covers: float32, (height, width) in 0..1.

    :param top: its upper edge above the mouth, which also makes it wider.
    :param bottom: its lower edge below the mouth.
    """
    face = face_of(template, width, height)
    half = 0.3 + top
    outline = [(-half, -top), (half, -top), (half * CHEEK, 0), (half * CHIN, bottom)]
    outline += [(-half * CHIN, bottom), (-half * CHEEK, 0)]
    points = np.array([face.mouth + x * face.across + y * face.down for x, y in outline])
    canvas = _canvas(width, height)
    cv2.fillPoly(canvas, [_on_canvas(points)], 255)
    return _average(canvas, width, height)


def sunglasses(template: AlignmentTemplate, width: int, height: int, size: float) -> Float32Array:
    """What sunglasses cover: float32, (height, width) in 0..1.

    :param size: half the width of a lens.
    """
    face = face_of(template, width, height)
    canvas = _canvas(width, height)
    distance = float(np.hypot(*face.across))
    angle = float(np.degrees(np.arctan2(face.across[1], face.across[0])))
    axes = tuple(round(distance * part * OVERSAMPLING) for part in (size, size * LENS_HEIGHT))
    for eye in (face.right_eye, face.left_eye):
        cv2.ellipse(canvas, tuple(_on_canvas(eye).tolist()), axes, angle, 0, 360, 255, -1)
    ends = [face.right_eye - 2 * face.across, face.left_eye + 2 * face.across]  # beyond the crop
    bar = [ends[0] - BRIDGE * face.down, ends[1] - BRIDGE * face.down]
    bar += [ends[1] + BRIDGE * face.down, ends[0] + BRIDGE * face.down]
    cv2.fillPoly(canvas, [_on_canvas(np.array(bar))], 255)
    return _average(canvas, width, height)


def block(
    template: AlignmentTemplate, width: int, height: int, fraction: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Rows and columns of a square that covers a fraction of the crop, its middle about eyes, nose and mouth."""
    side = min(round(float(np.sqrt(fraction * width * height))), width, height)
    face = face_of(template, width, height)
    points = np.array([face.right_eye, face.left_eye, face.mouth])
    margin = BLOCK_MARGIN * float(np.hypot(*face.across))
    middle = rng.uniform(points.min(axis=0) - margin, points.max(axis=0) + margin)
    # Moved into the crop, so that every block covers the same area.
    left, top = (
        int(np.clip(round(m - side / 2), 0, end - side)) for m, end in zip(middle, (width, height), strict=True)
    )
    return slice(top, top + side), slice(left, left + side)


def cover(images: UInt8Image, mask: Float32Array, grey: int) -> UInt8Image:
    """Paint a grey over what a mask covers: uint8 (N, H, W, C) to the same."""
    opacity = mask[..., None]
    return np.round(images * (1 - opacity) + grey * opacity).astype(np.uint8)


def cover_blocks(images: UInt8Image, places: Sequence[tuple[slice, slice]], greys: Sequence[int]) -> UInt8Image:
    """Paint each image's own block in its own grey: uint8 (N, H, W, C) to the same."""
    covered = images.copy()
    for image, (rows, columns), grey in zip(covered, places, greys, strict=True):
        image[rows, columns] = grey
    return covered


def _canvas(width: int, height: int) -> UInt8Image:
    return np.zeros((height * OVERSAMPLING, width * OVERSAMPLING), np.uint8)


def _on_canvas(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """From pixels of the crop to those of the canvas, pixel centres at whole numbers in both."""
    return np.round((points + 0.5) * OVERSAMPLING - 0.5).astype(np.int32)


def _average(canvas: UInt8Image, width: int, height: int) -> Float32Array:
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
