"""Eyes and mouths of a dataset's images, found once and remembered in a file beside them."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from types import TracebackType

import numpy as np

from fer_perception.faces.finder import FaceFinder, open_finder
from fer_perception.faces.model_files import detector_identity
from fer_perception.faces.single_face import Region, find_one_face
from fer_perception.files import written_atomically
from fer_perception.types import Float32Array, UInt8Image

POINTS = tuple(f"{point}_{axis}" for point in ("right_eye", "left_eye", "mouth") for axis in "xy")
COLUMNS = ("file", "size", "mtime_ns", "box", *POINTS)
CACHE_FILES = "keypoints-*.csv"  # of all detectors

log = logging.getLogger(__name__)


class KeyPoints:
    """Finds the key points of one dataset's images; a context that writes what is new when it ends.

    :param root: the folder of the cache.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / cache_name()
        self._known = _read(self._file)
        self._changed = False
        self._finder: FaceFinder | None = None  # made when an image is new: it takes a second

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

    def of(self, file: Path, name: str, image: UInt8Image, box: Region | None) -> Float32Array | None:
        """Right eye, left eye and mouth: float32, (3, 2), in pixels of the image; None where no face is found.

        :param name: the file's name in the cache. Size and time of change tell whether it is still the same file.
        :param image: the file's contents, uint8, (H, W, 3), RGB.
        :param box: where to look; else the most central large face of the image is taken.
        """
        status = file.stat()
        state = (str(status.st_size), str(status.st_mtime_ns), " ".join(map(repr, box or ())))
        if name not in self._known or self._known[name][0] != state:
            if self._finder is None:
                self._finder = open_finder()
            face = find_one_face(self._finder, image, box)
            self._known[name] = (state, None if face is None else face.eyes_and_mouth)
            self._changed = True
        return self._known[name][1]

    def _write(self) -> None:
        try:
            with (
                written_atomically(self._file) as temporary,
                open(temporary, "w", newline="", encoding="utf-8") as stream,
            ):
                writer = csv.writer(stream)
                writer.writerow(COLUMNS)
                for name, (state, points) in self._known.items():
                    values = [""] * len(POINTS) if points is None else [str(value) for value in points.ravel()]
                    writer.writerow((name, *state, *values))
        except OSError as error:
            log.warning("%s: cannot be written (%s): the faces will be looked for again", self._file, error.strerror)


def cache_name() -> str:
    """The file's name: another detector finds other points, and has another file."""
    return CACHE_FILES.replace("*", detector_identity()[:9])


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
