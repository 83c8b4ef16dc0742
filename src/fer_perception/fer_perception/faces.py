"""The face stage: where faces are, with MediaPipe's Tasks API.

Two modes, both from the one file ``face_landmarker.task``:

- ``keypoints``: the face detector inside that file: box, confidence and six key points, at one cost for any number of
  faces as long as it is sure of them;
- ``mesh``: the landmarker: 478 points and the head's orientation, at a cost for each face.

Both are MediaPipe's short-range models, for faces within some two metres of a camera.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.bundle import sha256_of
from fer_perception.errors import FaceModelError, ImageError
from fer_perception.preprocessing import Float32Array, UInt8Image

FACE_MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
DETECTOR_MEMBER = "face_detector.tflite"

FaceMode = Literal["keypoints", "mesh"]

# Key points: right eye, left eye, nose tip, mouth centre, right ear, left ear (the person's own right and left).
EYES_AND_MOUTH = (0, 1, 3)
# The mesh's points that make the same six: corners of the eyes, nose tip, inner lips, ears.
MESH_KEYPOINTS = ((33, 133), (263, 362), (4,), (13, 14), (234,), (454,))

# The detector sees the whole image at 128 x 128, where a small face gets a weak score, and so does much that is none.
# A second look at each weak candidate, enlarged, tells them apart: see docs/perception.md.
CANDIDATE_CONFIDENCE = 0.3
SECOND_LOOK_SIDE = 256
SECOND_LOOK_MARGIN = 1.5
SAME_FACE_OVERLAP = 0.3

# Time between frames where stamps do not tell: equal, backwards (a looped bag) or far apart.
NOMINAL_STEP_S = 1 / 30
LONGEST_STEP_S = 1.0


@dataclass(frozen=True)
class Face:
    """One face, in pixels of its image (centre of the upper left pixel at 0, 0; x to the right, y down).

    ``box``: x, y, width, height, clipped to the image, whole numbers. ``confidence``: 0 to 1, NaN where the mode does
    not tell it. ``keypoints``: float32, (6, 2). ``mesh``: float32, (478, 3), or None. ``orientation``: unit
    quaternion x, y, z, w of the head in the camera's optical frame, identity for a face that looks straight into the
    camera; or None.
    """

    box: tuple[int, int, int, int]
    confidence: float
    keypoints: Float32Array
    mesh: Float32Array | None = None
    orientation: tuple[float, float, float, float] | None = None


class FaceStage(Protocol):
    """Finds the faces of consecutive images."""

    def find(self, image: UInt8Image, stamp_s: float | None = None) -> list[Face]:
        """The faces of the next image, most confident first.

        :param image: uint8, (H, W, 3), RGB.
        :param stamp_s: when the image was taken, in seconds of any clock.
        :raises ImageError: the array is no RGB image.
        """
        ...

    def close(self) -> None:
        """Free MediaPipe's graph. The stage cannot be used afterwards."""
        ...


def load_face_stage(
    model: str | Path, mode: FaceMode = "keypoints", max_faces: int = 10, min_confidence: float = 0.75
) -> FaceStage:
    """The face stage of a mode.

    :param model: path of ``face_landmarker.task``.
    :param max_faces: at most so many faces of an image, the most confident ones.
    :param min_confidence: 0 to 1; weaker detections are dropped.
    :raises FaceModelError: the file is missing or is not the known one.
    """
    verify_face_model(Path(model))
    stage = KeypointStage if mode == "keypoints" else MeshStage
    return stage(Path(model), max_faces, min_confidence)


class KeypointStage:
    """Mode ``keypoints``: see :func:`load_face_stage`. It has no memory: an image gives the same faces at any time."""

    def __init__(self, model: Path, max_faces: int, min_confidence: float) -> None:
        from mediapipe.tasks.python import BaseOptions, vision  # slow to import

        with zipfile.ZipFile(model) as archive:
            content = archive.read(DETECTOR_MEMBER)
        self._max_faces, self._min_confidence = max_faces, min_confidence
        self._detector = vision.FaceDetector.create_from_options(
            vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=content),
                running_mode=vision.RunningMode.IMAGE,
                min_detection_confidence=min(CANDIDATE_CONFIDENCE, min_confidence),
            )
        )

    def find(self, image: UInt8Image, stamp_s: float | None = None) -> list[Face]:
        """See :meth:`FaceStage.find`."""
        height, width = _checked(image).shape[:2]
        faces: list[Face] = []
        for candidate in self._detect(image)[: self._max_faces]:
            sure = candidate.confidence >= self._min_confidence
            for face in [candidate] if sure else self._look_again(image, candidate):
                if all(_overlap(face.box, other.box) < SAME_FACE_OVERLAP for other in faces):
                    faces.append(replace(face, box=_clipped(face.box, width, height)))
        return sorted(faces, key=lambda face: -face.confidence)[: self._max_faces]

    def close(self) -> None:
        """See :meth:`FaceStage.close`."""
        self._detector.close()

    def _detect(self, image: UInt8Image) -> list[Face]:
        height, width = image.shape[:2]
        faces = []
        for detection in self._detector.detect(_media_pipe_image(image)).detections:
            box = detection.bounding_box
            points = np.asarray([[point.x, point.y] for point in detection.keypoints], np.float32)
            faces.append(
                Face(
                    box=(box.origin_x, box.origin_y, box.width, box.height),
                    confidence=float(detection.categories[0].score),
                    keypoints=points * np.asarray([width, height], np.float32) - np.float32(0.5),
                )
            )
        return sorted(faces, key=lambda face: -face.confidence)

    def _look_again(self, image: UInt8Image, candidate: Face) -> list[Face]:
        """The faces of which the detector is sure in an enlarged cut-out around a candidate, wholly inside it."""
        x, y, width, height = candidate.box
        side = SECOND_LOOK_MARGIN * max(width, height)
        scale = SECOND_LOOK_SIDE / side
        origin = np.asarray([x + width / 2 - side / 2, y + height / 2 - side / 2], np.float32)
        matrix = np.asarray([[scale, 0, -origin[0] * scale], [0, scale, -origin[1] * scale]])
        cut_out = cv2.warpAffine(image, matrix, (SECOND_LOOK_SIDE, SECOND_LOOK_SIDE), flags=cv2.INTER_LINEAR)
        faces = []
        for face in self._detect(cut_out):
            left, top, width, height = face.box
            inside = min(left, top) >= 0 and max(left + width, top + height) <= SECOND_LOOK_SIDE
            if inside and face.confidence >= self._min_confidence:
                corner = np.asarray([left, top]) / scale + origin
                box = (round(corner[0]), round(corner[1]), round(width / scale), round(height / scale))
                faces.append(replace(face, box=box, keypoints=face.keypoints / np.float32(scale) + origin))
        return faces


class MeshStage:
    """Mode ``mesh``: see :func:`load_face_stage`. It follows faces from image to image, so their order matters."""

    def __init__(self, model: Path, max_faces: int, min_confidence: float) -> None:
        from mediapipe.tasks.python import BaseOptions, vision  # slow to import

        self._clock = _FrameClock()
        self._landmarker = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(model)),
                running_mode=vision.RunningMode.VIDEO,
                num_faces=max_faces,
                min_face_presence_confidence=min_confidence,
                output_facial_transformation_matrixes=True,
            )
        )

    def find(self, image: UInt8Image, stamp_s: float | None = None) -> list[Face]:
        """See :meth:`FaceStage.find`."""
        height, width = _checked(image).shape[:2]
        result = self._landmarker.detect_for_video(_media_pipe_image(image), self._clock.next_ms(stamp_s))
        # z has the scale of x, see MediaPipe's documentation of the face landmarker.
        size, half = np.asarray([width, height, width], np.float32), np.asarray([0.5, 0.5, 0], np.float32)
        faces = []
        for points, matrix in zip(result.face_landmarks, result.facial_transformation_matrixes, strict=True):
            mesh = np.asarray([(point.x, point.y, point.z) for point in points], np.float32) * size - half
            keypoints = np.asarray([mesh[list(indices), :2].mean(axis=0) for indices in MESH_KEYPOINTS], np.float32)
            (left, top), (right, bottom) = np.floor(mesh[:, :2].min(axis=0)), np.ceil(mesh[:, :2].max(axis=0))
            box = _clipped((int(left), int(top), int(right - left), int(bottom - top)), width, height)
            faces.append(Face(box, float("nan"), keypoints, mesh, _orientation(matrix)))
        return faces

    def close(self) -> None:
        """See :meth:`FaceStage.close`."""
        self._landmarker.close()


def verify_face_model(model: Path) -> None:
    """Check ``face_landmarker.task``.

    :raises FaceModelError: it is missing or not the known file.
    """
    try:
        digest = sha256_of(model)
    except OSError as error:
        raise FaceModelError(
            f"{model}: cannot be read ({error.strerror or error}). Fetch it with 'make setup' or "
            "'ros2 run fer_perception fetch_face_model'"
        ) from error
    if digest != FACE_MODEL_SHA256:
        raise FaceModelError(
            f"{model}: SHA-256 is {digest}, expected {FACE_MODEL_SHA256}. The file is corrupt or another version: "
            "delete it and fetch it again with 'ros2 run fer_perception fetch_face_model'"
        )


class _FrameClock:
    """Makes strictly increasing milliseconds, which MediaPipe demands, from whatever stamps the images carry."""

    def __init__(self) -> None:
        self._milliseconds = 0.0
        self._last_stamp_s: float | None = None

    def next_ms(self, stamp_s: float | None) -> int:
        step = NOMINAL_STEP_S
        if stamp_s is not None and self._last_stamp_s is not None and 0 < stamp_s - self._last_stamp_s < LONGEST_STEP_S:
            step = stamp_s - self._last_stamp_s
        self._last_stamp_s = stamp_s
        self._milliseconds = max(self._milliseconds + step * 1000, int(self._milliseconds) + 1)
        return int(self._milliseconds)


def _checked(image: UInt8Image) -> UInt8Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"an RGB image is uint8 (H, W, 3), got {image.dtype} {image.shape}: convert it first")
    return image


def _media_pipe_image(image: Any) -> Any:
    from mediapipe import Image, ImageFormat

    return Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _clipped(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a box inside the image, at least one pixel of it."""
    left, top = min(max(box[0], 0), width - 1), min(max(box[1], 0), height - 1)
    right, bottom = min(max(box[0] + box[2], left + 1), width), min(max(box[1] + box[3], top + 1), height)
    return left, top, right - left, bottom - top


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def _orientation(matrix: npt.ArrayLike) -> tuple[float, float, float, float]:
    """Quaternion x, y, z, w in the optical frame (y down, z forward) of a MediaPipe pose matrix (y up, z backward)."""
    flip = np.diag([1.0, -1.0, -1.0])
    rotation_vector = cv2.Rodrigues(flip @ np.asarray(matrix, np.float64)[:3, :3] @ flip)[0].ravel()
    angle = float(np.linalg.norm(rotation_vector))
    x, y, z = rotation_vector / angle * np.sin(angle / 2) if angle > 0 else (0.0, 0.0, 0.0)
    return float(x), float(y), float(z), float(np.cos(angle / 2))
