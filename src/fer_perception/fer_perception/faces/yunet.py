"""YuNet: finds faces from about ten pixels on, with five key points (Wu, Peng and Yu, *YuNet: A Tiny Millisecond-level
Face Detector*, 2023, doi:10.1007/s11633-023-1423-y).

The network has a grid of anchors for each stride. Of each anchor it gives two scores (a face is here; the anchor is
the one for it), a box and five points, both relative to the anchor's place in units of the stride.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.engines.network import Network, Shapes
from fer_perception.engines.onnx_runtime import Engine
from fer_perception.types import Float32Array, UInt8Image

STRIDES = (8, 16, 32)
# Values of an anchor in the outputs cls, obj, bbox and kps.
VALUES = (1, 1, 4, 10)
# In pixels: of the smallest and the largest image that the network is given. The usual one is a close look at one face.
LEAST_SIDE, MOST_SIDE, USUAL_SIDES = 32, 640, (96, 96)
SAME_FACE_OVERLAP = 0.3

Indices = npt.NDArray[np.intp]


class Detections(NamedTuple):
    """What a detector sees in an image, the surest first, no face twice; in pixels, whose centres are at whole numbers.

    ``boxes``: float32, (N, 4), x, y, width, height. ``scores``: float32, (N,), 0 to 1. ``points``: float32, (N, 5, 2),
    as :attr:`fer_perception.faces.face.Face.keypoints`.
    """

    boxes: Float32Array
    scores: Float32Array
    points: Float32Array

    def of(self, chosen: npt.NDArray[Any]) -> Detections:
        """Some of them: indices, or a truth value for each."""
        return Detections(self.boxes[chosen], self.scores[chosen], self.points[chosen])


def joined(*parts: Detections) -> Detections:
    """All detections, one part after the other."""
    shapes = (0, 4), (0,), (0, 5, 2)
    empty = Detections(*(np.zeros(shape, np.float32) for shape in shapes))
    return Detections(*(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True)))


def yunet_network(file: Path) -> Network:
    """YuNet's network for images of any shape up to ``MOST_SIDE`` pixels a side."""
    shapes = Shapes(*((1, 3, *sides) for sides in ((LEAST_SIDE,) * 2, USUAL_SIDES, (MOST_SIDE,) * 2)))
    return Network("yunet", file, "fp32", shapes, tuple((1, -1, values) for values in VALUES for _ in STRIDES))


class YuNet:
    """The network on an engine.

    :param engine: takes float32 (1, 3, H, W), blue, green, red, 0 to 255, with sides that are multiples of 32; gives
        for each of cls, obj, bbox, kps and each of the strides one output (1, anchors, values), in this order.
    """

    tiles = (3, 2)  # take a millisecond

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._anchors: dict[tuple[int, int], Float32Array] = {}

    def detect(self, image: UInt8Image, least: float) -> Detections:
        """The faces of an image as it is: nothing is resized.

        :param image: uint8, (H, W, 3), RGB.
        :param least: weaker detections are left out.
        """
        height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in image.shape[:2])
        pixels = cv2.copyMakeBorder(image, 0, height - image.shape[0], 0, width - image.shape[1], cv2.BORDER_CONSTANT)
        outputs = self._engine.run(np.asarray(cv2.split(pixels)[::-1], np.float32)[None])
        classes, objects, boxes, points = (
            np.concatenate([output[0] for output in outputs[begin : begin + len(STRIDES)]])
            for begin in range(0, len(outputs), len(STRIDES))
        )
        squares = (classes * objects)[:, 0]
        kept = np.flatnonzero(squares >= least * least)
        kept = kept[np.argsort(-squares[kept], kind="stable")]
        scores = np.sqrt(squares[kept].clip(0, 1))
        x, y, stride = self._grid(height, width)[kept].T[:, :, None]
        centers = np.hstack([x, y]) + boxes[kept, :2] * stride
        sizes = np.exp(boxes[kept, 2:]) * stride
        found = np.hstack([centers - sizes / 2 - 0.5, sizes])  # the network counts from the image's corner
        places = np.stack([x, y], 2) + points[kept].reshape(-1, 5, 2) * stride[..., None] - 0.5
        first = without_repetitions(found)
        return Detections(*(np.asarray(part[first], np.float32) for part in (found, scores, places)))

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _grid(self, height: int, width: int) -> Float32Array:
        """Place and stride of each anchor: float32, (anchors, 3)."""
        if (height, width) not in self._anchors:
            parts = []
            for stride in STRIDES:
                y, x = np.mgrid[: height // stride, : width // stride] * stride
                parts.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], 1))
            self._anchors[height, width] = np.concatenate(parts).astype(np.float32)
        return self._anchors[height, width]


def without_repetitions(boxes: npt.NDArray[np.floating]) -> Indices:
    """Of boxes that are the same face, the first one: indices of those that stay.

    :param boxes: (N, 4), x, y, width, height.
    """
    corners = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = boxes[:, 2] * boxes[:, 3]
    left, kept = np.arange(len(boxes)), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        sides = np.minimum(corners[1][best], corners[1][left]) - np.maximum(corners[0][best], corners[0][left])
        shared = sides.clip(0).prod(1)
        left = left[shared < SAME_FACE_OVERLAP * (areas[best] + areas[left] - shared)]
    return np.asarray(kept, np.intp)
