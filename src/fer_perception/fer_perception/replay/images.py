"""Images for reports: frames of the bags, small, with boxes, and with redacted faces."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import pandas as pd

from fer_perception.errors import BagError
from fer_perception.faces.finder import open_finder
from fer_perception.replay.bags import Bag, read_frame
from fer_perception.replay.tables import STREAM
from fer_perception.settings import FaceSettings
from fer_perception.types import Box, UInt8Image
from fer_perception.visualization.drawing import color_of, redact

WIDTH = 360
QUALITY = 80
MAX_FACES = 100
LOWEST_CONFIDENCE = 0.3


class Redactor:
    """Makes faces unrecognisable: those that are known, and all others that the detector finds at its lowest
    confidence. To be closed.
    """

    def __init__(self) -> None:
        self._finder = open_finder(FaceSettings(min_confidence=LOWEST_CONFIDENCE, max_faces=MAX_FACES))

    def redacted(self, image: UInt8Image, boxes: Sequence[Box]) -> UInt8Image:
        """A copy of an image: uint8, (H, W, 3), RGB.

        :param boxes: of the known faces.
        """
        return redact(image, [*boxes, *(face.box for face in self._finder.find(image))])

    def close(self) -> None:
        """Free the detector."""
        self._finder.close()


@dataclass(frozen=True)
class FrameImage:
    """An image of a report. ``uri``: a JPEG as a data URI."""

    uri: str
    caption: str


def draw_frames(
    frames: pd.DataFrame, captions: Sequence[str], emotions: pd.DataFrame, show_faces: bool
) -> list[FrameImage]:
    """Images of frames, with a box in the colour of its label for each face.

    :param frames: rows with bag, topic, frame, time_ns, stamp_ns.
    :param captions: one for each row.
    :param emotions: the faces' rows, of these frames and any others.
    :param show_faces: leave the faces as they are; else see :class:`Redactor`.
    :raises BagError: a bag is missing or damaged.
    """
    drawn = []
    with closing(Redactor()) as redactor:
        for row, image, caption in zip(_rows(frames), _images(frames), captions, strict=True):
            mine = emotions[
                (emotions[list(STREAM)] == [row.bag, row.topic]).all(axis=1) & (emotions["frame"] == row.frame)
            ]
            boxes: list[Box] = list(zip(mine["x"], mine["y"], mine["width"], mine["height"], strict=True))
            if not show_faces:
                image = redactor.redacted(image, boxes)
            drawn.append(FrameImage(_small_jpeg(image, boxes, list(mine["label"])), caption))
    return drawn


def _rows(frames: pd.DataFrame) -> Iterator[pd.Series]:
    return (row for _, row in frames.iterrows())


def _images(frames: pd.DataFrame) -> Iterator[UInt8Image]:
    """The frames' images. Of several messages recorded at the same time the stamp tells which it is."""
    with ExitStack() as stack:
        bags = {name: stack.enter_context(Bag(Path(name))) for name in frames["bag"].unique()}
        for row in _rows(frames):
            found = (
                read_frame(row.frame, time_ns, raw, connection.msgtype)
                for connection, time_ns, raw in bags[row.bag].messages([row.topic], row.time_ns, row.time_ns + 1)
            )
            image = next((frame.image for frame in found if frame.stamp_ns == row.stamp_ns), None)
            if image is None:
                raise BagError(f"{row.bag}: the image of frame {row.frame} is gone. Has the bag changed? Run it again")
            yield image


def _small_jpeg(image: UInt8Image, boxes: Sequence[Box], labels: Sequence[str]) -> str:
    scale = min(1.0, WIDTH / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for (x, y, width, height), label in zip(boxes, labels, strict=True):
        left, top, right, bottom = (round(value * scale) for value in (x, y, x + width, y + height))
        cv2.rectangle(small, (left, top), (right, bottom), color_of(label), 2, cv2.LINE_AA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
