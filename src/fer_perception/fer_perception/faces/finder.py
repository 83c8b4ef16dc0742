"""The face stage: where faces are, in images of people half a metre to four metres away.

A detector of small faces (:mod:`.yunet`) sees the whole image, shrunk, some times a second, and proposes. Into the
distance it looks part by part, in images between, so that none takes much longer than the others. A close look
(:mod:`.close_look`) at what it proposes, and in every image at the places where followed faces should be, decides, and
gives key points that are as good for small faces as for large ones.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.engines.selection import load_network
from fer_perception.errors import ImageError
from fer_perception.faces.blazeface import BlazeFace
from fer_perception.faces.close_look import Detector, Place, look_closely
from fer_perception.faces.face import Face, roll_rad
from fer_perception.faces.landmarker import Landmarker
from fer_perception.faces.model_files import verify_detector, verify_face_model
from fer_perception.faces.tracker import Outlook
from fer_perception.faces.turned_camera import ROTATIONS, Rotation, Turn
from fer_perception.faces.yunet import MOST_SIDE, Detections, YuNet, joined, without_repetitions, yunet_network
from fer_perception.geometry import clip
from fer_perception.models.shipped import BLAZEFACE, resolve_detector_model, resolve_face_model
from fer_perception.settings import Backend, FaceSettings, Range
from fer_perception.types import Box, Float32Array, UInt8Image

# The longer side of the image that the detector sees, in pixels.
NEAR_SIDE, FAR_SIDE = 320, MOST_SIDE
# In seconds of the images' time: how often the detector sees the whole image, and how often it looks into the distance;
# each while somebody is followed, and while nobody is.
NEAR_PERIOD_S, NEAR_SEARCH_PERIOD_S = 1 / 6, 0.1
FAR_PERIOD_S, SEARCH_PERIOD_S = 1.0, 1 / 3
# It looks into the distance in so many parts of the image, along its longer and its shorter side, one after the other.
# A part takes as long as the whole image, shrunk to NEAR_SIDE. They overlap by so many of its pixels: by more than the
# width of a face that is not seen in the whole image.
ACROSS, OVERLAP = (3, 2), 64
PARTS = range(ACROSS[0] * ACROSS[1])
# While somebody is followed, a part is due in the middle between two looks at the whole image, not in the same image.
FAR_DELAY_S = NEAR_PERIOD_S / 2
# Weaker detections than this are nothing; stronger ones get a close look.
LEAST = 0.3
TILT_DEG = 40
# A face that is less sure, and was not there before, is one only where the landmarker finds its landmarks. That takes
# long, so it is asked only as often as the detector looks into the distance.
SURE = 0.9
# A face is turned, not upright, where the detector is surer by so much after turning it.
SURER = 0.05
# At most so many new places of an image get a close look, beside those of followed faces.
MAX_PROPOSALS = 12

WITHOUT_DETECTOR = (
    "the face detector YuNet is missing, and BlazeFace serves: people further away than some 1.3 m are not found. "
    "Fetch it with 'ros2 run fer_perception fetch_face_model'"
)

log = logging.getLogger(__name__)


def open_finder(settings: FaceSettings | None = None) -> FaceFinder:
    """The finder that the settings ask for; without settings that of their defaults, on the CPU.

    :raises FaceModelError: a model is missing or not a known one.
    :raises EngineError: backend is "tensorrt" and TensorRT cannot be had or run here.
    """
    settings = settings or FaceSettings(backend="onnxruntime")
    detector_model = resolve_detector_model(settings.detector_model)
    if detector_model is None and settings.detector_model != BLAZEFACE:
        log.warning(WITHOUT_DETECTOR)
    face_model = resolve_face_model(settings.face_model)
    return FaceFinder(
        face_model,
        detector_model,
        settings.min_confidence,
        settings.max_faces,
        settings.range,
        settings.image_rotation,
        settings.backend,
    )


class FaceFinder:
    """Finds the faces of images.

    ``min_confidence``, ``max_faces``, ``range`` and ``image_rotation`` may be changed between two. Nothing else has a
    memory: an image and its outlook give the same faces whatever came before. ``sees_far``: small faces are
    found, which BlazeFace does not do.

    :param face_model: path of ``face_landmarker.task``.
    :param detector_model: path of YuNet's ONNX file; None: BlazeFace, which is in the face model, finds near faces.
    :param min_confidence: 0.3 to 1; weaker detections are dropped.
    :param max_faces: at most so many faces of an image, the most confident ones.
    :param image_rotation: by so many degrees clockwise an image is turned to be upright; what is found is in pixels of
        the image as it was.
    :param backend: what runs YuNet; see :func:`fer_perception.engines.selection.load_engine`.
    :raises FaceModelError: a file is missing or is not a known one.
    :raises EngineError: backend is "tensorrt" and TensorRT cannot be had or run here.
    """

    def __init__(
        self,
        face_model: str | Path,
        detector_model: str | Path | None,
        min_confidence: float = 0.75,
        max_faces: int = 10,
        range: Range = "auto",
        image_rotation: Rotation = 0,
        backend: Backend = "onnxruntime",
    ) -> None:
        self.min_confidence, self.max_faces, self.range = min_confidence, max_faces, range
        self.image_rotation = image_rotation
        verify_face_model(Path(face_model))
        self._landmarker = Landmarker(Path(face_model))
        self._detector: Detector
        if detector_model is None:
            self._detector = BlazeFace(Path(face_model))
        else:
            verify_detector(Path(detector_model))
            self._detector = YuNet(load_network(yunet_network(Path(detector_model)), backend))
        self.sees_far = detector_model is not None

    def find(self, image: UInt8Image, outlook: Outlook | None = None, mesh: bool = False) -> list[Face]:
        """The faces of an image, most confident first.

        :param image: uint8, (H, W, 3), RGB.
        :param outlook: what the images before tell; None: it is alone.
        :param mesh: fit meshes as well, see :meth:`with_meshes`.
        :raises ImageError: the array is no RGB image.
        """
        turn = Turn(self.image_rotation, _checked(image).shape)
        upright = turn.upright(image)
        return [turn.face(face) for face in self._faces(upright, turn.outlook(outlook), mesh)]

    def with_meshes(self, image: UInt8Image, faces: Sequence[Face]) -> list[Face]:
        """Fit a mesh to each face of an image. A face whose mesh the landmarker does not find comes without."""
        turn = Turn(self.image_rotation, image.shape)
        upright = turn.upright(image)
        return [turn.face(self._landmarker.with_mesh(upright, turn.face(face, upright=True))) for face in faces]

    def better_rotation(self, image: UInt8Image, confidence: float) -> Rotation | None:
        """Another ``image_rotation`` with which YuNet is surer of a face than so far; None: there is none."""
        if not self.sees_far:
            return None
        found = {
            rotation: self._faces(Turn(rotation, image.shape).upright(image), None)
            for rotation in ROTATIONS
            if rotation != self.image_rotation
        }
        sure = {rotation: faces[0].confidence for rotation, faces in found.items() if faces}
        best = max(sure, key=lambda rotation: sure[rotation], default=None)
        return best if best is not None and sure[best] > confidence + SURER else None

    def close(self) -> None:
        """Free engine and graphs. The finder cannot be used afterwards."""
        self._landmarker.close()
        self._detector.close()

    def _faces(self, image: UInt8Image, outlook: Outlook | None, mesh: bool = False) -> list[Face]:
        """The faces of an upright image."""
        height, width = image.shape[:2]
        seen = [
            Face(clip(_whole(box), width, height), float(score), points)
            for box, score, points in zip(*self._look(image, outlook), strict=True)
        ]
        expected = outlook.expected if outlook else ()
        areas = [_area(part, image) for part in _parts(outlook)]
        faces = []
        for face in seen[: self.max_faces]:
            is_known = face.confidence >= SURE or any(_is_at(place, face.box) for place in expected)
            is_due = any(_is_in(area, face.box) for area in areas)
            if mesh or (is_due and not is_known):
                fitted = self._landmarker.with_mesh(image, face)
                is_known = is_known or (is_due and fitted.mesh is not None)
                face = fitted if mesh else face
            if is_known:
                faces.append(face)
        return faces

    def _look(self, image: UInt8Image, outlook: Outlook | None) -> Detections:
        """What is seen of faces, the surest first."""
        seen = joined(*(self._seen(image, side, area) for side, area in self._views(image, outlook)))
        places = list(outlook.expected) if outlook else []
        most = len(places) + MAX_PROPOSALS
        for box, points in zip(seen.boxes, seen.points, strict=True):
            x, y = (box[:2] + box[2:] / 2).tolist()
            place = Place(x, y, float(box[2]), roll_rad(points))
            if len(places) < most and not any(_is_same(place, other) for other in places):
                places.append(place)
        # What was surely seen stays, also where the close look does not agree.
        found = joined(self._close(image, places), seen.of(seen.scores >= self.min_confidence))
        if self.sees_far and self.range != "near" and not len(found.boxes) and _is_due(outlook):
            found = self._close(image, self._tilted(image, outlook)[:MAX_PROPOSALS])
        first = without_repetitions(found.boxes)
        found = found.of(first)
        return found.of(np.argsort(-found.scores, kind="stable"))

    def _views(self, image: UInt8Image, outlook: Outlook | None) -> Iterator[tuple[int, Box]]:
        """At which sizes the image is seen, and which part of it."""
        height, width = image.shape[:2]
        whole, parts = (0, 0, width, height), _parts(outlook)
        is_whole = len(parts) == len(PARTS)
        if is_whole or _is_new(outlook, NEAR_PERIOD_S if outlook and outlook.expected else NEAR_SEARCH_PERIOD_S):
            yield NEAR_SIDE, whole
        if self.sees_far and (self.range == "far" or (self.range == "auto" and is_whole)):
            yield FAR_SIDE, whole
        elif self.sees_far and self.range == "auto":
            for part in parts:
                yield FAR_SIDE, _area(part, image)

    def _close(self, image: UInt8Image, places: Sequence[Place]) -> Detections:
        return look_closely(self._detector, image, places, self.min_confidence)

    def _seen(self, image: UInt8Image, side: int, area: Box) -> Detections:
        """What the detector sees in a part of the image, shrunk as if the image's longer side were ``side``; in pixels
        of the image.
        """
        scale = min(1.0, side / max(image.shape[:2]))
        left, top, width, height = area
        seen = self._detector.detect(_shrunk(image[top : top + height, left : left + width], scale), LEAST)
        shift = np.asarray([left, top], np.float32) + np.float32(0.5 / scale - 0.5)  # pixels' centres are whole numbers
        seen = Detections(
            seen.boxes / np.float32(scale) + np.append(shift, [0, 0]).astype(np.float32),
            seen.scores,
            seen.points / np.float32(scale) + shift,
        )
        return seen.of(_is_uncut(seen.boxes, area, image))

    def _tilted(self, image: UInt8Image, outlook: Outlook | None) -> list[Place]:
        """Where tilted heads may be: the detector sees little of those that are turned by more than 30 degrees.

        Both sides in an image that is alone, else in turns.
        """
        scale = min(1.0, FAR_SIDE / max(image.shape[:2]))
        small = _shrunk(image, scale)
        height, width = small.shape[:2]
        middle = np.asarray([(width - 1) / 2, (height - 1) / 2])
        places: list[Place] = []
        sides: tuple[int, ...] = (-TILT_DEG, TILT_DEG)
        if outlook is not None:
            sides = (sides[int(outlook.stamp_s // SEARCH_PERIOD_S) % 2],)
        for roll_deg in sides:
            turn = cv2.getRotationMatrix2D(middle.tolist(), roll_deg, 1.0)
            seen = self._detector.detect(cv2.warpAffine(small, turn, (width, height)), LEAST)
            back = cv2.invertAffineTransform(turn)
            for box, points in zip(seen.boxes, seen.points, strict=True):
                x, y = back[:, :2] @ (box[:2] + box[2:] / 2) + back[:, 2]
                turned_rad = math.radians(roll_deg) + roll_rad(points)
                place = Place((x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, float(box[2]) / scale, turned_rad)
                if not any(_is_same(place, other) for other in places):
                    places.append(place)
        return places


def _is_due(outlook: Outlook | None) -> bool:
    """Whether it is time for what takes long."""
    if outlook is None or outlook.lost:
        return True
    return _is_new(outlook, FAR_PERIOD_S if outlook.expected else SEARCH_PERIOD_S)


def _parts(outlook: Outlook | None) -> list[int]:
    """Into which parts it is time to look: those whose time has come since the image before."""
    if outlook is None or outlook.last_s is None or outlook.lost:
        return [*PARTS]
    step_s = (FAR_PERIOD_S if outlook.expected else SEARCH_PERIOD_S) / len(PARTS)
    last, now = (int((time_s - FAR_DELAY_S) // step_s) for time_s in (outlook.last_s, outlook.stamp_s))
    return sorted({step % len(PARTS) for step in range(max(last, now - len(PARTS)) + 1, now + 1)})


def _area(part: int, image: UInt8Image) -> Box:
    """A part of an image with what it shares with the others: x, y, width, height."""
    height, width = image.shape[:2]
    columns, rows = ACROSS if width >= height else ACROSS[::-1]
    row, column = divmod(part, columns)
    left, right = _section(column, columns, width, _shared(image))
    top, bottom = _section(row, rows, height, _shared(image))
    return left, top, right - left, bottom - top


def _section(index: int, count: int, side: int, shared: float) -> tuple[int, int]:
    """Of sections of equal length that share pixels with their neighbours: where one begins and ends."""
    length = min((side + (count - 1) * shared) / count, side)
    begin = index * (side - length) / (count - 1)
    return round(begin), round(begin + length)


def _shared(image: UInt8Image) -> float:
    """By how many pixels of the image its parts overlap."""
    return OVERLAP * max(1.0, max(image.shape[:2]) / FAR_SIDE)


def _is_uncut(boxes: Float32Array, area: Box, image: UInt8Image) -> npt.NDArray[np.bool_]:
    """Of boxes seen in an area, which do not reach beyond it where the image goes on, nor are so wide that they may."""
    if area[2:] == image.shape[1::-1]:
        return np.ones(len(boxes), np.bool_)
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    begin = np.asarray(area[:2])
    end = begin + area[2:]
    beyond = ((first < begin + 1) & (begin > 0)) | ((last > end - 2) & (end < image.shape[1::-1]))
    uncut: npt.NDArray[np.bool_] = ~beyond.any(1) & (boxes[:, 2] <= _shared(image))
    return uncut


def _is_in(area: Box, box: Box) -> bool:
    """Whether the middle of a box is in an area."""
    x, y = box[0] + box[2] / 2 - area[0], box[1] + box[3] / 2 - area[1]
    return 0 <= x <= area[2] and 0 <= y <= area[3]


def _is_new(outlook: Outlook | None, period_s: float) -> bool:
    """Whether an image is the first of a period. That depends on the images' times, not on how many there are."""
    return outlook is None or outlook.last_s is None or outlook.stamp_s // period_s != outlook.last_s // period_s


def _checked(image: UInt8Image) -> UInt8Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"an RGB image is uint8 (H, W, 3), got {image.dtype} {image.shape}: convert it first")
    return image


def _shrunk(image: UInt8Image, scale: float) -> UInt8Image:
    if scale == 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _is_at(place: Place, box: Box) -> bool:
    """Whether a box is the face expected there: its middle is near."""
    x, y, width, height = box
    return max(abs(x + width / 2 - place.x), abs(y + height / 2 - place.y)) < 0.75 * place.width


def _is_same(one: Place, other: Place) -> bool:
    return max(abs(one.x - other.x), abs(one.y - other.y)) < 0.5 * max(one.width, other.width)


def _whole(box: Float32Array) -> Box:
    """A box in whole numbers, of the pixels that lie in it."""
    x, y, width, height = box.tolist()
    return round(x + 0.5), round(y + 0.5), round(width), round(height)
