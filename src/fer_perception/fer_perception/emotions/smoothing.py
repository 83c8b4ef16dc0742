"""Averages each track's emotion probabilities over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fer_perception.types import Float32Array


class Smoother:
    """Exponential average per track, with a time constant in seconds, so that it does not depend on the frame rate.

    After a step in the input the average has made 63% of it within the time constant. Tracks that were not seen for
    ``max_lost_s`` are forgotten. Attributes may be changed between two images.

    :param time_constant_s: 0 turns smoothing off.
    """

    def __init__(self, time_constant_s: float = 0.5, max_lost_s: float = 1.0) -> None:
        self.time_constant_s = time_constant_s
        self.max_lost_s = max_lost_s
        self._tracks: dict[str, tuple[float, Float32Array]] = {}
        self._last_s: float | None = None

    def update(self, track_ids: Sequence[str], probabilities: Float32Array, now_s: float) -> Float32Array:
        """Averages of the next image's faces.

        :param probabilities: float32, (faces, labels), in the order of ``track_ids``.
        :param now_s: when the image was taken, in seconds. A time before the last image's forgets all tracks.
        :return: float32, (faces, labels), rows summing to 1.
        """
        if self._last_s is not None and now_s < self._last_s:
            self._tracks.clear()
        self._last_s = now_s
        self._tracks = {
            track_id: track for track_id, track in self._tracks.items() if now_s - track[0] <= self.max_lost_s
        }
        smoothed = np.array(probabilities, np.float32)
        for row, track_id in zip(smoothed, track_ids, strict=True):
            if track_id in self._tracks and self.time_constant_s > 0:
                seen_s, average = self._tracks[track_id]
                gain = -math.expm1(-(now_s - seen_s) / self.time_constant_s)
                row[:] = average + np.float32(gain) * (row - average)
            self._tracks[track_id] = (now_s, row.copy())
        return smoothed
