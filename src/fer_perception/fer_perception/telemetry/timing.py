"""Durations of the stages, from a monotonic clock, and their percentiles over a window."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

STAGES = ("receive", "decode", "detect", "align", "infer", "publish")


class Stopwatch:
    """Laps of one frame: each :meth:`lap` ends a stage and begins the next.

    :param start_s: a value of ``time.perf_counter`` at which the first stage began; now where it is not given.
    """

    def __init__(self, start_s: float | None = None) -> None:
        self._start = self._last = time.perf_counter() if start_s is None else start_s
        self.stages_ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """End a stage now."""
        now = time.perf_counter()
        self.stages_ms[stage] = (now - self._last) * 1000
        self._last = now

    @property
    def total_ms(self) -> float:
        """From the start to the end of the last lap."""
        return (self._last - self._start) * 1000


class RateLimit:
    """Lets some of a stream's items pass, so that on average there are no more a second than a rate says."""

    def __init__(self) -> None:
        self._last_s = self._due_s = -math.inf

    def allows(self, stamp_s: float, rate_hz: float) -> bool:
        """Whether the item of a time, in seconds of any clock, passes. Rate 0: all do."""
        if stamp_s < self._last_s:  # a looped bag
            self._due_s = stamp_s
        self._last_s = stamp_s
        if rate_hz == 0:
            return True
        if stamp_s < self._due_s:
            return False
        # Due times lie a period apart, so that images that come somewhat late do not lower the rate.
        period_s = 1 / rate_hz
        self._due_s = self._due_s + period_s if stamp_s < self._due_s + period_s else stamp_s + period_s
        return True


class Percentiles(NamedTuple):
    """Median and tail of a set of durations."""

    p50: float
    p95: float
    p99: float


def percentiles(values: Iterable[float]) -> Percentiles:
    """Percentiles of values that are not NaN; NaN where there is none."""
    array = np.asarray(list(values), float)
    array = array[~np.isnan(array)]
    if not len(array):
        return Percentiles(*[float("nan")] * 3)
    return Percentiles(*(float(value) for value in np.percentile(array, [50, 95, 99])))


@dataclass(frozen=True)
class WindowSummary:
    """What happened to the frames of a window; durations in milliseconds, by stage."""

    window_s: float
    received: int
    processed: int
    dropped: int
    rejected: int
    stages: dict[str, Percentiles]

    @property
    def fps_in(self) -> float:
        """Frames received per second."""
        return self.received / self.window_s if self.window_s > 0 else 0.0

    @property
    def fps_out(self) -> float:
        """Frames processed per second."""
        return self.processed / self.window_s if self.window_s > 0 else 0.0

    @property
    def fps_dropped(self) -> float:
        """Frames dropped per second."""
        return self.dropped / self.window_s if self.window_s > 0 else 0.0


class FrameStatistics:
    """Counts frames and collects their durations; safe to use from several threads.

    ``dropped`` frames were replaced by newer ones before their turn, ``rejected`` ones were malformed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._at_window_start: Counter[str] = Counter()
        self._durations: dict[str, list[float]] = defaultdict(list)
        self._window_start_s = time.perf_counter()

    def count(self, event: Literal["received", "dropped", "rejected"]) -> None:
        """Count one frame."""
        with self._lock:
            self._totals[event] += 1

    def processed(self, durations_ms: Mapping[str, float]) -> None:
        """Count a processed frame with its durations by stage."""
        with self._lock:
            self._totals["processed"] += 1
            for stage, duration in durations_ms.items():
                self._durations[stage].append(duration)

    def total(self, event: Literal["received", "processed", "dropped", "rejected"]) -> int:
        """Number of such frames since the start."""
        with self._lock:
            return self._totals[event]

    def take_window(self) -> WindowSummary:
        """Summary since the last call; a new window begins."""
        with self._lock:
            now_s = time.perf_counter()
            counts = self._totals - self._at_window_start
            durations, self._durations = self._durations, defaultdict(list)
            window_s, self._window_start_s = now_s - self._window_start_s, now_s
            self._at_window_start = self._totals.copy()
        return WindowSummary(
            window_s,
            counts["received"],
            counts["processed"],
            counts["dropped"],
            counts["rejected"],
            {stage: percentiles(values) for stage, values in durations.items()},
        )
