"""Eyes and mouths of a dataset's pictures, found once and remembered in a file beside them."""

from __future__ import annotations

import csv
import logging
import math
import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from fer_perception.faces import EYES_AND_MOUTH, FACE_MODEL_SHA256, Face, FaceFinder
from fer_perception.preprocessing import Float32Array, UInt8Image
from fer_perception.resources import resolve_face_model

# Another face model finds other points: it gets another file.
CACHE = f"keypoints-{FACE_MODEL_SHA256[:8]}.csv"
POINTS = tuple(f"{point}_{axis}" for point in ("right_eye", "left_eye", "mouth") for axis in "xy")
COLUMNS = ("file", "size", "mtime_ns", "box", *POINTS)

# Room around an annotated box: the detector expects more than the face.
BOX_MARGIN = 0.5
# First as on the robot. Every picture is known to show a face: where none is found, a less sure one will do, and
# room is added around a picture that was cut tightly.
ATTEMPTS = ((0.75, 0.0), (0.5, 0.0), (0.5, 0.3))  # confidence, margin

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

log = logging.getLogger(__name__)


class KeyPoints:
    """Finds the key points of one dataset's pictures; a context that writes what is new when it ends.

    :param root: the folder of the cache.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / CACHE
        self._known = _read(self._file)
        self._changed = False
        self._finder: FaceFinder | None = None  # made when a picture is new: it takes a second

    def __enter__(self) -> KeyPoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error, too: what was found need not be found again.
        if self._finder is not None:
            self._finder.close()
        if self._changed:
            self._write()

    def of(self, file: Path, name: str, picture: UInt8Image, box: Box | None) -> Float32Array | None:
        """Right eye, left eye and mouth: float32, (3, 2), in pixels of the picture; None where no face is found.

        :param name: the file's name in the cache. Size and time of change tell whether it is still the same file.
        :param picture: the file's contents, uint8, (H, W, 3), RGB.
        :param box: where to look; else the most central large face of the picture is taken.
        """
        status = file.stat()
        state = (str(status.st_size), str(status.st_mtime_ns), " ".join(map(repr, box or ())))
        if name not in self._known or self._known[name][0] != state:
            if self._finder is None:
                self._finder = FaceFinder(resolve_face_model(""))
            self._known[name] = (state, find_points(self._finder, picture, box))
            self._changed = True
        return self._known[name][1]

    def _write(self) -> None:
        temporary = self._file.with_suffix(f".{os.getpid()}.partial")
        try:
            with open(temporary, "w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(COLUMNS)
                for name, (state, points) in self._known.items():
                    values = [""] * len(POINTS) if points is None else [str(value) for value in points.ravel()]
                    writer.writerow((name, *state, *values))
            os.replace(temporary, self._file)
        except OSError as error:
            log.warning("%s: cannot be written (%s): the faces will be looked for again", self._file, error.strerror)
            if temporary.exists():
                temporary.unlink()


def find_points(finder: FaceFinder, picture: UInt8Image, box: Box | None) -> Float32Array | None:
    """Right eye, left eye and mouth of the one face that a picture is about: float32, (3, 2), or None."""
    height, width = picture.shape[:2]
    region = (0.0, 0.0, width, height) if box is None else _widened(box, BOX_MARGIN)
    for confidence, margin in ATTEMPTS:
        finder.min_confidence = confidence
        part, (x, y) = cut(picture, _widened(region, margin))
        faces = finder.find(part)
        if faces:
            face = max(faces, key=lambda face: _prominence(face, part))
            return face.keypoints[list(EYES_AND_MOUTH)] + np.asarray([x, y], np.float32)
    return None


def cut(picture: UInt8Image, region: Box) -> tuple[UInt8Image, tuple[int, int]]:
    """A region of a picture, which may reach beyond it (its border is repeated), and the region's corner."""
    height, width = picture.shape[:2]
    left, top = math.floor(region[0]), math.floor(region[1])
    right, bottom = max(math.ceil(region[0] + region[2]), left + 1), max(math.ceil(region[1] + region[3]), top + 1)
    inside = picture[
        min(max(top, 0), height - 1) : max(min(bottom, height), 1),
        min(max(left, 0), width - 1) : max(min(right, width), 1),
    ]
    above, before = max(-top, 0), max(-left, 0)
    below, behind = max(bottom - height, 0), max(right - width, 0)
    if above or before or below or behind:
        inside = cv2.copyMakeBorder(inside, above, below, before, behind, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(inside), (left, top)


def _prominence(face: Face, picture: UInt8Image) -> float:
    """Large and central faces first: the box's side less the distance of its centre from the picture's centre."""
    x, y, width, height = face.box
    centre = (x + width / 2 - picture.shape[1] / 2, y + height / 2 - picture.shape[0] / 2)
    return max(width, height) - math.hypot(*centre)


def _widened(box: Box, margin: float) -> Box:
    x, y, width, height = box
    return x - margin * width, y - margin * height, width * (1 + 2 * margin), height * (1 + 2 * margin)


def _read(file: Path) -> dict[str, tuple[tuple[str, str, str], Float32Array | None]]:
    known: dict[str, tuple[tuple[str, str, str], Float32Array | None]] = {}
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream)
            next(rows, None)
            for name, size, mtime, box, *values in rows:
                points = np.asarray(values, np.float32).reshape(3, 2) if any(values) else None
                known[name] = ((size, mtime, box), points)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, csv.Error) as error:
        log.warning("%s: cannot be read (%s): the faces are looked for again", file, error)
        return {}
    return known
