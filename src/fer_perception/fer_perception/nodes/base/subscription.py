"""A subscription that knows why nothing arrives."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from difflib import SequenceMatcher
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image

from fer_perception.nodes.base.conflicts import KILLED, others_seen, publishers_of
from fer_perception.nodes.base.executor_thread import GroupThread, OwnThreadGroup
from fer_perception.settings import ImageSettings

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
# Where a topic is of the other of these types than the one that is wanted.
IMAGE_REMEDIES = {
    IMAGE: ": set image_transport to compressed, or remap image to a raw topic",
    COMPRESSED: ": set image_transport to raw, or remap image to a topic whose name ends in /compressed",
}
# So many topics are named where none is published on the wanted one.
MOST_NAMED = 8

RELIABILITIES = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}


class Input:
    """Subscribes to a topic; hands on messages, and what could not be read as one.

    :param receive: gets each message.
    :param reject: gets the reason where bytes are no message.
    :param timeout_s: without a message for so long, :meth:`problem` says so.
    :param deserialize: makes a message of its bytes; None: rclpy does.
    :param own_thread: receive in a thread of its own, not in that of the node's executor.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        qos: QoSProfile,
        receive: Callable[[Any], None],
        reject: Callable[[str], None],
        timeout_s: float,
        deserialize: Callable[[bytes], Any] | None = None,
        own_thread: bool = False,
    ) -> None:
        self._node, self._receive, self._reject = node, receive, reject
        self._timeout_s, self._deserialize = timeout_s, deserialize
        self._is_reliable = qos.reliability == ReliabilityPolicy.RELIABLE
        self._arrived_s = time.monotonic()
        self.topic: str = node.resolve_topic_name(topic)
        self._type = type_name(message_type)
        group = OwnThreadGroup() if own_thread else None
        self._subscription = node.create_subscription(
            message_type,
            self.topic,
            self._arrive,
            qos,
            callback_group=group,
            raw=deserialize is not None,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
        )
        self._thread = GroupThread(node, group) if group else None

    def close(self) -> None:
        """Unsubscribe."""
        if self._thread:
            self._thread.close()
        self._node.destroy_subscription(self._subscription)

    def problem(self) -> str:
        """Why nothing arrives and what to do; empty while messages arrive."""
        silent_s = time.monotonic() - self._arrived_s
        if silent_s < self._timeout_s:
            return ""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        types = {publisher.topic_type for publisher in publishers}
        if not types:
            return f"nothing publishes on {self.topic} since {silent_s:.0f} s: {self._where_it_may_be()}"
        if self._type not in types:
            remedy = IMAGE_REMEDIES.get(self._type, "") if types & IMAGE_REMEDIES.keys() else self._other_type()
            return f"{self.topic} is {', '.join(sorted(types))}, not {self._type}{remedy}"
        offered = {publisher.qos_profile.reliability for publisher in publishers if publisher.topic_type == self._type}
        if self._is_reliable and offered == {ReliabilityPolicy.BEST_EFFORT}:
            return self._quality_hint()
        names = publishers_of(self._node, self.topic, self._type)
        return (
            f"no message on {self.topic} for {silent_s:.0f} s, though {', '.join(names)} {_publish(names)} there: is "
            "it active, and does it get images? Are both started with the same DDS profile?"
        )

    def conflict(self) -> str:
        """Who publishes there beside another, and what to do; empty where one does."""
        names = publishers_of(self._node, self.topic, self._type)
        if len(names) < 2:
            return ""
        return (
            f"{', '.join(names)} {_publish(names)} on {self.topic}: their messages are mixed. Stop all but one, or "
            f"remap them. {KILLED}"
        )

    def _where_it_may_be(self) -> str:
        if not others_seen(self._node):
            domain = self._node.context.get_domain_id()
            return (
                f"no other node is seen in ROS domain {domain}. Are the others started, with the same ROS_DOMAIN_ID, "
                "and do ROS_AUTOMATIC_DISCOVERY_RANGE and ROS_LOCALHOST_ONLY let them be seen?"
            )
        kinds = IMAGE_REMEDIES if self._type in IMAGE_REMEDIES else (self._type,)
        own = (self.topic, self._node.resolve_topic_name("overlay"))  # what overlay_node draws is no camera's image
        found = {
            topic: name
            for topic, names in self._node.get_topic_names_and_types()
            for name in names
            if name in kinds and topic not in own and self._node.count_publishers(topic)
        }
        if not found:
            return "start what publishes it, or remap it. No such topic is published"
        if other := next((topic for topic in self._in_the_other_transport() if topic in found), ""):
            return f"{other} is {found[other]}{IMAGE_REMEDIES[self._type]}"
        alike = sorted(found, key=lambda topic: SequenceMatcher(None, topic, self.topic).ratio(), reverse=True)
        shown = ", ".join(f"{topic} ({found[topic].rpartition('/')[2]})" for topic in alike[:MOST_NAMED])
        return f"start what publishes it, or remap it. Published are {shown}"

    def _in_the_other_transport(self) -> list[str]:
        if self._type == IMAGE:
            return [f"{self.topic}/compressed"]
        return [self.topic.removesuffix("/compressed")] if self._type == COMPRESSED else []

    def _other_type(self) -> str:
        if self._type not in IMAGE_REMEDIES:
            return ""
        return ": remap image to a topic of that type, or decode it by ros2 run image_transport republish"

    def _arrive(self, message: Any) -> None:
        self._arrived_s = time.monotonic()
        if self._deserialize:
            try:
                message = self._deserialize(message)
            except Exception as error:
                self._reject(f"{len(message)} bytes are no message of {self.topic} ({error})")
                return
        try:
            self._receive(message)
        except Exception:  # a node never dies from a message
            self._reject(traceback.format_exc())

    def _on_incompatible(self, _: Any) -> None:
        self._node.get_logger().error(self._quality_hint())

    def _quality_hint(self) -> str:
        remedy = "Set image_reliability to best_effort" if self._type in IMAGE_REMEDIES else "Make it reliable"
        return (
            f"nothing arrives from a publisher of {self.topic}, whose quality of service does not fit: it offers best "
            f"effort where reliable was asked. {remedy}"
        )


def _publish(names: list[str]) -> str:
    return "publishes" if len(names) == 1 else "publish"


def transport_topic(topic: str, compressed: bool) -> str:
    """Where the images of a topic are, named as image_transport names it: compressed ones in TOPIC/compressed."""
    return f"{topic}/compressed" if compressed and not topic.endswith("/compressed") else topic


def type_name(message_type: type) -> str:
    """Of sensor_msgs.msg.Image: sensor_msgs/msg/Image."""
    return f"{message_type.__module__.partition('.')[0]}/msg/{message_type.__name__}"


def image_input(
    node: Node,
    settings: ImageSettings,
    receive: Callable[[Any], None],
    reject: Callable[[str], None],
    own_thread: bool = False,
) -> Input:
    """The input ``image`` by a node's image settings.

    Messages are read by rosbags, as views on the bytes: rclpy would copy the pixels twice more.
    """
    compressed = settings.image_transport == "compressed"
    message_type = CompressedImage if compressed else Image
    topic = transport_topic(node.resolve_topic_name("image"), compressed)
    typestore, name = get_typestore(Stores.LATEST), type_name(message_type)
    qos = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=settings.image_depth,
        reliability=RELIABILITIES[settings.image_reliability],
    )
    return Input(
        node,
        message_type,
        topic,
        qos,
        receive,
        reject,
        settings.image_timeout_s,
        lambda serialized: typestore.deserialize_cdr(serialized, name),
        own_thread,
    )
