"""What the face stage knows about a face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_perception.faces.orientation import Quaternion
from fer_perception.types import Box, Float32Array

# Rows of a face's key points; right and left are the person's own.
KEYPOINTS = ("right_eye", "left_eye", "nose_tip", "right_mouth", "left_mouth")
RIGHT_EYE, LEFT_EYE, NOSE_TIP, RIGHT_MOUTH, LEFT_MOUTH = range(len(KEYPOINTS))
NO_KEYPOINTS = np.full((len(KEYPOINTS), 2), np.nan, np.float32)


@dataclass(frozen=True)
class Pose:
    """A head in the camera's optical frame (x right, y down, z away from it).

    ``position_m``: float64, (3,), of the point between the eyes. ``orientation``: identity for a head whose axes (x to
    its left, y down, z backwards) are the camera's: one that looks against the camera's axis. ``covariance``: float64,
    (6, 6), of position in square metres and of the rotation about the camera's axes in square radians.
    """

    position_m: npt.NDArray[np.float64]
    orientation: Quaternion
    covariance: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Face:
    """One face, in pixels of its image (centre of the upper left pixel at 0, 0; x to the right, y down).

    ``box``: x, y, width, height, clipped to the image, whole numbers. ``confidence``: 0 to 1. ``keypoints``: float32,
    (5, 2), right eye, left eye, nose tip, right and left corner of the mouth. ``mesh``: float32, (478, 3), or None.
    ``orientation``: unit quaternion x, y, z, w of the head relative to the line of sight to it (axes as REP 103's
    optical frame: x right, y down, z away from the camera), identity for a face that looks straight into the camera;
    or None. ``pose``: where the head is in space, where the camera is known, else None.
    """

    box: Box
    confidence: float
    keypoints: Float32Array
    mesh: Float32Array | None = None
    orientation: Quaternion | None = None
    pose: Pose | None = None

    @property
    def eyes_and_mouth(self) -> Float32Array:
        """Right eye, left eye and the middle of the mouth, by which faces are aligned: float32, (3, 2)."""
        mouth = self.keypoints[[RIGHT_MOUTH, LEFT_MOUTH]].mean(0)
        return np.stack([self.keypoints[RIGHT_EYE], self.keypoints[LEFT_EYE], mouth])

    @property
    def roll_rad(self) -> float:
        """How far the line through the eyes is turned, clockwise in the image; NaN without key points."""
        return roll_rad(self.keypoints)


def roll_rad(keypoints: Float32Array) -> float:
    """See :attr:`Face.roll_rad`.

    :param keypoints: as those of a face.
    """
    across, down = (keypoints[LEFT_EYE] - keypoints[RIGHT_EYE]).tolist()
    return math.atan2(down, across)
