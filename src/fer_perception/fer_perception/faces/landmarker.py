"""Meshes: MediaPipe's face landmarker on a cut-out of each face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.faces.face import Face
from fer_perception.faces.native_log import without_chatter
from fer_perception.faces.orientation import Quaternion, from_rotation_vector
from fer_perception.geometry import cut_out
from fer_perception.types import UInt8Image

SIDE = 256
MARGIN = 2.0
# Stricter than MediaPipe's 0.5: the landmarker also decides whether what the detector is not sure of is a face.
MIN_DETECTION, MIN_PRESENCE = 0.6, 0.8


class Landmarker:
    """Fits meshes of 478 points. MediaPipe is loaded with the first one.

    :param model: path of ``face_landmarker.task``, verified.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self._graph: Any = None

    def with_mesh(self, image: UInt8Image, face: Face) -> Face:
        """The face with mesh and orientation, or as it is where no mesh fits.

        :param image: uint8, (H, W, 3), RGB.
        """
        pixels, scale, origin = cut_out(image, face.box, MARGIN, SIDE)
        result = self._detect(pixels)
        if not result.face_landmarks:
            return face
        points = [(point.x, point.y, point.z) for point in result.face_landmarks[0]]
        # z has the scale of x, see MediaPipe's documentation of the face landmarker.
        mesh = np.asarray(points, np.float32) * np.float32(SIDE / scale)
        mesh[:, :2] += origin - np.float32(0.5 / scale)
        return replace(face, mesh=mesh, orientation=_orientation(result.facial_transformation_matrixes[0]))

    def close(self) -> None:
        """Free MediaPipe's graph."""
        if self._graph is not None:
            with without_chatter():
                self._graph.close()

    def _detect(self, pixels: UInt8Image) -> Any:
        from mediapipe import Image, ImageFormat

        image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        if self._graph is None:
            with without_chatter():
                self._graph = self._load()
                self._graph.detect(image)  # the first run has more to say
        return self._graph.detect(image)

    def _load(self) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(self._model)),
                running_mode=vision.RunningMode.IMAGE,
                output_facial_transformation_matrixes=True,
                min_face_detection_confidence=MIN_DETECTION,
                min_face_presence_confidence=MIN_PRESENCE,
            )
        )


def _orientation(matrix: npt.ArrayLike) -> Quaternion:
    """In optical axes (y down, z forward), of a MediaPipe pose matrix (y up, z backward)."""
    flip = np.diag([1.0, -1.0, -1.0])
    return from_rotation_vector(cv2.Rodrigues(flip @ np.asarray(matrix, np.float64)[:3, :3] @ flip)[0])
