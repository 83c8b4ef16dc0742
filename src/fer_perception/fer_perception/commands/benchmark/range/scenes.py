"""Scenes of one face: a cut-out of a person or a photograph, somewhere in a picture without people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

from fer_perception.commands.benchmark.range.people import Cutout
from fer_perception.commands.benchmark.range.photographs import KEYPOINTS, face_width
from fer_perception.errors import FerError
from fer_perception.evaluation.range import IMAGE_WIDTH_PX
from fer_perception.images.sources import open_source
from fer_perception.types import Box, Float32Array, UInt8Image

SIZE = (IMAGE_WIDTH_PX, 480)
# Of scikit-image's pictures those that come with it and show nobody (there are portraits on the coins).
SHIPPED = ("stereo_motorcycle", "coffee", "chelsea", "rocket", "brick", "grass", "gravel", "moon", "page")
MAX_ZOOM = 1.8
MAX_SIDE = 1600  # larger backgrounds are shrunk
REACH = 1.1  # so many widths of the face lie at least between its middle and the picture's edge


class Kind(NamedTuple):
    """Of a scene: the face's width in pixels, whether it is a photograph with a hard edge, its roll in degrees."""

    width: int
    hard_edge: bool = False
    roll_deg: int = 0


KINDS = (
    *(Kind(width) for width in (12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 160)),
    *(Kind(width, hard_edge=True) for width in (48, 64, 96)),
    *(Kind(width, roll_deg=roll_deg) for roll_deg in (30, 45) for width in (32, 48)),
)


class Scene(NamedTuple):
    """An image, uint8, (480, 640, 3), RGB, and its face: box and key points as those of a Face."""

    image: UInt8Image
    box: Box
    keypoints: Float32Array


def load_backgrounds(folder: Path | None = None) -> list[UInt8Image]:
    """Pictures without people: uint8, (H, W, 3), RGB; scikit-image's, and those of a folder.

    :raises FerError: the folder holds no image, or one cannot be read.
    """
    pictures: list[UInt8Image] = []
    for name in SHIPPED:
        loaded: Any = getattr(skimage.data, name)()
        picture = loaded[0] if isinstance(loaded, tuple) else loaded  # of the stereo pair the left one
        pictures.append(np.ascontiguousarray(picture if picture.ndim == 3 else np.stack([picture] * 3, 2)))
    if folder is not None:
        if not folder.is_dir():
            raise FerError(f"{folder}: is no folder. Give one with images that show no people")
        pictures += open_source(str(folder), still_s=0.0, max_side=MAX_SIDE).frames()
    return pictures


def make_picture(backgrounds: list[UInt8Image], rng: np.random.Generator) -> UInt8Image:
    """A part of one of the backgrounds: uint8, (480, 640, 3), RGB."""
    width, height = SIZE
    whole = backgrounds[rng.integers(len(backgrounds))]
    scale = max(width / whole.shape[1], height / whole.shape[0]) * rng.uniform(1, MAX_ZOOM)
    size = [max(least, round(side * scale)) for least, side in zip(SIZE, whole.shape[1::-1], strict=True)]
    whole = cv2.resize(whole, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    x, y = (int(rng.integers(0, side - least + 1)) for least, side in zip(SIZE, size, strict=True))
    part = whole[y : y + height, x : x + width]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def make_scene(cutout: Cutout, kind: Kind, backgrounds: list[UInt8Image], seed: int) -> Scene:
    """A cut-out somewhere in a picture. Seed and width determine picture and place, whatever else the kind says."""
    rng = np.random.default_rng([seed, kind.width])
    picture = make_picture(backgrounds, rng)
    place = np.asarray([rng.uniform(REACH * kind.width, side - REACH * kind.width) for side in SIZE])
    roll_rad = math.radians(kind.roll_deg) * rng.choice([-1, 1])
    scale = kind.width / face_width(cutout.mesh)
    cos, sin = scale * math.cos(roll_rad), scale * math.sin(roll_rad)
    turn = np.asarray([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([turn, place - turn @ cutout.middle])
    layer = _warped(cutout.image, matrix, scale, cv2.BORDER_REPLICATE)
    opacity = _warped(cutout.opacity, matrix, scale, cv2.BORDER_CONSTANT)[..., None]
    if kind.hard_edge:
        opacity = (opacity > 0.5).astype(np.float32)
    image = picture * (1 - opacity) + layer * opacity
    mesh = cutout.mesh @ turn.T + matrix[:, 2]
    low, high = mesh.min(0), mesh.max(0)
    x, y, width, height = (round(float(value)) for value in (*(low + 0.5), *(high - low)))
    return Scene(
        image.round().clip(0, 255).astype(np.uint8),
        (x, y, width, height),
        mesh[list(KEYPOINTS)].astype(np.float32),
    )


def _warped(layer: npt.NDArray[Any], matrix: npt.NDArray[np.float64], scale: float, border: int) -> npt.NDArray[Any]:
    """A layer in the scene. Shrunk to twice its size there by area first: linear sampling alone would alias."""
    height, width = layer.shape[:2]
    if 2 * scale < 1:
        size = [max(1, round(side * 2 * scale)) for side in (width, height)]
        layer = cv2.resize(layer, size, interpolation=cv2.INTER_AREA)
        across, down = width / size[0], height / size[1]
        # From the shrunk layer's pixels to those of the photograph, centres at whole numbers in both.
        matrix = matrix @ np.asarray([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
    return np.asarray(cv2.warpAffine(layer, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=border))
