"""The pace of a recording: when each of its messages is due."""

from __future__ import annotations

import time

# Less than an image's time: waking up late now and then must not slow the whole recording down.
SLACK_S = 0.02


class Pace:
    """Recorded times, played from now on. What is late stays late: a pause is not caught up by a burst.

    :param begin_ns: the recorded time that is now.
    :param rate: so many times as fast as it was recorded.
    """

    def __init__(self, begin_ns: int, rate: float) -> None:
        self._begin_ns, self._rate = begin_ns, rate
        self._begin_s = time.monotonic()

    def now_ns(self) -> int:
        """The recorded time that is due now."""
        return self._begin_ns + round((time.monotonic() - self._begin_s) * self._rate * 1e9)

    def wait_s(self, time_ns: int) -> float:
        """Seconds until what was recorded then is due; zero or negative when it is."""
        return (time_ns - self._begin_ns) * 1e-9 / self._rate - (time.monotonic() - self._begin_s)

    def played(self, time_ns: int) -> None:
        """What was recorded then has been played now."""
        late_s = -self.wait_s(time_ns)
        if late_s > SLACK_S:
            self._begin_s += late_s
