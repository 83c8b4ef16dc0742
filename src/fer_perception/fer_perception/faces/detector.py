"""The face stage: where faces are, with MediaPipe's Tasks API, all from the one file ``face_landmarker.task``.

The face detector inside that file gives box, confidence and six key points, at one cost for any number of faces as
long as it is sure of them. On request the landmarker gives each face 478 points and the head's orientation as well.

The detector is MediaPipe's short-range model, for faces within some two metres of a camera. Nothing has a memory: an
image gives the same faces whatever came before.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.errors import FaceModelError, ImageError
from fer_perception.faces.native_log import without_chatter
from fer_perception.files import sha256_of
from fer_perception.geometry import clip, cut_out, is_inside, overlap
from fer_perception.types import Box, Float32Array, UInt8Image

FACE_MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
DETECTOR_MEMBER = "face_detector.tflite"

# Key points: right eye, left eye, nose tip, mouth centre, right ear, left ear (the person's own right and left).
EYES_AND_MOUTH = (0, 1, 3)

# The detector sees the whole image at 128 x 128, where a small face gets a weak score, and so does much that is none.
# A second look at the weak candidates, enlarged and up to four at once, tells them apart: see docs/perception.md.
DETECTOR_SIDE = 128
WARM_UP_RUNS = 16
CANDIDATE_CONFIDENCE = 0.3
MAX_CANDIDATES = 28
MOSAIC_ROWS = 2
CUT_OUT_SIDE = 256
SECOND_LOOK_MARGIN = 1.5
MESH_MARGIN = 2.0
SAME_FACE_OVERLAP = 0.3


@dataclass(frozen=True)
class Face:
    """One face, in pixels of its image (centre of the upper left pixel at 0, 0; x to the right, y down).

    ``box``: x, y, width, height, clipped to the image, whole numbers. ``confidence``: 0 to 1. ``keypoints``: float32,
    (6, 2). ``mesh``: float32, (478, 3), or None. ``orientation``: unit quaternion x, y, z, w of the head relative to
    the line of sight to it (axes as REP 103's optical frame: x right, y down, z away from the camera), identity for
    a face that looks straight into the camera; or None.
    """

    box: Box
    confidence: float
    keypoints: Float32Array
    mesh: Float32Array | None = None
    orientation: tuple[float, float, float, float] | None = None


class FaceFinder:
    """Finds the faces of images; ``min_confidence`` and ``max_faces`` may be changed between two images.

    :param model: path of ``face_landmarker.task``.
    :param min_confidence: 0.3 to 1; weaker detections are dropped.
    :param max_faces: at most so many faces of an image, the most confident ones.
    :raises FaceModelError: the file is missing or is not the known one.
    """

    _has_warned = False

    def __init__(self, model: str | Path, min_confidence: float = 0.75, max_faces: int = 10) -> None:
        from mediapipe.tasks.python import BaseOptions, vision  # slow to import

        self._model = Path(model)
        verify_face_model(self._model)
        self.min_confidence, self.max_faces = min_confidence, max_faces
        with zipfile.ZipFile(self._model) as archive:
            content = archive.read(DETECTOR_MEMBER)
        options = vision.FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=content),
            running_mode=vision.RunningMode.IMAGE,
            min_detection_confidence=CANDIDATE_CONFIDENCE,
        )
        with without_chatter():
            self._detector = vision.FaceDetector.create_from_options(options)
        self._warm_up()
        self._landmarker: Any = None

    def find(self, image: UInt8Image, mesh: bool = False) -> list[Face]:
        """The faces of an image, most confident first.

        :param image: uint8, (H, W, 3), RGB.
        :param mesh: fit meshes as well, see :meth:`with_meshes`.
        :raises ImageError: the array is no RGB image.
        """
        height, width = _checked(image).shape[:2]
        candidates = self._detect(image)[:MAX_CANDIDATES]
        sure = [face for face in candidates if face.confidence >= self.min_confidence]
        unsure = [face for face in candidates if face.confidence < self.min_confidence]
        faces: list[Face] = []
        for face in sure + self._look_again(image, unsure):
            if all(overlap(face.box, other.box) < SAME_FACE_OVERLAP for other in faces):
                faces.append(replace(face, box=clip(face.box, width, height)))
        faces = sorted(faces, key=lambda face: -face.confidence)[: self.max_faces]
        return self.with_meshes(image, faces) if mesh else faces

    def with_meshes(self, image: UInt8Image, faces: Sequence[Face]) -> list[Face]:
        """Fit a mesh to each face of an image. A face whose mesh the landmarker does not find comes without."""
        return [self._with_mesh(image, face) for face in faces]

    def close(self) -> None:
        """Free MediaPipe's graphs. The finder cannot be used afterwards."""
        with without_chatter():
            self._detector.close()
            if self._landmarker is not None:
                self._landmarker.close()

    def _warm_up(self) -> None:
        """Let MediaPipe warn of a tensor that is not aligned, as it does once a process, now and not at some image."""
        nothing, held = np.zeros((DETECTOR_SIDE, DETECTOR_SIDE, 3), np.uint8), []
        for number in range(WARM_UP_RUNS):
            with without_chatter() as dropped:
                self._detect(nothing)
            if FaceFinder._has_warned or any(b"not aligned" in line for line in dropped):
                FaceFinder._has_warned = True
                return
            held.append(np.empty(DETECTOR_SIDE**2 * 12 + 32 * number + 16, np.uint8))  # the next tensor lies elsewhere

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

    def _look_again(self, image: UInt8Image, candidates: list[Face]) -> list[Face]:
        """The faces of which the detector is sure in enlarged cut-outs around candidates, side by side in mosaics."""
        faces = []
        for start in range(0, len(candidates), MOSAIC_ROWS**2):
            some = candidates[start : start + MOSAIC_ROWS**2]
            rows = math.ceil(math.sqrt(len(some)))
            side = CUT_OUT_SIDE // rows
            mosaic = np.zeros((CUT_OUT_SIDE, CUT_OUT_SIDE, 3), np.uint8)
            tiles = []
            for index, candidate in enumerate(some):
                corner = (index % rows * side, index // rows * side)
                tile, scale, origin = cut_out(image, candidate.box, SECOND_LOOK_MARGIN, side)
                mosaic[corner[1] : corner[1] + side, corner[0] : corner[0] + side] = tile
                tiles.append((corner, scale, origin))
            for face in self._detect(mosaic):
                if face.confidence < self.min_confidence:
                    break
                for corner, scale, origin in tiles:
                    if is_inside(face.box, (*corner, side, side)):
                        faces.append(_moved(face, corner, scale, origin))
        return faces

    def _with_mesh(self, image: UInt8Image, face: Face) -> Face:
        pixels, scale, origin = cut_out(image, face.box, MESH_MARGIN, CUT_OUT_SIDE)
        mediapipe_image = _media_pipe_image(pixels)
        if self._landmarker is None:
            with without_chatter():
                self._landmarker = self._load_landmarker()
                self._landmarker.detect(mediapipe_image)  # the first run has more to say
        result = self._landmarker.detect(mediapipe_image)
        if not result.face_landmarks:
            return face
        points = [(point.x, point.y, point.z) for point in result.face_landmarks[0]]
        # z has the scale of x, see MediaPipe's documentation of the face landmarker.
        mesh = np.asarray(points, np.float32) * np.float32(CUT_OUT_SIDE / scale)
        mesh[:, :2] += origin - np.float32(0.5 / scale)
        return replace(face, mesh=mesh, orientation=_orientation(result.facial_transformation_matrixes[0]))

    def _load_landmarker(self) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(self._model)),
                running_mode=vision.RunningMode.IMAGE,
                num_faces=1,
                output_facial_transformation_matrixes=True,
            )
        )


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


def _checked(image: UInt8Image) -> UInt8Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"an RGB image is uint8 (H, W, 3), got {image.dtype} {image.shape}: convert it first")
    return image


def _media_pipe_image(image: Any) -> Any:
    from mediapipe import Image, ImageFormat

    return Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _moved(face: Face, corner: tuple[int, int], scale: float, origin: Float32Array) -> Face:
    """A face found in a cut-out that lies at ``corner`` of a mosaic, in coordinates of the whole image."""
    x, y, width, height = face.box
    left, top = (np.asarray([x, y]) - corner) / scale + origin
    box = (round(left), round(top), round(width / scale), round(height / scale))
    keypoints = (face.keypoints - np.asarray(corner, np.float32)) / np.float32(scale) + origin
    return replace(face, box=box, keypoints=keypoints)


def _orientation(matrix: npt.ArrayLike) -> tuple[float, float, float, float]:
    """Quaternion x, y, z, w in optical axes (y down, z forward) of a MediaPipe pose matrix (y up, z backward)."""
    flip = np.diag([1.0, -1.0, -1.0])
    rotation_vector = cv2.Rodrigues(flip @ np.asarray(matrix, np.float64)[:3, :3] @ flip)[0].ravel()
    angle = float(np.linalg.norm(rotation_vector))
    x, y, z = rotation_vector / angle * np.sin(angle / 2) if angle > 0 else (0.0, 0.0, 0.0)
    return float(x), float(y), float(z), float(np.cos(angle / 2))
