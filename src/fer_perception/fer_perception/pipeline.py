"""One image in, all faces and their emotions out: the face stage and the emotion stage, together or apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from fer_perception.emotions.classifier import EmotionClassifier, acquire, release
from fer_perception.emotions.quality_gate import QualityGate, Refusal, make_gate
from fer_perception.emotions.smoothing import Smoother
from fer_perception.errors import FerError
from fer_perception.faces.face import Face
from fer_perception.faces.finder import FaceFinder, open_finder
from fer_perception.faces.head_pose import Camera
from fer_perception.faces.tracker import Tracker
from fer_perception.faces.turned_camera import Rotation
from fer_perception.images.visibility import Flaw, flaw_of
from fer_perception.models.bundle import Bundle, Manifest
from fer_perception.models.shipped import resolve_model
from fer_perception.preprocessing.alignment import align
from fer_perception.settings import EmotionSettings, FaceSettings, PipelineSettings
from fer_perception.telemetry.timing import Stopwatch
from fer_perception.types import Float32Array, UInt8Image

# Without a sure face for so long, the image is searched in the other orientations: again after each such time.
TURNED_AFTER_S, SURELY_UPRIGHT = 5.0, 0.85
# A hand before the lens, or a light that is switched on, is no flaw.
FLAWED_AFTER_S = 2.0


@dataclass(frozen=True)
class Faces:
    """The faces of one image and, in the same order, their identities and aligned crops.

    ``crops``: uint8, of the network's size, (H, W) for a grey network and (H, W, 3), RGB, for others. ``flaw``: of an
    image without faces, why it could not show any.
    """

    faces: list[Face]
    track_ids: list[str]
    crops: list[UInt8Image]
    flaw: Flaw = ""


@dataclass(frozen=True)
class Emotions:
    """Emotion probabilities of one image's faces, of this image alone and averaged over the track.

    Both float32, (faces, labels). ``refusals``: by face, why it gets no emotion, or None for a prediction; empty
    stands for predictions only. A refused face's rows are none: ``smoothed`` is NaN, ``probabilities`` too unless the
    network was asked and was not sure.
    """

    probabilities: Float32Array
    smoothed: Float32Array
    refusals: list[Refusal | None] = field(default_factory=list)

    def refusal(self, index: int) -> Refusal | None:
        """Why the face of that index gets no emotion; None for a prediction."""
        return self.refusals[index] if self.refusals else None


FaceStage = TypeVar("FaceStage", bound="FacePipeline")


class FacePipeline:
    """Finds, follows and aligns the faces of one camera's images, for the network of a bundle.

    :param manifest: of the bundle whose network will take the crops.
    """

    def __init__(self, finder: FaceFinder, manifest: Manifest, tracker: Tracker | None = None) -> None:
        self.finder = finder
        self.tracker = tracker or Tracker()
        self.manifest = manifest
        self.camera: Camera | None = None  # may be set between two images
        self.better_rotation: Rotation | None = None  # of the image, where faces were seen that image_rotation misses
        self._unsure_since_s: float | None = None
        self.flaw: Flaw = ""  # of all images of the last seconds
        self._flawed: tuple[Flaw, float] = ("", 0.0)  # of the last image, and since when

    @classmethod
    def from_settings(cls: type[FaceStage], settings: FaceSettings) -> FaceStage:
        """The face stage for the network of ``settings.model``.

        :raises FerError: the bundle or the face model cannot be used, or settings contradict each other.
        """
        seed = None if settings.id_seed < 0 else settings.id_seed
        unlinkable = settings.privacy == "strict"
        if unlinkable and seed is not None:
            raise FerError("privacy strict draws ids at random, and id_seed would make them known. Set id_seed to -1")
        manifest = Bundle(resolve_model(settings.model)).manifest
        return cls(open_finder(settings), manifest, Tracker(settings.max_lost_s, seed, unlinkable))

    def update(self, settings: FaceSettings) -> None:
        """Take over the settings that may change between two images."""
        self.finder.min_confidence, self.finder.max_faces = settings.min_confidence, settings.max_faces
        self.finder.range, self.finder.image_rotation = settings.range, settings.image_rotation
        self.tracker.max_lost_s = settings.max_lost_s

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
        faces = self.find(image, stamp_s, mesh)
        track_ids = self.tracker.update([face.box for face in faces], stamp_s, [face.roll_rad for face in faces])
        self._try_rotations(image, stamp_s, faces)
        if self.camera and self.camera.fits(image):
            faces = [replace(face, pose=self.camera.pose_of(face)) for face in faces]
        stopwatch.lap("detect")
        crops = self.crop(image, faces)
        stopwatch.lap("align")
        return Faces(faces, track_ids, crops, self._look_for_flaws(image, stamp_s, faces))

    def find(self, image: UInt8Image, stamp_s: float, mesh: bool) -> list[Face]:
        """The faces of an image."""
        return self.finder.find(image, self.tracker.outlook(stamp_s), mesh)

    def _try_rotations(self, image: UInt8Image, stamp_s: float, faces: Sequence[Face]) -> None:
        """Look for turned people where no sure face is found for a while."""
        confidence = max((face.confidence for face in faces), default=0.0)
        if confidence >= SURELY_UPRIGHT:
            self.better_rotation = None
            self._unsure_since_s = stamp_s
        elif self._unsure_since_s is None or stamp_s < self._unsure_since_s:
            self._unsure_since_s = stamp_s
        elif stamp_s - self._unsure_since_s >= TURNED_AFTER_S:
            self._unsure_since_s = stamp_s
            self.better_rotation = self.finder.better_rotation(image, confidence)

    def _look_for_flaws(self, image: UInt8Image, stamp_s: float, faces: Sequence[Face]) -> Flaw:
        flaw: Flaw = "" if any(face.confidence for face in faces) else flaw_of(image)
        last, since_s = self._flawed
        if bool(flaw) != bool(last) or stamp_s < since_s:  # flaws may alternate, as of a flickering light
            since_s = stamp_s
        self._flawed = flaw, since_s
        self.flaw = flaw if stamp_s - since_s >= FLAWED_AFTER_S else ""
        return flaw

    def with_meshes(self, image: UInt8Image, found: Faces) -> Faces:
        """The faces that :meth:`process` found without meshes, with meshes and head orientations."""
        return replace(found, faces=self.finder.with_meshes(image, found.faces))

    def crop(self, image: UInt8Image, faces: Sequence[Face]) -> list[UInt8Image]:
        """The aligned crops of an image's faces, in their order."""
        spec, template = self.manifest.input, self.manifest.alignment
        to_grey = spec.color == "grey"
        return [align(image, face.eyes_and_mouth, template, spec.width, spec.height, to_grey) for face in faces]

    def close(self) -> None:
        """Free the face finder."""
        self.finder.close()


class EmotionPipeline:
    """Classifies the faces of one camera's images and smooths the predictions per track.

    A face that the gate refuses is for the smoother one that was not seen: its average rests until the next prediction.
    """

    def __init__(
        self, classifier: EmotionClassifier, smoother: Smoother | None = None, gate: QualityGate | None = None
    ) -> None:
        self.classifier = classifier
        self.smoother = smoother or Smoother()
        self.gate = gate or QualityGate()
        self._release: Callable[[], None] = lambda: None

    @classmethod
    def from_settings(cls, settings: EmotionSettings) -> EmotionPipeline:
        """The emotion stage; the network is shared with other pipelines of this process that have the same.

        :raises FerError: the bundle or the engine cannot be used.
        """
        gate = make_gate(Bundle(resolve_model(settings.model)), settings)
        pipeline = cls(acquire(settings), Smoother(settings.smoothing_s, settings.max_lost_s), gate)
        pipeline._release = partial(release, settings)
        return pipeline

    def update(self, settings: EmotionSettings) -> None:
        """Take over the settings that may change between two images."""
        self.smoother.time_constant_s, self.smoother.max_lost_s = settings.smoothing_s, settings.max_lost_s
        self.gate = make_gate(self.classifier.bundle, settings)

    def close(self) -> None:
        """Free the network, if this pipeline was made from settings and no other one uses it."""
        self._release()

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
        kept = [index for index in asked if refusals[index] is None]
        smoothed = np.full_like(probabilities, np.nan)
        smoothed[kept] = self.smoother.update([found.track_ids[index] for index in kept], probabilities[kept], stamp_s)
        if stopwatch is not None:
            stopwatch.lap("infer")
        return Emotions(probabilities, smoothed, refusals)


class Pipeline:
    """Both stages in one: what ``fer_node`` runs, and whoever works without ROS."""

    def __init__(self, faces: FacePipeline, emotions: EmotionPipeline) -> None:
        self.faces = faces
        self.emotions = emotions

    @classmethod
    def from_settings(cls, settings: PipelineSettings, face_stage: type[FacePipeline] = FacePipeline) -> Pipeline:
        """The pipeline that settings describe; to be closed.

        :param face_stage: :class:`~fer_perception.faces.single_face.OneFacePipeline` for images of one face each.
        :raises FerError: the bundle, the engine or the face model cannot be used, or settings contradict each other.
        """
        emotions = EmotionPipeline.from_settings(settings)
        try:
            return cls(face_stage.from_settings(settings), emotions)
        except BaseException:
            emotions.close()
            raise

    def update(self, settings: PipelineSettings) -> None:
        """Take over the settings that may change between two images."""
        self.faces.update(settings)
        self.emotions.update(settings)

    def process(
        self, image: UInt8Image, stamp_s: float, stopwatch: Stopwatch | None = None, mesh: bool = False
    ) -> tuple[Faces, Emotions]:
        """Faces and emotions of the next image: see :meth:`FacePipeline.process`, :meth:`EmotionPipeline.process`."""
        found = self.faces.process(image, stamp_s, stopwatch, mesh)
        return found, self.emotions.process(found, stamp_s, stopwatch)

    def close(self) -> None:
        """Free the face finder, and the network where no other pipeline uses it."""
        self.faces.close()
        self.emotions.close()
