"""The topic ``detections`` of ``fer_node`` and ``emotion_node``: the results for software that knows vision_msgs."""

from __future__ import annotations

from importlib import import_module

from fer_msgs.msg import EmotionArray

from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import ManagedNode
from fer_perception.nodes.outputs.optional_topic import OptionalTopic

TOPIC = "detections"


class DetectionsTopic(OptionalTopic):
    """Publishes what ``emotions`` tells, and no more, while somebody subscribes and where vision_msgs is installed.

    Made in the transition configure.
    """

    def __init__(self, node: ManagedNode) -> None:
        super().__init__(node, TOPIC)
        try:
            self._messages = import_module("vision_msgs.msg")
        except ImportError as error:
            self._publisher = None
            self.why_not = (
                f"vision_msgs is not installed ({error}): sudo apt install ros-$ROS_DISTRO-vision-msgs, then start the "
                "node again"
            )
            return
        self._publisher = node.publisher(self._messages.Detection2DArray, TOPIC)

    def publish(self, emotions: EmotionArray) -> None:
        """Publish the emotions of an image, if somebody subscribes."""
        if self._publisher is not None and self._publisher.get_subscription_count():
            self._publisher.publish(conversions.detection_array_message(self._messages, emotions))
