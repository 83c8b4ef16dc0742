"""Load for a running pipeline: images from memory at a given rate, and what came back when."""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from fer_msgs.msg import EmotionArray, Latency, LatencyStatistics
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fer_perception.errors import FerError
from fer_perception.evaluation.results import rounded
from fer_perception.evaluation.speed import RateResult
from fer_perception.nodes.base.conversions import image_message
from fer_perception.nodes.base.executor_thread import ExecutorThread
from fer_perception.nodes.base.managed_node import NAMESPACE
from fer_perception.nodes.base.qos import IMAGE_QOS, RESULT_QOS
from fer_perception.telemetry.timing import STAGES, percentiles
from fer_perception.types import UInt8Image

# Where a serialized Image holds its stamp: after the four bytes of the CDR header.
STAMP = struct.Struct("<iI")
STAMP_OFFSET = 4
DISCOVERY_TIMEOUT_S = 60.0
DRAIN_S = 0.5
START_HZ = 30.0
START_TIMEOUT_S = 1200.0  # TensorRT may build engines first


@dataclass
class Run:
    """One run at one rate. Times in milliseconds; end to end is from before the image's publication to the arrival of
    its EmotionArray in this process. ``stages_ms``: the node's own figures, by stage, one value an image; ``faces``:
    their numbers.
    """

    sent: int
    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    intervals_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    faces: list[int] = field(default_factory=list)

    @property
    def received(self) -> int:
        """Number of images whose EmotionArray arrived."""
        return len(self.latencies_ms)

    @property
    def loss(self) -> float:
        """Fraction of images without one."""
        return 1 - self.received / self.sent

    @property
    def p99_ms(self) -> float:
        """End to end; NaN where nothing arrived."""
        return percentiles(self.latencies_ms).p99

    def result(self) -> RateResult:
        """Counts, percentiles and jitter."""
        latencies = percentiles(self.latencies_ms)._asdict()
        jitter_ms = float(np.std(self.intervals_ms)) if self.intervals_ms else float("nan")
        return RateResult(
            sent=self.sent,
            received=self.received,
            **{f"{name}_ms": rounded(value) for name, value in latencies.items()},
            jitter_ms=rounded(jitter_ms),
        )


class LoadNode(Node):
    """Publishes ``image`` and subscribes to ``emotions``, as a robot's camera and behaviour would."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("load", namespace=namespace, start_parameter_services=False, enable_rosout=False)
        self._images = self.create_publisher(Image, "image", IMAGE_QOS)
        self._arrived: dict[int, float] = {}
        self._stages: dict[str, list[float]] = defaultdict(list)
        self._faces: list[int] = []
        self._found = False
        self.create_subscription(EmotionArray, "emotions", self._on_emotions, RESULT_QOS)
        self.create_subscription(Latency, "latency", self._on_latency, RESULT_QOS)
        self.create_subscription(LatencyStatistics, "latency_statistics", self._on_statistics, RESULT_QOS)
        self._executor_thread = ExecutorThread(self)

    def close(self) -> None:
        """Leave the graph."""
        self._executor_thread.close()
        self.destroy_node()

    def await_pipeline(self) -> None:
        """Wait until pipeline and load have found each other, in both directions.

        :raises FerError: they do not.
        """
        deadline_s = time.monotonic() + DISCOVERY_TIMEOUT_S
        while not (self._found and self._images.get_subscription_count() and self.count_publishers("emotions")):
            if time.monotonic() > deadline_s:
                raise FerError(f"the pipeline did not appear within {DISCOVERY_TIMEOUT_S:g} s: read its messages above")
            time.sleep(0.05)

    def first_prediction_s(self, image: bytearray) -> float:
        """Publish a serialized image until a prediction arrives; when that was, by :func:`time.perf_counter`.

        :raises FerError: none arrives.
        """
        self._arrived.clear()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._arrived:
            if time.monotonic() > deadline_s:
                raise FerError(
                    f"no prediction arrived within {START_TIMEOUT_S:g} s: read the pipeline's messages above"
                )
            STAMP.pack_into(image, STAMP_OFFSET, *divmod(time.time_ns(), 1_000_000_000))
            self._images.publish(bytes(image))
            time.sleep(1 / START_HZ)
        return min(self._arrived.values())

    def play(self, images: list[bytearray], hz: float, seconds: float) -> Run:
        """Publish serialized images in turn at a rate; see :func:`serialize`."""
        self._arrived.clear()
        self._stages, self._faces = defaultdict(list), []
        sent: dict[int, float] = {}
        count = max(2, round(hz * seconds))
        begin_s = due_s = time.perf_counter()
        for index in range(count):
            while (wait_s := due_s - time.perf_counter()) > 0:
                time.sleep(wait_s)
            image = images[index % len(images)]
            stamp_ns = time.time_ns()
            STAMP.pack_into(image, STAMP_OFFSET, *divmod(stamp_ns, 1_000_000_000))
            message = bytes(image)
            sent[stamp_ns] = time.perf_counter()
            self._images.publish(message)
            due_s = max(due_s + 1 / hz, sent[stamp_ns])  # as a camera: what is late is not caught up by a burst
        seconds = time.perf_counter() - begin_s
        time.sleep(DRAIN_S)
        arrivals = {stamp: self._arrived[stamp] for stamp in sent if stamp in self._arrived}
        times_ms = np.asarray(list(arrivals.values())) * 1000
        return Run(
            count,
            seconds,
            [(arrived_s - sent[stamp]) * 1000 for stamp, arrived_s in arrivals.items()],
            [float(interval) for interval in np.diff(times_ms)],
            dict(self._stages),
            self._faces,
        )

    def _on_emotions(self, message: EmotionArray) -> None:
        stamp = message.header.stamp
        self._arrived[stamp.sec * 1_000_000_000 + stamp.nanosec] = time.perf_counter()

    def _on_latency(self, message: Latency) -> None:
        self._faces.append(message.faces)
        for stage in (*STAGES, "age_at_publication"):
            self._stages[stage].append(getattr(message, f"{stage}_ms"))

    def _on_statistics(self, message: LatencyStatistics) -> None:
        self._found = message.publishers > 0


def serialize(image: UInt8Image) -> bytearray:
    """An RGB image as a serialized message whose stamp can be written in place."""
    return bytearray(serialize_message(image_message(Header(frame_id="camera_optical_frame"), image)))
