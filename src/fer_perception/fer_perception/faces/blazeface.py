"""BlazeFace, MediaPipe's short-range detector: what finds faces where YuNet's file cannot be had.

It sees an image at 128 x 128, so that faces within some 1.3 m of a camera of 60 degrees are found.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fer_perception.faces.native_log import without_chatter
from fer_perception.faces.yunet import Detections
from fer_perception.types import UInt8Image

MEMBER = "face_detector.tflite"  # of face_landmarker.task
SIDE = 128
WARM_UP_RUNS = 16
LEAST = 0.2
MOUTH_WIDTH = 0.36  # half of it, in distances between the eyes: the corners are not among BlazeFace's points


class BlazeFace:
    """The detector inside ``face_landmarker.task``.

    :param model: path of that file, verified.
    """

    tiles = (2, 2)  # with more, faces are too small for it
    _has_warned = False

    def __init__(self, model: Path) -> None:
        from mediapipe.tasks.python import BaseOptions, vision  # slow to import

        with zipfile.ZipFile(model) as archive:
            content = archive.read(MEMBER)
        options = vision.FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=content),
            running_mode=vision.RunningMode.IMAGE,
            min_detection_confidence=LEAST,
        )
        with without_chatter():
            self._graph = vision.FaceDetector.create_from_options(options)
        self._warm_up()

    def detect(self, image: UInt8Image, least: float) -> Detections:
        """See :meth:`fer_perception.faces.yunet.YuNet.detect`. The mouth's corners are estimated from its middle."""
        from mediapipe import Image, ImageFormat

        height, width = image.shape[:2]
        result = self._graph.detect(Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(image)))
        found = [detection for detection in result.detections if detection.categories[0].score >= least]
        found.sort(key=lambda detection: -detection.categories[0].score)
        boxes = [(box.origin_x, box.origin_y, box.width, box.height) for box in (d.bounding_box for d in found)]
        seen = np.asarray([[(point.x, point.y) for point in d.keypoints[:4]] for d in found], np.float32)
        seen = seen.reshape(-1, 4, 2) * np.asarray([width, height], np.float32) - np.float32(0.5)
        right_eye, left_eye, nose, mouth = seen.transpose(1, 0, 2)
        across = np.float32(MOUTH_WIDTH) * (left_eye - right_eye)
        return Detections(
            np.asarray(boxes, np.float32).reshape(-1, 4) - np.asarray([0.5, 0.5, 0, 0], np.float32),
            np.asarray([d.categories[0].score for d in found], np.float32),
            np.stack([right_eye, left_eye, nose, mouth - across, mouth + across], 1),
        )

    def close(self) -> None:
        """Free MediaPipe's graph."""
        with without_chatter():
            self._graph.close()

    def _warm_up(self) -> None:
        """Let MediaPipe warn of a tensor that is not aligned, as it does once a process, now and not at some image."""
        nothing, held = np.zeros((SIDE, SIDE, 3), np.uint8), []
        for number in range(WARM_UP_RUNS):
            with without_chatter() as dropped:
                self.detect(nothing, 1.0)
            if BlazeFace._has_warned or any(b"not aligned" in line for line in dropped):
                BlazeFace._has_warned = True
                return
            held.append(np.empty(SIDE**2 * 12 + 32 * number + 16, np.uint8))  # the next tensor lies elsewhere
