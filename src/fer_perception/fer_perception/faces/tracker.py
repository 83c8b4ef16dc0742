"""Gives faces an identity through consecutive images."""

from __future__ import annotations

import math
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Thread
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_perception.faces.close_look import Place
from fer_perception.types import Box

State = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# A face moves by less than its own size between two images, and grows or shrinks by less than the half.
MAX_DISTANCE = 1.0
MAX_SIZE_RATIO = 1.5
# Weight of the newest measurement in a track's position and velocity (an alpha-beta filter).
POSITION_GAIN, VELOCITY_GAIN = 0.8, 0.3
# A followed face is looked at in the same place until it has moved by so much of its width, or has grown, shrunk or
# turned by so much: its key points are steadier so.
STEADY_DISTANCE, STEADY_RATIO, STEADY_ROLL_RAD = 0.12, 1.15, 0.15
# An unseen face is expected to keep moving, but ever less so.
VELOCITY_DECAY_S = 0.3

ID_LENGTH = 5
IDS = len(string.ascii_lowercase) ** ID_LENGTH
# Prime to the number of ids: adding it again and again comes to every id once before one returns.
ID_STEP = 7_368_787


@dataclass
class _Track:
    """``center`` and ``size`` in pixels, ``velocity`` in pixels per second, times in seconds. ``place``: where it is
    looked at.
    """

    track_id: str
    center: State
    velocity: State
    size: float
    seen_s: float
    place: Place

    def predict(self, now_s: float) -> State:
        """Where the face is expected; its velocity decays exponentially while it is not seen."""
        elapsed = now_s - self.seen_s
        return self.center + self.velocity * VELOCITY_DECAY_S * (1 - np.exp(-elapsed / VELOCITY_DECAY_S))

    def update(self, center: State, size: float, now_s: float) -> None:
        elapsed = now_s - self.seen_s
        predicted = self.predict(now_s)
        residual = center - predicted
        decay = np.exp(-elapsed / VELOCITY_DECAY_S)
        if elapsed > 0:  # the same image may come twice
            self.velocity = self.velocity * decay + VELOCITY_GAIN * residual / max(elapsed, 1e-3)
        self.center = predicted + POSITION_GAIN * residual
        self.size = size
        self.seen_s = now_s

    def look(self, width: float, roll_rad: float) -> None:
        """Move the place where the face has left it.

        :param roll_rad: NaN: not known.
        """
        roll_rad = self.place.roll_rad if math.isnan(roll_rad) else roll_rad
        is_turned = abs(roll_rad - self.place.roll_rad) > STEADY_ROLL_RAD
        ratio = max(width, 1.0) / max(self.place.width, 1.0)
        if is_turned or not 1 / STEADY_RATIO < ratio < STEADY_RATIO or self._has_left(self.center):
            self.place = Place(float(self.center[0]), float(self.center[1]), width, roll_rad)

    def expected(self, now_s: float) -> Place:
        """Where to look for the face."""
        center = self.predict(now_s)
        return self.place._replace(x=float(center[0]), y=float(center[1])) if self._has_left(center) else self.place

    def _has_left(self, center: State) -> bool:
        return math.dist(center, self.place[:2]) > STEADY_DISTANCE * self.place.width


class Outlook(NamedTuple):
    """What is known of an image before it is seen.

    ``stamp_s``: when it was taken, in seconds. ``last_s``: likewise the image before; None: there is none.
    ``expected``: where the followed faces should be. ``lost``: one of them was seen two images ago, but not in the
    last.
    """

    stamp_s: float
    last_s: float | None = None
    expected: Sequence[Place] = ()
    lost: bool = False


class Tracker:
    """Assigns ids to boxes, image by image.

    Boxes are matched to the tracks' expected positions by the assignment with the smallest sum of distances
    (Hungarian method), distances in units of the face's size. A track that was not seen for ``max_lost_s`` ends; its
    id returns only after 26^5 others. ``max_lost_s`` may be changed between two images.

    :param max_lost_s: for how long an unseen face is remembered, in seconds.
    :param seed: makes the ids the same in every run; None draws them at random.
    :param unlinkable: a track ends with the first image in which its face is not found, and each id is drawn anew, so
        that nothing in it tells which one came before. An id can then return, by a chance of one in 26^5.
    """

    def __init__(self, max_lost_s: float = 1.0, seed: int | None = None, unlinkable: bool = False) -> None:
        self.max_lost_s = max_lost_s
        self._unlinkable = unlinkable
        self._random = random.SystemRandom() if seed is None else random.Random(seed)
        self._next_id = self._random.randrange(IDS)
        self._tracks: list[_Track] = []
        self._last_s: float | None = None
        self._has_lost = False

    def outlook(self, now_s: float) -> Outlook:
        """What is known of the next image before it is seen."""
        if self._last_s is None or now_s < self._last_s:
            return Outlook(now_s)
        tracks = [track for track in self._tracks if now_s - track.seen_s <= self.max_lost_s]
        places = [track.expected(now_s) for track in tracks]
        return Outlook(now_s, self._last_s, places, self._has_lost)

    def update(self, boxes: Sequence[Box], now_s: float, rolls_rad: Sequence[float] = ()) -> list[str]:
        """Ids of the boxes of the next image, in their order.

        :param boxes: x, y, width, height in pixels.
        :param now_s: when the image was taken, in seconds. A time before the last image's (a looped bag) ends all
            tracks.
        :param rolls_rad: how far each face is turned, clockwise; empty: not known.
        """
        if self._last_s is not None and now_s < self._last_s:
            self._tracks.clear()
        if self._last_s is None:
            Thread(target=_assign, args=[np.zeros((2, 2))]).start()
        before_s, self._last_s = self._last_s, now_s
        self._tracks = [track for track in self._tracks if now_s - track.seen_s <= self.max_lost_s]
        centers = np.asarray([(x + width / 2, y + height / 2) for x, y, width, height in boxes], float).reshape(-1, 2)
        sizes = np.asarray([np.sqrt(width * height) for _, _, width, height in boxes], float)
        matches = self._match(centers, sizes, now_s)
        ids = []
        for index in range(len(boxes)):
            track = matches.get(index)
            width, roll_rad = float(boxes[index][2]), rolls_rad[index] if rolls_rad else math.nan
            if track is None:
                x, y = centers[index].tolist()
                place = Place(x, y, width, 0.0 if math.isnan(roll_rad) else roll_rad)
                track = _Track(self._new_id(), centers[index], np.zeros(2), sizes[index], now_s, place)
                self._tracks.append(track)
            else:
                track.update(centers[index], sizes[index], now_s)
                track.look(width, roll_rad)
            ids.append(track.track_id)
        # Told also where the track itself is forgotten.
        self._has_lost = any(track.seen_s == before_s != now_s for track in self._tracks)
        if self._unlinkable:
            self._tracks = [track for track in self._tracks if track.track_id in ids]
        return ids

    def _match(self, centers: State, sizes: State, now_s: float) -> dict[int, _Track]:
        """Track by index of box."""
        if not len(centers) or not self._tracks:
            return {}
        expected = np.asarray([track.predict(now_s) for track in self._tracks])
        track_sizes = np.asarray([track.size for track in self._tracks])
        distance = np.linalg.norm(centers[:, None] - expected[None], axis=2) / np.sqrt(
            sizes[:, None] * track_sizes[None]
        )
        ratio = np.maximum(sizes[:, None] / track_sizes[None], track_sizes[None] / sizes[:, None])
        possible = (distance <= MAX_DISTANCE) & (ratio <= MAX_SIZE_RATIO)
        # An impossible pair costs more than any set of possible ones.
        cost = np.where(possible, distance + np.log(ratio), 1e6)
        rows, columns = _assign(cost)
        return {
            int(row): self._tracks[column] for row, column in zip(rows, columns, strict=True) if possible[row, column]
        }

    def _new_id(self) -> str:
        number, letters = self._next_id, ""
        self._next_id = self._random.randrange(IDS) if self._unlinkable else (self._next_id + ID_STEP) % IDS
        for _ in range(ID_LENGTH):
            number, digit = divmod(number, len(string.ascii_lowercase))
            letters += string.ascii_lowercase[digit]
        return letters


def _assign(cost: State) -> tuple[Indices, Indices]:
    """Rows and columns of the assignment with the least sum of costs.

    The import takes 0.4 s, so it waits: nodes and commands that track nothing do without it, one face needs none, and
    with the first image a thread begins it, before a second face comes.
    """
    if min(cost.shape) == 1:
        row, column = np.unravel_index([cost.argmin()], cost.shape)
        return row, column
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    return rows, columns
