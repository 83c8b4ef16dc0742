"""Faces and emotions in the vocabulary of REP 155, the ROS convention for perceiving humans, and its hri_msgs 2.

Plain values in the order of the messages' fields; a node fills the messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fer_perception.faces.face import LEFT_EYE, LEFT_MOUTH, NOSE_TIP, RIGHT_EYE, RIGHT_MOUTH, Face
from fer_perception.types import Box, Float32Array, UInt8Image

# The suite's labels as hri_msgs/Expression's words. Contempt has no word there. It becomes "skeptical": of all words
# of the message that Russell and Mehrabian rated (see AFFECT), it lies closest to contempt in valence and arousal (0.10
# away; "suspicious" 0.11, "disgusted" 0.36), and as no other label has it, every word still stands for one label.
EXPRESSIONS = {
    "angry": "angry",
    "disgust": "disgusted",
    "fear": "scared",
    "happy": "happy",
    "sad": "sad",
    "surprise": "surprised",
    "neutral": "neutral",
    "contempt": "skeptical",
}

# Valence and arousal, -1 to 1: mean ratings of pleasure and arousal for the terms angry, disgusted, fearful, happy,
# sad, surprised and contemptuous in J. A. Russell and A. Mehrabian, "Evidence for a three-factor theory of emotions",
# Journal of Research in Personality 11 (1977), 273-294, doi:10.1016/0092-6566(77)90037-X. Neutral is the scales' zero.
AFFECT = {
    "angry": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
    "neutral": (0.0, 0.0),
    "contempt": (-0.24, 0.31),
}

# hri_msgs/FacialLandmarks: dlib's 68 points and the pupils. Which point of MediaPipe's mesh each of them is. Right and
# left are the person's own, so that the right comes first in an image. Jaw and lips have more points in the mesh than
# in the message; of those the evenly spaced ones are taken, as dlib's are.
# fmt: off
MESH_POINTS = (
    127, 234, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 454, 356,  # 0-16 jaw, right ear to left
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # 17-26 brows' upper edges, right to left
    168, 197, 5, 4,  # 27-30 nose, sellion to tip
    98, 97, 2, 326, 327,  # 31-35 below the nose, right to left
    33, 160, 158, 133, 153, 144,  # 36-41 right eye from its outer corner, over the upper lid
    362, 385, 387, 263, 373, 380,  # 42-47 left eye from its inner corner, over the upper lid
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,  # 48-59 outer lips from the right corner, over the upper lip
    78, 82, 13, 312, 308, 317, 14, 87,  # 60-67 inner lips likewise
    468, 473,  # 68-69 right pupil, left pupil
)
# fmt: on

# Without a mesh: which landmark each key point is, to some tenth of the eyes' distance.
KEYPOINT_LANDMARKS = {RIGHT_EYE: 68, LEFT_EYE: 69, NOSE_TIP: 30, RIGHT_MOUTH: 48, LEFT_MOUTH: 54}

# Side of the published face images in pixels: the default that REP 155 names.
FACE_IMAGE_SIDE = 128


@dataclass(frozen=True)
class Expression:
    """Fields of hri_msgs/Expression: a word of its list, valence and arousal -1 to 1, confidence 0 to 1."""

    expression: str
    valence: float
    arousal: float
    confidence: float


def expression(probabilities: Float32Array, labels: Sequence[str]) -> Expression:
    """The strongest label's word and probability, and the valence and arousal that the whole distribution expects.

    The expected valence is the mean of the labels' valences (``AFFECT``) weighted by their probabilities, so that a
    doubtful face lies between its labels; arousal likewise.

    :param probabilities: (labels,), summing to 1.
    """
    winner = int(np.argmax(probabilities))
    valence, arousal = np.asarray(probabilities, np.float64) @ np.asarray([AFFECT[label] for label in labels])
    return Expression(EXPRESSIONS[labels[winner]], float(valence), float(arousal), float(probabilities[winner]))


def region_of_interest(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    """``xmin, ymin, xmax, ymax`` of hri_msgs/NormalizedRegionOfInterest2D, 0 to 1, for a box inside an image.

    :param box: x, y, width, height in pixels.
    """
    x, y, box_width, box_height = box
    return x / width, y / height, (x + box_width) / width, (y + box_height) / height


def facial_landmarks(face: Face, width: int, height: int) -> Float32Array:
    """The landmarks of hri_msgs/FacialLandmarks: from the mesh where there is one, else the five that are key points.

    A landmark's confidence is the face's. It is 0 for one that was not measured (at 0, 0) or that lies outside the
    image (moved to its border).

    :param width: of the image, in pixels, as ``height``.
    :return: float32, (70, 3): x and y as fractions of width and height, confidence.
    """
    points = np.full((len(MESH_POINTS), 2), -np.inf, np.float32)
    if face.mesh is not None:
        points[:] = face.mesh[list(MESH_POINTS), :2]
    else:
        points[list(KEYPOINT_LANDMARKS.values())] = face.keypoints[list(KEYPOINT_LANDMARKS)]
    # Pixel centres are at whole numbers, the image begins half a pixel before.
    fractions = (points + np.float32(0.5)) / np.asarray([width, height], np.float32)
    inside = ((fractions >= 0) & (fractions <= 1)).all(axis=1)
    return np.column_stack([fractions.clip(0, 1), inside * np.float32(face.confidence)]).astype(np.float32)


def cropped_face(image: UInt8Image, box: Box) -> UInt8Image:
    """The image of topic ``cropped``: the box, scaled to fit, centred on black.

    :param image: uint8, (H, W, 3).
    :param box: x, y, width, height in pixels, inside the image.
    :return: uint8, (128, 128, 3).
    """
    x, y, width, height = box
    return _fit(image[y : y + height, x : x + width])


def aligned_face(image: UInt8Image, face: Face) -> UInt8Image:
    """The image of topic ``aligned``: as :func:`cropped_face`, turned about the box's centre until the eyes are level.

    :param image: uint8, (H, W, 3).
    :return: uint8, (128, 128, 3); black where it reaches beyond the image.
    """
    x, y, width, height = face.box
    angle = float(np.degrees(face.roll_rad))
    matrix = cv2.getRotationMatrix2D((x + (width - 1) / 2, y + (height - 1) / 2), angle, 1)
    matrix[:, 2] -= (x, y)
    return _fit(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR))


def _fit(image: UInt8Image) -> UInt8Image:
    """An image scaled to the largest size that fits, centred on black: uint8, (128, 128, 3)."""
    height, width = image.shape[:2]
    scale = FACE_IMAGE_SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((FACE_IMAGE_SIDE, FACE_IMAGE_SIDE, 3), np.uint8)
    left, top = (FACE_IMAGE_SIDE - size[0]) // 2, (FACE_IMAGE_SIDE - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = scaled
    return canvas
