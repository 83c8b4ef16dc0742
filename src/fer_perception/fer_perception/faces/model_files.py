"""The files of the face stage's models: which ones are known, and whether a file is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_perception.errors import FaceModelError
from fer_perception.files import sha256_of
from fer_perception.models.shipped import BLAZEFACE, resolve_detector_model

LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
# YuNet for images of any size: the authors' own file, and another export of the same weights. OpenCV's zoo has them for
# images of 640 x 640 alone (face_detection_yunet_2023mar.onnx), which ONNX Runtime cannot give another size.
DETECTOR_SHA256 = (
    "daede24002cc8590f457998cc5e6c9e8b82f45f6bd969506a8913cd4ed10a2d3",
    "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
)


def verify_face_model(model: Path) -> None:
    """Check ``face_landmarker.task``.

    :raises FaceModelError: it is missing or not the known file.
    """
    _verify(model, (LANDMARKER_SHA256,))


def verify_detector(model: Path) -> None:
    """Check YuNet's file.

    :raises FaceModelError: it is missing or not a known file.
    """
    _verify(model, DETECTOR_SHA256)


def detector_identity(detector_model: str = "") -> str:
    """Which detector a setting ``detector_model`` stands for: the SHA-256 of its file, or blazeface.

    :raises FaceModelError: the file is missing or not a known one.
    """
    detector = resolve_detector_model(detector_model)
    if detector is None:
        return BLAZEFACE
    verify_detector(detector)
    return sha256_of(detector)


def _verify(model: Path, known: Sequence[str]) -> None:
    try:
        digest = sha256_of(model)
    except OSError as error:
        raise FaceModelError(
            f"{model}: cannot be read ({error.strerror or error}). Fetch it with 'make setup' or "
            "'ros2 run fer_perception fetch_face_model'"
        ) from error
    if digest not in known:
        raise FaceModelError(
            f"{model}: SHA-256 is {digest}, expected {' or '.join(known)}. The file is corrupt or another version: "
            "delete it and fetch it again with 'ros2 run fer_perception fetch_face_model'"
        )
