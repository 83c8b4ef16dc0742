"""The base of the nodes that process each message of a stream: newest first, timed, counted; none ends the node."""

from __future__ import annotations

import threading
import time
import traceback
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from fer_msgs.msg import Latency, LatencyStatistics
from std_msgs.msg import Header

from fer_perception.errors import ImageError
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.latest_slot import LatestSlot
from fer_perception.nodes.base.managed_node import ERROR, LOG_PERIOD_S, OK, WARN, ManagedNode
from fer_perception.nodes.base.stamp_report import StampReport
from fer_perception.nodes.base.subscription import Input
from fer_perception.telemetry.power import PowerMeter
from fer_perception.telemetry.timing import FrameStatistics, Stopwatch, WindowSummary


class Arrival(NamedTuple):
    """A message, when it arrived, in monotonic seconds, and its age in milliseconds of ROS time.

    ``taken_s``: when its image was taken, in seconds: by its stamp, or where that cannot be believed by its arrival.
    """

    message: Any
    arrived_s: float
    age_ms: float
    taken_s: float


class StreamNode(ManagedNode):
    """Processes each message of its input; publishes ``latency`` and, once a second, ``latency_statistics``.

    Messages are received by the executor's thread and processed by a thread of their own. A buffer between
    them holds one message: one that has not been taken when the next arrives is dropped and counted.
    """

    latency_topic: ClassVar[str] = "latency"

    def configure(self) -> None:
        """Create the publishers; subclasses load their models."""
        self._latency = self.publisher(Latency, self.latency_topic)
        self._latency_statistics = self.publisher(LatencyStatistics, f"{self.latency_topic}_statistics")
        self._power = PowerMeter()
        self._power.start()
        self.at_cleanup(self._power.close)

    def activate(self) -> None:
        """Start the worker, then subscribe. Deactivation lets the worker finish the message it is at."""
        self.statistics = FrameStatistics()
        self._summary: WindowSummary | None = None
        self._refused = ""  # why the last message was refused, if it was
        self._stamps = StampReport()
        self._energy_j = self._power.energy_j()
        self._slot: LatestSlot[Arrival] = LatestSlot()
        worker = threading.Thread(target=self._work, args=(self._slot,), name="worker", daemon=True)
        worker.start()
        self.at_deactivate(worker.join)
        self.at_deactivate(self._slot.close)
        self._input = self.subscribe()
        self.at_deactivate(self._input.close)
        self.get_logger().info(f"active; waiting for {self._input.topic}")

    @abstractmethod
    def subscribe(self) -> Input:
        """The node's input, which hands messages to :meth:`receive`."""

    @abstractmethod
    def process(self, arrival: Arrival, header: Header, stamp_s: float, stopwatch: Stopwatch) -> int:
        """Process and publish; called by the worker's thread.

        :param header: of the message.
        :param stamp_s: when its image was taken, in seconds: see :class:`Arrival`.
        :param stopwatch: has the lap receive, and gets all further ones up to publish.
        :return: the number of faces.
        :raises ImageError: the message is malformed.
        """

    def follow_up(self) -> None:
        """What is left to do for the message once its results and latency are published, by the worker's thread."""

    def receive(self, message: Any) -> None:
        """Keep a message for the worker."""
        self.statistics.count("received")
        arrived_s, now_ns, stamp = time.perf_counter(), self.get_clock().now().nanoseconds, message.header.stamp
        taken_s = self._stamps.taken_s(stamp, now_ns) or arrived_s
        if self._slot.put(Arrival(message, arrived_s, conversions.age_ms(now_ns, stamp), taken_s)):
            self.statistics.count("dropped")

    def reject(self, reason: str) -> None:
        """Count what arrived and is no message."""
        self.statistics.count("received")
        self._skip(reason)

    def _skip(self, reason: str) -> None:
        """Count a malformed message and say why."""
        self.statistics.count("rejected")
        self._refused = reason.strip().rpartition("\n")[2]  # of a traceback the error
        self.log_skipped(self.statistics.total("rejected"), reason)

    def _work(self, slot: LatestSlot[Arrival]) -> None:
        while (arrival := slot.take()) is not None:
            try:
                self._process(arrival)
            except ImageError as error:
                self._skip(str(error))
            except Exception:  # a node never dies from a message
                if self.context.ok():  # else it is the end that interrupted the work
                    self._skip(traceback.format_exc())

    def _process(self, arrival: Arrival) -> None:
        stopwatch = Stopwatch(arrival.arrived_s)
        stopwatch.lap("receive")
        header = conversions.header_of(arrival.message)
        faces = self.process(arrival, header, arrival.taken_s, stopwatch)
        durations_ms = {
            "age_at_receipt": arrival.age_ms,
            "age_at_publication": conversions.age_ms(self.get_clock().now().nanoseconds, header.stamp),
            **stopwatch.stages_ms,
            "total": stopwatch.total_ms,
        }
        self.statistics.processed(durations_ms)
        self._refused = ""
        dropped, rejected = self.statistics.total("dropped"), self.statistics.total("rejected")
        self._latency.publish(conversions.latency_message(header, durations_ms, faces, dropped, rejected))
        self.follow_up()

    def tick(self) -> None:
        """Summarise the last second."""
        energy_j = self._power.energy_j()
        used_j, self._energy_j = energy_j - self._energy_j, energy_j
        self._summary = self.statistics.take_window()
        self._stamps.end_window()
        stamp, publishers = self.get_clock().now().to_msg(), self.count_publishers(self._input.topic)
        self._latency_statistics.publish(
            conversions.statistics_message(stamp, publishers, self._summary, self._power.sensor, used_j)
        )

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """What is wrong with the input, or with the last second."""
        summary = self._summary
        if summary is None:
            return OK, "starting", {}
        age = summary.stages.get("age_at_publication")
        values = {
            "topic": self._input.topic,
            "fps_in": f"{summary.fps_in:.1f}",
            "fps_out": f"{summary.fps_out:.1f}",
            "dropped": str(self.statistics.total("dropped")),
            "rejected": str(self.statistics.total("rejected")),
            "age_p50_ms": f"{age.p50:.1f}" if age else "nan",
            "age_p99_ms": f"{age.p99:.1f}" if age else "nan",
            "power_sensor": self._power.sensor or f"not measured: {self._power.reason}",
        }
        if problem := self._input.problem():
            self.get_logger().warning(problem, throttle_duration_sec=LOG_PERIOD_S)
            return ERROR, problem, values
        if refused := self._refused:
            return ERROR, f"messages are refused: {refused}", values
        if summary.rejected:
            return WARN, f"{summary.rejected} messages were refused in the last second: see the log", values
        if summary.dropped > summary.received / 2:
            message = (
                f"{summary.dropped} of {summary.received} messages in the last second came before the previous one was "
                "processed: slow the camera down, or choose a faster model or face_mode keypoints"
            )
            return WARN, message, values
        for problem in (self._input.conflict(), self._stamps.problem()):
            if problem:
                self.get_logger().warning(problem, throttle_duration_sec=LOG_PERIOD_S)
                return WARN, problem, values
        return OK, f"{summary.fps_out:.0f} results a second", values
