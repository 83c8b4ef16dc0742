"""What is put into a picture: a person with the face of a photograph, or the photograph alone.

Photographs of labelled faces are mostly cut close to the face. A detector looks for heads and shoulders: so the face
goes onto those of scikit-image's portrait, whose light and colours are adapted to it.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import skimage.data

from fer_perception.commands.benchmark.range.photographs import KEYPOINTS, LabelledFace
from fer_perception.preprocessing.alignment import similarity_transform
from fer_perception.types import Float32Array, UInt8Image

# In scikit-image's portrait: its key points, and the outline of its head and shoulders, which fade out below.
PORTRAIT_KEYPOINTS = ((203.0, 100.7), (246.2, 103.0), (222.9, 126.1), (201.9, 138.8), (244.0, 140.1))
HEAD = ((112, 207), (118, 185), (125, 168), (150, 150), (182, 148), (182, 130), (172, 122), (165, 118), (153, 95))
HAIR = ((153, 65), (170, 45), (190, 35), (205, 22), (232, 16), (262, 21), (288, 42), (300, 75), (300, 100), (288, 122))
SHOULDERS = ((270, 138), (258, 165), (254, 176), (268, 180), (292, 205), (304, 235), (325, 248), (345, 275), (358, 310))
FADE_BEGIN, FADE_END = 300, 345
BODY = ((366, 345), (20, 345), (40, 285), (55, 255), (80, 238))
ENLARGED = 2  # the portrait, so that the faces keep their details
# In widths of the face: how far the photograph reaches beyond the mesh, and how gradually it becomes the portrait.
MARGIN, SOFTNESS = 0.05, 0.05
TIGHT = 0.95  # a photograph alone keeps so many widths of the face to each side of its middle
GREY = 3  # mean difference of red and blue below which a photograph is a grey one


class Cutout(NamedTuple):
    """An image, uint8, (H, W, 3), RGB, its opacity, float32, (H, W), 0 to 1, and the mesh of the face in it."""

    image: UInt8Image
    opacity: Float32Array
    mesh: Float32Array

    @property
    def middle(self) -> Float32Array:
        """Of the face: float32, (2,)."""
        return np.asarray((self.mesh.min(0) + self.mesh.max(0)) / 2)


def make_person(face: LabelledFace) -> Cutout:
    """Head and shoulders with the face of a photograph."""
    portrait = skimage.data.astronaut()[:FADE_END]
    body = cv2.resize(portrait, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    # From the photograph to the enlarged portrait.
    matrix = similarity_transform(face.mesh[list(KEYPOINTS)], np.asarray(PORTRAIT_KEYPOINTS) * ENLARGED)
    mesh = face.mesh @ matrix[:, :2].T + matrix[:, 2]
    size = body.shape[1::-1]
    scale = float(np.hypot(*matrix[:, 0]))
    photograph = cv2.warpAffine(face.image, matrix, size, flags=cv2.INTER_AREA).astype(np.float32)
    inside = cv2.warpAffine(_faded(face.image), matrix, size)
    mask = np.zeros(body.shape[:2], np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(mesh.astype(np.float32)).round().astype(np.int32), 1.0)
    width = face.width * scale
    mask = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=round(MARGIN * width))
    mask = (cv2.GaussianBlur(mask, (0, 0), SOFTNESS * width) * inside)[..., None]
    if np.abs(face.image[..., 0].astype(int) - face.image[..., 2]).mean() < GREY:
        body = np.repeat(body.mean(2, keepdims=True), 3, 2)
    light = (photograph * mask).sum((0, 1)) / np.maximum((body * mask).sum((0, 1)), 1)
    image = body * light * (1 - mask) + photograph * mask
    opacity = np.maximum(_outline(size), mask[..., 0])  # a face may be wider than the portrait's head
    return Cutout(image.round().clip(0, 255).astype(np.uint8), opacity, mesh.astype(np.float32))


def make_photograph(face: LabelledFace) -> Cutout:
    """A square around the face, as far as the photograph reaches."""
    opacity = np.zeros(face.image.shape[:2], np.float32)
    middle = (face.mesh.min(0) + face.mesh.max(0)) / 2
    (left, top), (right, bottom) = (
        np.clip(np.round(middle + side * TIGHT * face.width), 0, face.image.shape[1::-1]).astype(int)
        for side in (-1, 1)
    )
    opacity[top:bottom, left:right] = 1
    return Cutout(face.image, opacity, face.mesh)


def _outline(size: tuple[int, int]) -> Float32Array:
    """Opacity of the enlarged portrait's head and shoulders."""
    opacity = np.zeros(size[::-1], np.float32)
    outline = np.asarray((*HEAD, *HAIR, *SHOULDERS, *BODY)) * ENLARGED
    cv2.fillPoly(opacity, [outline.astype(np.int32)], 1.0)
    rows = np.arange(size[1])[:, None] / ENLARGED
    fade = np.clip((FADE_END - rows) / (FADE_END - FADE_BEGIN), 0, 1)
    return np.asarray(cv2.GaussianBlur(opacity, (0, 0), ENLARGED) * fade, np.float32)


def _faded(image: UInt8Image) -> Float32Array:
    """Opacity that rises from the edges of a photograph: float32, (H, W), 0 to 1."""
    height, width = image.shape[:2]
    rows, columns = (np.minimum(np.arange(side), np.arange(side)[::-1]) for side in (height, width))
    return np.clip(np.minimum(rows[:, None], columns[None]) / (SOFTNESS * width), 0, 1).astype(np.float32)
