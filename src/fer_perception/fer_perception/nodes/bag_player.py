"""``bag_player``: publishes a bag's images as ``image``, at the pace of the recording, and ``/clock``.

For nodes with ``use_sim_time``. The images keep their stamps; one that has none gets its time of recording.
"""

from __future__ import annotations

import threading
from pathlib import Path

from builtin_interfaces.msg import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from fer_perception.nodes.base.managed_node import NAMESPACE, run_node
from fer_perception.nodes.base.player_node import PlayerNode
from fer_perception.nodes.base.qos import IMAGE_QOS, RESULT_QOS
from fer_perception.nodes.base.subscription import transport_topic, type_name
from fer_perception.replay.bags import Bag, choose_topic, stamped
from fer_perception.replay.pace import Pace
from fer_perception.settings import BagPlayerSettings

# What ages are measured by is no finer than this.
TICK_S = 0.01
# The clock runs for a while before the first image and after the last.
AROUND_S = 0.5

TYPES = {type_name(kind): kind for kind in (Image, CompressedImage)}


class BagPlayer(PlayerNode):
    """Publishes ``image`` and ``/clock``. *Deactivate* pauses, *activate* goes on, *cleanup* rewinds.

    The clock shows an image's time of recording when the image is published, and never runs ahead of it. ``count``:
    how many images the bag's topic has.
    """

    settings_type = BagPlayerSettings
    settings: BagPlayerSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("bag_player", namespace)
        self.count = 0

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        settings = self.settings
        bag = Bag(Path(settings.bag))
        self.at_cleanup(bag.close)
        topic = choose_topic(bag, [settings.topic] if settings.topic else [])
        self.count = bag.counts[topic]
        start_ns = bag.start_ns + round(settings.start_s * 1e9)
        stop_ns = bag.start_ns + round(settings.end_s * 1e9) if settings.end_s else None
        self._messages = ((time_ns, raw) for _, time_ns, raw in bag.messages([topic], start_ns, stop_ns))
        self._next = next(self._messages, None)
        self._shown_ns = self._next[0] - round(AROUND_S * settings.rate * 1e9) if self._next else start_ns
        self.source_name = f"{bag.path}, {topic}"
        message_type = TYPES[bag.type_of(topic) or ""]
        images = transport_topic(self.resolve_topic_name("image"), message_type is CompressedImage)
        self.images = self.publisher(message_type, images, IMAGE_QOS)
        self._ticks = self.publisher(Clock, "/clock", RESULT_QOS)

    def play(self, stopping: threading.Event) -> bool:
        """See :meth:`PlayerNode.play`."""
        rate = self.settings.rate
        self.get_logger().info(f"{self.source_name} on {self.images.topic_name} at {rate:g} times its pace")
        pace = Pace(self._shown_ns, rate)
        while self._next is not None:
            time_ns, raw = self._next
            if not self._wait(time_ns, pace, stopping):
                return False
            self.images.publish(stamped(raw, time_ns))
            self.sent += 1
            pace.played(time_ns)
            self._next = next(self._messages, None)
        return self._wait(self._shown_ns + round(AROUND_S * rate * 1e9), pace, stopping)

    def _wait(self, time_ns: int, pace: Pace, stopping: threading.Event) -> bool:
        """Run the clock up to a time of the recording; false where the node is stopped before."""
        while (wait_s := pace.wait_s(time_ns)) > 0:
            self._show(min(pace.now_ns(), time_ns))
            if stopping.wait(min(wait_s, TICK_S)):
                return False
        self._show(time_ns)
        return not stopping.is_set()

    def _show(self, time_ns: int) -> None:
        self._shown_ns = time_ns
        seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
        self._ticks.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))


def main() -> None:
    """Run the node."""
    run_node(BagPlayer)
