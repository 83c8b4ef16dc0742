"""One image in, all faces and their emotions out."""

from __future__ import annotations

from dataclasses import dataclass

from fer_perception.alignment import align
from fer_perception.emotion import EmotionClassifier
from fer_perception.faces import EYES_AND_MOUTH, Face, FaceStage
from fer_perception.preprocessing import Float32Array, UInt8Image
from fer_perception.timing import Stopwatch
from fer_perception.tracking import Tracker


@dataclass(frozen=True)
class FrameResult:
    """The faces of one image and, row for row, their identities and emotion probabilities: float32, (faces, labels)."""

    faces: list[Face]
    track_ids: list[str]
    probabilities: Float32Array


class Pipeline:
    """Face stage, tracker, alignment and emotion network for the images of one camera."""

    def __init__(self, face_stage: FaceStage, classifier: EmotionClassifier, tracker: Tracker | None = None) -> None:
        self._face_stage = face_stage
        self._tracker = tracker or Tracker()
        self.classifier = classifier

    def process(self, image: UInt8Image, stamp_s: float, stopwatch: Stopwatch | None = None) -> FrameResult:
        """Find, follow, align and classify all faces of the next image.

        :param image: uint8, (H, W, 3), RGB.
        :param stamp_s: when the image was taken, in seconds of any clock.
        :param stopwatch: gets the laps detect, align and infer.
        :raises ImageError: the array is no RGB image.
        """
        stopwatch = stopwatch or Stopwatch()
        faces = self._face_stage.find(image)
        track_ids = self._tracker.update([face.box for face in faces], stamp_s)
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
        return FrameResult(faces, track_ids, probabilities)

    def close(self) -> None:
        """Free the face stage."""
        self._face_stage.close()
