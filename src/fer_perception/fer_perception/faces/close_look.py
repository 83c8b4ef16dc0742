"""A close look at places where a face may be: cut out upright and enlarged, several in one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from fer_perception.faces.yunet import Detections
from fer_perception.types import Float32Array, UInt8Image

# In pixels: of a tile, and of the face in it, which is wide enough to be sure of it and of its key points.
TILE, FACE_WIDTH = 96, 56


class Place(NamedTuple):
    """Where a face may be: its middle and width in pixels, and how far it is turned, clockwise, in radians."""

    x: float
    y: float
    width: float
    roll_rad: float


class Detector(Protocol):
    """What finds faces in an image. ``tiles``: columns and rows that it is given at once for a close look."""

    tiles: tuple[int, int]

    def detect(self, image: UInt8Image, least: float) -> Detections:
        """See :meth:`fer_perception.faces.yunet.YuNet.detect`."""

    def close(self) -> None:
        """Free everything."""


def look_closely(detector: Detector, image: UInt8Image, places: Sequence[Place], least: float) -> Detections:
    """The faces at some places of an image.

    :param least: weaker detections are left out.
    :return: in pixels of the image, in the order of the places; one place may give none or two.
    """
    boxes, scores, points = [], [], []
    most = math.prod(detector.tiles)
    for begin in range(0, len(places), most):
        some = places[begin : begin + most]
        rows = -(-len(some) // detector.tiles[0])
        columns = -(-len(some) // rows)
        mosaic = np.zeros((rows * TILE, columns * TILE, 3), np.uint8)
        tiles = [divmod(number, columns) for number in range(len(some))]
        maps = [_upright(place) for place in some]
        for (row, column), turn in zip(tiles, maps, strict=True):
            mosaic[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = _cut_out(image, turn)
        found = detector.detect(mosaic, least)
        for box, score, keypoints in zip(*found, strict=True):
            middle = box[:2] + box[2:] / 2
            column, row = (int(side) for side in middle // TILE)
            if (row, column) not in tiles:
                continue
            corner = np.asarray([column * TILE, row * TILE])
            turn = maps[tiles.index((row, column))]
            back, size = cv2.invertAffineTransform(turn), box[2:] / math.hypot(turn[0, 0], turn[1, 0])
            center = back[:, :2] @ (middle - corner) + back[:, 2]
            boxes.append([*(center - size / 2), *size])
            scores.append(score)
            points.append((keypoints - corner) @ back[:, :2].T + back[:, 2])
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32),
        np.asarray(points, np.float32).reshape(-1, 5, 2),
    )


def _upright(place: Place) -> Float32Array:
    """From the image to a tile: float64, (2, 3)."""
    scale = FACE_WIDTH / place.width
    across, down = scale * math.cos(place.roll_rad), -scale * math.sin(place.roll_rad)
    middle = (TILE - 1) / 2
    return np.array(
        [
            [across, -down, middle - across * place.x + down * place.y],
            [down, across, middle - down * place.x - across * place.y],
        ]
    )


def _cut_out(image: UInt8Image, turn: Float32Array) -> UInt8Image:
    """A tile; where it shrinks the image much, the image is averaged before."""
    shrunk = 1.0
    while math.hypot(turn[0, 0], turn[1, 0]) / shrunk < 0.5:
        shrunk /= 2
    if shrunk < 1:
        image = cv2.resize(image, None, fx=shrunk, fy=shrunk, interpolation=cv2.INTER_AREA)
        turn = np.hstack([turn[:, :2] / shrunk, turn[:, 2:] + turn[:, :2] @ np.full((2, 1), 0.5 / shrunk - 0.5)])
    return np.asarray(cv2.warpAffine(image, turn, (TILE, TILE), flags=cv2.INTER_LINEAR))
