"""One image in, all faces and their emotions out: the face stage and the emotion stage, together or apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.emotions.quality_gate import QualityGate, Refusal
from fer_perception.emotions.smoothing import Smoother
from fer_perception.faces.detector import EYES_AND_MOUTH, Face, FaceFinder
from fer_perception.faces.tracker import Tracker
from fer_perception.models.bundle import Manifest
from fer_perception.preprocessing.alignment import align
from fer_perception.preprocessing.normalization import Float32Array, UInt8Image
from fer_perception.telemetry.timing import Stopwatch


@dataclass(frozen=True)
class Faces:
    """The faces of one image and, in the same order, their identities and aligned crops.

    ``crops``: uint8, of the network's size, (H, W) for a grey network and (H, W, 3), RGB, for others.
    """

    faces: list[Face]
    track_ids: list[str]
    crops: list[UInt8Image]


@dataclass(frozen=True)
class Emotions:
    """Emotion probabilities of one image's faces, of this image alone and averaged over the track.

    Both float32, (faces, labels). ``refusals``: by face, why it gets no emotion, or None for an answer; empty stands
    for answers only. A refused face's rows are no answers: ``smoothed`` is NaN, ``probabilities`` too unless the
    network was asked and was not sure.
    """

    probabilities: Float32Array
    smoothed: Float32Array
    refusals: list[Refusal | None] = field(default_factory=list)

    def refusal(self, index: int) -> Refusal | None:
        """Why the face of that index gets no emotion; None for an answer."""
        return self.refusals[index] if self.refusals else None


class FacePipeline:
    """Finds, follows and aligns the faces of one camera's images, for the network of a bundle.

    :param manifest: of the bundle whose network will take the crops.
    """

    def __init__(self, finder: FaceFinder, manifest: Manifest, tracker: Tracker | None = None) -> None:
        self.finder = finder
        self.tracker = tracker or Tracker()
        self.manifest = manifest

    def process(
        self, image: UInt8Image, stamp_s: float, stopwatch: Stopwatch | None = None, mesh: bool = False
    ) -> Faces:
        """The faces of the next image.

        :param image: uint8, (H, W, 3), RGB.
        :param stamp_s: when the image was taken, in seconds of any clock.
        :param stopwatch: gets the laps detect and align.
        :param mesh: fit meshes and head orientations as well.
        :raises ImageError: the array is no RGB image.
        """
        stopwatch = stopwatch or Stopwatch()
        faces = self.find(image, mesh)
        track_ids = self.tracker.update([face.box for face in faces], stamp_s)
        stopwatch.lap("detect")
        crops = self.crop(image, faces)
        stopwatch.lap("align")
        return Faces(faces, track_ids, crops)

    def find(self, image: UInt8Image, mesh: bool) -> list[Face]:
        """The faces of an image."""
        return self.finder.find(image, mesh)

    def crop(self, image: UInt8Image, faces: Sequence[Face]) -> list[UInt8Image]:
        """The aligned crops of an image's faces, in their order."""
        spec, template = self.manifest.input, self.manifest.alignment
        source = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if faces and spec.color == "grey" else image
        return [
            align(source, face.keypoints[list(EYES_AND_MOUTH)], template, spec.width, spec.height) for face in faces
        ]

    def close(self) -> None:
        """Free the face finder."""
        self.finder.close()


class EmotionPipeline:
    """Classifies the faces of one camera's images and smooths the answers per track.

    A face that the gate refuses is for the smoother one that was not seen: its average rests until the next answer.
    """

    def __init__(
        self, classifier: EmotionClassifier, smoother: Smoother | None = None, gate: QualityGate | None = None
    ) -> None:
        self.classifier = classifier
        self.smoother = smoother or Smoother()
        self.gate = gate or QualityGate()

    def process(self, found: Faces, stamp_s: float, stopwatch: Stopwatch | None = None) -> Emotions:
        """The emotions of the next image's faces, all in one engine call.

        :param stamp_s: when the image was taken, in seconds of any clock.
        :param stopwatch: gets the lap infer.
        """
        refusals = self.gate.inspect(found.faces, found.crops)
        asked = [index for index, refusal in enumerate(refusals) if refusal is None]
        probabilities = np.full((len(refusals), len(self.classifier.labels)), np.nan, np.float32)
        probabilities[asked] = self.classifier.classify([found.crops[index] for index in asked])
        for index in asked:
            refusals[index] = self.gate.doubt(probabilities[index])
        answered = [index for index in asked if refusals[index] is None]
        smoothed = np.full_like(probabilities, np.nan)
        smoothed[answered] = self.smoother.update(
            [found.track_ids[index] for index in answered], probabilities[answered], stamp_s
        )
        if stopwatch is not None:
            stopwatch.lap("infer")
        return Emotions(probabilities, smoothed, refusals)


class Pipeline:
    """Both stages in one: what ``fer_node`` runs, and whoever works without ROS."""

    def __init__(
        self,
        finder: FaceFinder,
        classifier: EmotionClassifier,
        tracker: Tracker | None = None,
        smoother: Smoother | None = None,
        gate: QualityGate | None = None,
    ) -> None:
        self.faces = FacePipeline(finder, classifier.bundle.manifest, tracker)
        self.emotions = EmotionPipeline(classifier, smoother, gate)

    def process(
        self, image: UInt8Image, stamp_s: float, stopwatch: Stopwatch | None = None, mesh: bool = False
    ) -> tuple[Faces, Emotions]:
        """Faces and emotions of the next image: see :meth:`FacePipeline.process`, :meth:`EmotionPipeline.process`."""
        found = self.faces.process(image, stamp_s, stopwatch, mesh)
        return found, self.emotions.process(found, stamp_s, stopwatch)

    def close(self) -> None:
        """Free the face finder."""
        self.faces.close()
