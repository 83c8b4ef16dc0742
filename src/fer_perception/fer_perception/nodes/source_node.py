"""``source_node``: publishes a camera, video, image or folder as ``image``, at its own pace."""

from __future__ import annotations

import math
import threading
import time

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fer_perception.errors import SourceError
from fer_perception.images.sources import open_source
from fer_perception.nodes.base.conversions import image_message
from fer_perception.nodes.base.managed_node import NAMESPACE, run_node
from fer_perception.nodes.base.player_node import PlayerNode
from fer_perception.nodes.base.qos import IMAGE_QOS
from fer_perception.replay.pace import Pace
from fer_perception.settings import SourceNodeSettings
from fer_perception.types import UInt8Image


class SourceNode(PlayerNode):
    """Publishes ``image``, from the source's beginning whenever it is activated."""

    settings_type = SourceNodeSettings
    settings: SourceNodeSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("source_node", namespace)

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        settings = self.settings
        self._source = open_source(settings.source, settings.fps, settings.still_s, settings.max_side)
        self.source_name = self._source.name
        self.images = self.publisher(Image, "image", IMAGE_QOS)

    def play(self, stopping: threading.Event) -> bool:
        """See :meth:`PlayerNode.play`."""
        max_side, duration_s = self.settings.max_side, self.settings.duration_s
        limit = f"at most {max_side} pixels a side" if max_side else "at full size"
        pace = "its own times, about " if self._source.own_times else ""
        self.get_logger().info(
            f"{self._source.name} on {self.images.topic_name} at {pace}{self._source.fps:.4g} Hz, {limit}"
        )
        end_s = time.monotonic() + duration_s if duration_s else math.inf
        while True:
            sent_before = self.sent
            self._play_once(stopping, end_s)
            if stopping.is_set():
                return False
            if not self.settings.loop or time.monotonic() >= end_s:
                return True
            if self.sent == sent_before:
                raise SourceError(f"{self._source.name}: gives no image")

    def _play_once(self, stopping: threading.Event, end_s: float) -> None:
        pace, shown_ns, step_ns = Pace(0, rate=1.0), 0, round(1e9 / self._source.fps)
        for image, time_s in self._source.timed():
            time_ns = round(time_s * 1e9)
            if not self._source.live and not self._wait(pace, time_ns, stopping):
                return
            if stopping.is_set() or time.monotonic() >= end_s:
                return
            self._publish(image)
            pace.played(time_ns)
            step_ns, shown_ns = time_ns - shown_ns or step_ns, time_ns
        if not self._source.live:  # the last image is shown as long as the one before
            self._wait(pace, shown_ns + step_ns, stopping)

    def _wait(self, pace: Pace, time_ns: int, stopping: threading.Event) -> bool:
        """Until an image is due; false where the node is stopped before."""
        while (wait_s := pace.wait_s(time_ns)) > 0:
            if stopping.wait(wait_s):
                return False
        return True

    def _publish(self, image: UInt8Image) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.settings.frame_id)
        self.images.publish(image_message(header, image))
        self.sent += 1


def main() -> None:
    """Run the node."""
    run_node(SourceNode)
