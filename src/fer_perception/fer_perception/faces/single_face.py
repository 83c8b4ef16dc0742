"""Images that are known to show one face: photographs of a dataset, a bag made of them, a film of one person.

A robot that is not sure of a face says nothing. Here the face is known to be there, so less sure ones will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from fer_perception.faces.face import NO_KEYPOINTS, Face
from fer_perception.faces.finder import FaceFinder
from fer_perception.geometry import clip
from fer_perception.pipeline import FacePipeline
from fer_perception.preprocessing.normalization import prepare_crop
from fer_perception.types import Box, UInt8Image

Region = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

# Room around an annotated box: the detector expects more than the face.
BOX_MARGIN = 0.5
# First as on the robot. Then a less sure face will do, and room is added around an image that was cut tightly.
ATTEMPTS = ((0.75, 0.0), (0.5, 0.0), (0.5, 0.3))  # confidence, margin


def find_one_face(finder: FaceFinder, image: UInt8Image, box: Region | None = None) -> Face | None:
    """The one face that an image is about, in pixels of the image, or None. Changes ``finder.min_confidence``.

    :param image: uint8, (H, W, 3), RGB.
    :param box: where to look; else the most central large face is taken.
    """
    height, width = image.shape[:2]
    region = (0.0, 0.0, width, height) if box is None else _widened(box, BOX_MARGIN)
    for confidence, margin in ATTEMPTS:
        finder.min_confidence = confidence
        part, (left, top) = cut(image, _widened(region, margin))
        faces = finder.find(part)
        if faces:
            face = faces[most_prominent([face.box for face in faces], part.shape[1], part.shape[0])]
            x, y, *size = face.box
            return replace(
                face,
                box=(x + left, y + top, size[0], size[1]),
                keypoints=face.keypoints + np.asarray([left, top], np.float32),
            )
    return None


def most_prominent(boxes: list[Box], width: int, height: int) -> int:
    """Index of the box of the face that an image of this size is about: the most central large one."""

    def prominence(box: Box) -> float:
        x, y, *size = box
        return max(size) - math.hypot(x + size[0] / 2 - width / 2, y + size[1] / 2 - height / 2)

    return max(range(len(boxes)), key=lambda index: prominence(boxes[index]))


def cut(image: UInt8Image, region: Region) -> tuple[UInt8Image, tuple[int, int]]:
    """A region of an image, which may reach beyond it (its border is repeated), and the region's corner."""
    height, width = image.shape[:2]
    left, top = math.floor(region[0]), math.floor(region[1])
    right, bottom = max(math.ceil(region[0] + region[2]), left + 1), max(math.ceil(region[1] + region[3]), top + 1)
    inside = image[
        min(max(top, 0), height - 1) : max(min(bottom, height), 1),
        min(max(left, 0), width - 1) : max(min(right, width), 1),
    ]
    above, before = max(-top, 0), max(-left, 0)
    below, behind = max(bottom - height, 0), max(right - width, 0)
    if above or before or below or behind:
        inside = cv2.copyMakeBorder(inside, above, below, before, behind, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(inside), (left, top)


class OneFacePipeline(FacePipeline):
    """A face stage that gives exactly one face for every image.

    Where none is found it is the whole image, with confidence 0 and key points NaN.
    """

    def find(self, image: UInt8Image, stamp_s: float, mesh: bool) -> list[Face]:
        """See :meth:`FacePipeline.find`; without meshes."""
        height, width = image.shape[:2]
        face = find_one_face(self.finder, image)
        if face is None:
            return [Face((0, 0, width, height), 0.0, NO_KEYPOINTS)]
        return [replace(face, box=clip(face.box, width, height))]

    def crop(self, image: UInt8Image, faces: Sequence[Face]) -> list[UInt8Image]:
        """See :meth:`FacePipeline.crop`."""
        if faces[0].confidence:
            return super().crop(image, faces)
        spec = self.manifest.input
        whole = prepare_crop(image, spec)
        return [whole[..., 0] if spec.color == "grey" else whole]


def _widened(box: Region, margin: float) -> Region:
    x, y, width, height = box
    return x - margin * width, y - margin * height, width * (1 + 2 * margin), height * (1 + 2 * margin)
