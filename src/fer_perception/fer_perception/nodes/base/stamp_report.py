"""The stamps of one input: which time serves, and what there is to say of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fer_perception.images.stamps import FAULTS, REMEDY, StampCheck, seconds

# A recording that is played without its time has stamps of long ago.
RECORDING = "; of a recording: ros2 bag play --clock, and use_sim_time"
NO_CLOCK = "use_sim_time is set, and there is no time on /clock: have the simulation publish it, or unset use_sim_time"
UNSET = "they have no stamp"


class StampReport:
    """Judges the stamps of each message, in the order of arrival, and counts those that cannot be believed."""

    def __init__(self) -> None:
        self._check = StampCheck()
        self._faults: Counter[str] = Counter()  # by what is wrong, see FAULTS
        self._last_window: Counter[str] = Counter()

    def taken_s(self, stamp: Any, now_ns: int) -> float:
        """When an image was taken, in seconds; 0 where nobody knows.

        :param stamp: of the message (``sec``, ``nanosec``).
        :param now_ns: ROS time; 0: there is none yet.
        """
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        time = self._check.judge(stamp_ns, now_ns)
        if not now_ns:
            self._faults[NO_CLOCK] += 1
        elif time.fault:
            self._faults[FAULTS[time.fault]] += 1
        elif not stamp_ns:
            self._faults[UNSET] += 1
        return seconds(time.time_ns)

    def end_window(self) -> None:
        """Count anew."""
        self._last_window, self._faults = self._faults, Counter()

    def problem(self) -> str:
        """What was wrong in the last window; empty where nothing was."""
        if not self._last_window:
            return ""
        ((fault, count),) = self._last_window.most_common(1)
        if fault == NO_CLOCK:
            return fault
        remedy = REMEDY + (RECORDING if fault == FAULTS["far"] else "")
        images = "1 image" if count == 1 else f"{count} images"
        return f"{images}: {fault}. The time of their arrival serves instead. {remedy}"
