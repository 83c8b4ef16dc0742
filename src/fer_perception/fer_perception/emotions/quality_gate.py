"""When not to predict: faces from which no emotion can be read, and predictions of which the network is not sure.

Classification with a reject option (Chow, 1970): a wrong label costs more than none. Every limit is off by default,
so that a model behaves as it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from fer_perception.emotions.class_prior import BALANCED, TRAINING
from fer_perception.errors import BundleError
from fer_perception.faces.face import Face
from fer_perception.labels import UNKNOWN
from fer_perception.models.bundle import Bundle
from fer_perception.settings import EmotionSettings
from fer_perception.types import Float32Array, UInt8Image

# Crops are compared at one size, whatever the network takes: pixels a side.
SHARPNESS_SIDE = 48
# How far the tip of the nose stands out before the eyes, in units of their distance: the least squares fit of the yaw
# below to that of MediaPipe's meshes, see `python -m fer_training quality`.
NOSE_DEPTH = 0.57
PROFILE_DEG = 90.0


class Refusal(IntEnum):
    """Why a face gets no emotion; the numbers are those of ``fer_msgs/Emotion``, where 0 is a prediction."""

    SMALL = 1
    BLURRED = 2
    TURNED = 3
    UNSURE = 4

    @property
    def reason(self) -> str:
        """The word for logs and tables."""
        return self.name.lower()


@dataclass
class QualityGate:
    """Limits below which a face gets no emotion; they may be changed between two images.

    :param min_face_px: of the shorter side of the face's box, in pixels of the image; 0: any.
    :param min_sharpness: see :func:`sharpness`; 0: any.
    :param max_yaw_deg: see :func:`yaw_deg`; 90: any.
    :param abstain_below: the strongest label's probability, 0 to 1; 0: never.
    """

    min_face_px: int = 0
    min_sharpness: float = 0.0
    max_yaw_deg: float = PROFILE_DEG
    abstain_below: float = 0.0

    def inspect(self, faces: Sequence[Face], crops: Sequence[UInt8Image]) -> list[Refusal | None]:
        """What keeps the network from being asked, by face; the first of size, blur and pose.

        :param crops: of the faces, see :func:`sharpness`.
        """
        return [self._inspect(face, crop) for face, crop in zip(faces, crops, strict=True)]

    def doubt(self, probabilities: Float32Array) -> Refusal | None:
        """Whether the network's prediction is too weak, or none at all (NaN).

        :param probabilities: (labels,), summing to 1.
        """
        return None if float(probabilities.max()) >= self.abstain_below else Refusal.UNSURE

    def _inspect(self, face: Face, crop: UInt8Image) -> Refusal | None:
        if min(face.box[2:]) < self.min_face_px:
            return Refusal.SMALL
        if self.min_sharpness > 0 and sharpness(crop) < self.min_sharpness:
            return Refusal.BLURRED
        # Written so that a yaw which cannot be told (NaN) is refused.
        if self.max_yaw_deg < PROFILE_DEG and not yaw_deg(face) <= self.max_yaw_deg:
            return Refusal.TURNED
        return None


def sharpness(crop: UInt8Image) -> float:
    """Variance of the Laplacian over the variance of the pixels, 0 for a crop of one colour.

    The focus measure of Pech-Pacheco et al., *Diatom autofocusing in brightfield microscopy* (2000), divided by the
    contrast, so that a dim face does not pass for a blurred one. It is of the aligned crop, thus of the detail that
    the network sees: a face that was enlarged lacks it, too. Noise adds to it.

    :param crop: uint8, (H, W) grey or (H, W, 3) RGB.
    """
    grey = crop if crop.ndim == 2 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    if grey.shape != (SHARPNESS_SIDE, SHARPNESS_SIDE):
        grey = cv2.resize(grey, (SHARPNESS_SIDE, SHARPNESS_SIDE), interpolation=cv2.INTER_AREA)
    contrast = cv2.meanStdDev(grey)[1].item() ** 2
    return cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1].item() ** 2 / contrast if contrast > 0 else 0.0


def yaw_deg(face: Face) -> float:
    """How far a head is turned to the side, in degrees from 0 to 90; NaN where the key points are not known.

    Eyes and nose of a head turned by a yaw y lie so that (nose's distance from the middle of the eyes, along the line
    of the eyes) / (distance of the eyes) = depth of the nose * tan y. Key points, not the mesh's orientation: they are
    always there, so that nobody's subscription to meshes changes who gets a prediction.
    """
    # Python's own floats: for three points several times as fast as numpy.
    (right_x, right_y), (left_x, left_y), (nose_x, nose_y) = face.keypoints[:3].tolist()
    across_x, across_y = left_x - right_x, left_y - right_y
    squared = across_x**2 + across_y**2
    offset = (nose_x - (right_x + left_x) / 2) * across_x + (nose_y - (right_y + left_y) / 2) * across_y
    if squared == 0:
        return PROFILE_DEG
    return math.degrees(math.atan(abs(offset) / squared / NOSE_DEPTH))


def strongest(probabilities: Float32Array, labels: Sequence[str], refusal: Refusal | None) -> tuple[str, float]:
    """Label and confidence of a prediction: the strongest label, or ``unknown`` and 0 under a refusal.

    :param probabilities: (labels,).
    """
    if refusal is not None:
        return UNKNOWN, 0.0
    winner = int(np.argmax(probabilities))
    return labels[winner], float(probabilities[winner])


def make_gate(bundle: Bundle, settings: EmotionSettings) -> QualityGate:
    """The gate that settings ask for; a negative ``abstain_below`` stands for the bundle's own threshold.

    A bundle has one for predictions that carry the training data's prior, and one for balanced predictions.

    :raises BundleError: the bundle has none.
    """
    abstain_below = settings.abstain_below
    if abstain_below < 0:
        manifest = bundle.manifest
        is_balanced = settings.prior == BALANCED and manifest.label_frequencies is not None
        abstention = manifest.balanced_abstention if is_balanced else manifest.abstention
        if settings.prior not in (BALANCED, TRAINING):
            raise BundleError(
                f"{bundle.path}: the manifest has no threshold for abstaining with frequencies of your own in prior. "
                "Give abstain_below a value from 0 to 1"
            )
        if abstention is None:
            raise BundleError(
                f"{bundle.path}: the manifest has no threshold for abstaining with prior {settings.prior}. Give "
                "abstain_below a value from 0 to 1, or have one chosen: python -m fer_training calibrate"
            )
        abstain_below = abstention.threshold
    return QualityGate(settings.min_face_px, settings.min_sharpness, settings.max_yaw_deg, abstain_below)
