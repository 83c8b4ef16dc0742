"""Whether the stamps of images can be believed, and what time serves where they cannot.

Tracking and smoothing live on the time between images. A driver that stamps all images alike, or by a clock of its own,
would stop that time or tear it; then the time of arrival serves, live that of the node's clock, of a bag that of the
recording.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

Fault = Literal["", "still", "back", "far"]

# By fault: what is wrong with the stamps, as the end of "N images: ".
FAULTS: dict[Fault, str] = {
    "still": "their stamps repeat or hardly advance",
    "back": "their stamps jump back",
    "far": "their stamps are more than a year away from the clock",
}
REMEDY = "Have the camera's driver stamp each image with the time at which it was taken"

FAR_NS = 365 * 24 * 3600 * 1_000_000_000
# For so long after the last fault stamps are not believed: where two images share each stamp, every other one is new.
DISTRUST_NS = 10 * 1_000_000_000
# Stamps hardly advance where half of the last steps are less than a tenth of the time between the arrivals. A single
# one is so where an image came late.
STEPS, SLOW, FEWEST = 10, 0.1, 2
# Going from one clock to the other, time must not step back by what an image comes sooner or later.
JITTER_NS = 1_000_000_000


class ImageTime(NamedTuple):
    """When an image was taken, in nanoseconds, and the fault of its stamp.

    ``fault`` is empty where the stamp is this time, or where there is none.
    """

    time_ns: int
    fault: Fault


def seconds(time_ns: int) -> float:
    """A time in seconds, from nanoseconds."""
    return time_ns // 1_000_000_000 + time_ns % 1_000_000_000 * 1e-9


class StampCheck:
    """Judges the stamps of one stream of images, in the order of their arrival."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None  # stamp and arrival of the last image that had a stamp
        self._slow: deque[bool] = deque(maxlen=STEPS)
        self._fault: Fault = ""  # the newest one, and when it was seen; empty where stamps are believed
        self._fault_ns = 0
        self._behind_ns = 0  # how far the stamps were behind the arrivals when they were last believed
        self._time_ns: int | None = None

    def judge(self, stamp_ns: int, arrival_ns: int) -> ImageTime:
        """The time of the next image.

        Where the stamp cannot be believed it is that of the arrival, moved back by as much as it was later than the
        stamps that could: tracks last through the change. It goes back only where arrivals do (a simulation that began
        anew), or where stamps that jumped back are believed again.

        :param stamp_ns: of the image's header; 0: it has none.
        :param arrival_ns: when it arrived or was recorded, by the clock that the stamps should be of; 0: there is no
            such time yet, and stamps are believed.
        """
        fault: Fault = ""
        if stamp_ns and arrival_ns:
            fault = self._judge(stamp_ns, arrival_ns)
        if stamp_ns and not fault:
            time_ns = stamp_ns
            self._behind_ns = arrival_ns - stamp_ns if arrival_ns else 0
        else:
            time_ns = arrival_ns - self._behind_ns
        if self._time_ns is not None and 0 < self._time_ns - time_ns < JITTER_NS:
            time_ns = self._time_ns
        self._time_ns = time_ns
        return ImageTime(time_ns, fault)

    def _judge(self, stamp_ns: int, arrival_ns: int) -> Fault:
        last_stamp_ns, last_arrival_ns = self._last or (stamp_ns - 1, arrival_ns)
        self._last = stamp_ns, arrival_ns
        if arrival_ns < last_arrival_ns:  # time itself began anew
            self._slow.clear()
            self._fault, self._behind_ns, self._time_ns = "", 0, None
            last_stamp_ns = stamp_ns - 1
        step_ns, waited_ns = stamp_ns - last_stamp_ns, arrival_ns - last_arrival_ns
        self._slow.append(step_ns < SLOW * waited_ns)
        found: Fault = ""
        if abs(stamp_ns - arrival_ns) > FAR_NS:
            found = "far"
        elif step_ns < 0:
            found = "back"
        elif step_ns == 0 or sum(self._slow) >= max(FEWEST, len(self._slow) / 2):
            found = "still"
        if found:
            self._fault, self._fault_ns = found, arrival_ns
        elif arrival_ns - self._fault_ns > DISTRUST_NS:
            self._fault = ""
        return self._fault
