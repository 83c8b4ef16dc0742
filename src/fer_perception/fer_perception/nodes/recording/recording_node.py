"""The base of nodes that record what a graph publishes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from fer_perception.nodes.base.managed_node import NAMESPACE
from fer_perception.nodes.base.subscription import type_name
from fer_perception.nodes.recording.recorder import BagRecorder

# A recorder wants every message: longer queues than the nodes have.
RECORD_IMAGES = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
RECORD_RESULTS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


class RecordingNode(Node):
    """Writes serialized messages to a bag, with the time of their receipt by the system's clock.

    :param bag: the bag's folder; it must not exist.
    """

    def __init__(self, name: str, bag: Path) -> None:
        super().__init__(name, namespace=NAMESPACE)
        self._bag = BagRecorder(bag)

    def finish(self) -> None:
        """Complete the bag and leave the graph."""
        self._bag.close()
        self.destroy_node()

    def record(
        self, message_type: type, topic: str, qos: QoSProfile, use: Callable[[Any, float], None] | None = None
    ) -> str:
        """Subscribe, write each message to the bag, and hand it on with its time of receipt in seconds.

        :return: the topic's full name.
        """
        name: str = self.resolve_topic_name(topic)
        self._bag.add_topic(name, type_name(message_type))

        def receive(serialized: bytes, info: dict[str, Any]) -> None:
            received_ns = info["received_timestamp"]
            self._bag.write(name, received_ns, serialized)
            if use is not None:
                use(deserialize_message(serialized, message_type), received_ns * 1e-9)

        self.create_subscription(message_type, topic, receive, qos, raw=True)
        return name
