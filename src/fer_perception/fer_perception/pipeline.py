"""One image in, all faces and their emotions out."""

from __future__ import annotations

from dataclasses import dataclass

from fer_perception.alignment import align
from fer_perception.emotion import EmotionClassifier
from fer_perception.faces import EYES_AND_MOUTH, Face, FaceStage
from fer_perception.preprocessing import Float32Array, UInt8Image
from fer_perception.timing import Stopwatch


@dataclass(frozen=True)
class FrameResult:
    """The faces of one image and, row for row, their emotion probabilities: float32, (faces, labels)."""

    faces: list[Face]
    probabilities: Float32Array


class Pipeline:
    """Face stage, alignment and emotion network."""

    def __init__(self, face_stage: FaceStage, classifier: EmotionClassifier) -> None:
        self._face_stage = face_stage
        self.classifier = classifier

    def process(self, image: UInt8Image, stopwatch: Stopwatch | None = None) -> FrameResult:
        """Find, align and classify all faces of an image.

        :param image: uint8, (H, W, 3), RGB.
        :param stopwatch: gets the laps detect, align and infer.
        :raises ImageError: the array is no RGB image.
        """
        stopwatch = stopwatch or Stopwatch()
        faces = self._face_stage.find(image)
        stopwatch.lap("detect")
        manifest = self.classifier.bundle.manifest
        crops = [
            align(
                image,
                face.keypoints[list(EYES_AND_MOUTH)],
                manifest.alignment,
                manifest.input.width,
                manifest.input.height,
            )
            for face in faces
        ]
        stopwatch.lap("align")
        probabilities = self.classifier.classify(crops)
        stopwatch.lap("infer")
        return FrameResult(faces, probabilities)

    def close(self) -> None:
        """Free the face stage."""
        self._face_stage.close()
