"""Cameras that are mounted on their side or upside down: images are turned upright, and what is found turned back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fer_perception.faces.close_look import Place
from fer_perception.faces.face import Face
from fer_perception.faces.orientation import Quaternion, product
from fer_perception.faces.tracker import Outlook
from fer_perception.types import Box, Float32Array, UInt8Image

Rotation = Literal[0, 90, 180, 270]
ROTATIONS: tuple[Rotation, ...] = (0, 90, 180, 270)


class Turn:
    """Between images as received and upright ones.

    :param rotation: by so many degrees clockwise a received image is turned to be upright.
    :param shape: of the received image: height, width.
    """

    def __init__(self, rotation: Rotation, shape: Sequence[int]) -> None:
        self._quarters = rotation // 90
        self._height, self._width = shape[:2]

    def upright(self, image: UInt8Image) -> UInt8Image:
        """The image turned: uint8, (H, W, C) or (W, H, C)."""
        return np.ascontiguousarray(np.rot90(image, -self._quarters)) if self._quarters else image

    def outlook(self, outlook: Outlook | None) -> Outlook | None:
        """What is known of a received image, for the upright one."""
        if outlook is None or not self._quarters:
            return outlook
        return outlook._replace(expected=[self._place(place) for place in outlook.expected])

    def face(self, face: Face, upright: bool = False) -> Face:
        """A face of the upright image in pixels of the received one; ``upright``: the other way round."""
        if not self._quarters:
            return face
        points = self._there if upright else self._back
        mesh = None if face.mesh is None else np.column_stack([points(face.mesh[:, :2]), face.mesh[:, 2]])
        x, y, width, height = face.box
        corners = points(np.asarray([[x, y], [x + width - 1, y + height - 1]], np.float32))
        left, top = corners.min(0).astype(int).tolist()
        right, bottom = corners.max(0).astype(int).tolist()
        box: Box = (left, top, right - left + 1, bottom - top + 1)
        quarters = self._quarters if upright else -self._quarters
        orientation = face.orientation and _rolled(face.orientation, quarters)
        return replace(face, box=box, keypoints=points(face.keypoints), mesh=mesh, orientation=orientation)

    def _place(self, place: Place) -> Place:
        ((x, y),) = self._there(np.asarray([[place.x, place.y]], np.float32)).tolist()
        return Place(x, y, place.width, place.roll_rad + self._quarters * math.pi / 2)

    def _there(self, points: Float32Array) -> Float32Array:
        """From the received to the upright image: (N, 2), pixel centres at whole numbers."""
        x, y = points.T
        right, bottom = self._width - 1, self._height - 1
        turned = {0: (x, y), 1: (bottom - y, x), 2: (right - x, bottom - y), 3: (y, right - x)}
        return np.stack(turned[self._quarters], 1).astype(np.float32)

    def _back(self, points: Float32Array) -> Float32Array:
        x, y = points.T
        right, bottom = self._width - 1, self._height - 1
        turned = {0: (x, y), 1: (y, bottom - x), 2: (right - x, bottom - y), 3: (right - y, x)}
        return np.stack(turned[self._quarters], 1).astype(np.float32)


def _rolled(orientation: Quaternion, quarters: int) -> Quaternion:
    """An orientation as a camera sees it that is turned about its axis, clockwise in the image."""
    half = quarters * math.pi / 4
    return product((0.0, 0.0, math.sin(half), math.cos(half)), orientation)
