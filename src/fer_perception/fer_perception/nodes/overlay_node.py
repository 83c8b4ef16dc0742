"""``overlay_node``: draws faces and emotions into the images they belong to."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from fer_msgs.msg import AttentionArray, EmotionArray, FaceArray
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from fer_perception.images.messages import image_from_message
from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import LOG_PERIOD_S, NAMESPACE, OK, WARN, ManagedNode, run_node
from fer_perception.nodes.base.qos import IMAGE_QOS, RESULT_QOS
from fer_perception.nodes.base.subscription import Input, image_input
from fer_perception.nodes.outputs.attention import TOPIC as ATTENTION
from fer_perception.privacy import drawing_ground
from fer_perception.settings import OverlayNodeSettings
from fer_perception.visualization.drawing import draw_attention, draw_results

# So many images wait for their results: one second of a usual camera.
WAITING = 30
NO_STAMP = (0, 0)
POLL_S = 0.2


class OverlayNode(ManagedNode):
    """Publishes ``overlay``; subscribes to ``image``, ``faces``, ``emotions``, and with ``show_attention`` to
    ``attention``, only while somebody looks.

    By ``privacy`` the results are drawn into the image, into the image with blurred faces, or on black.
    """

    settings_type = OverlayNodeSettings
    settings: OverlayNodeSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("overlay_node", namespace)
        # By stamp, and then by what it is: image, faces, emotions and attention arrive in any order.
        self._waiting: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()
        self._input: Input | None = None
        self._results: list[Subscription] = []

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        self._sensor = SensorRange(self.settings.image_bits)
        self._overlay = self.publisher(Image, "overlay", IMAGE_QOS)
        self._drawn: dict[str, type] = {"faces": FaceArray, "emotions": EmotionArray}
        if self.settings.show_attention and self.settings.privacy != "strict":
            self._drawn[ATTENTION] = AttentionArray

    def activate(self) -> None:
        """See :meth:`ManagedNode.activate`."""
        timer = self.create_timer(POLL_S, self._follow_demand, clock=self.steady_clock)
        self.at_deactivate(self._unsubscribe)
        self.at_deactivate(lambda: self.destroy_timer(timer))

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        if self._input is None:
            return OK, "nobody subscribes to the overlay", {}
        problem = self._input.problem()
        return (WARN, problem, {}) if problem else (OK, "drawing", {})

    def _follow_demand(self) -> None:
        wanted = self._overlay.get_subscription_count() > 0
        if wanted and self._input is None:
            self._input = image_input(self, self.settings, partial(self._collect, "image"), self._reject)
            self._results = [
                self.create_subscription(message_type, topic, partial(self._collect, topic), RESULT_QOS)
                for topic, message_type in self._drawn.items()
            ]
        elif not wanted:
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        if self._input is not None:
            self._input.close()
            for subscription in self._results:
                self.destroy_subscription(subscription)
            self._input = None
            self._waiting.clear()

    def _collect(self, part: str, message: Any) -> None:
        key = message.header.stamp.sec, message.header.stamp.nanosec
        if key == NO_STAMP:
            self.get_logger().warning("images without a stamp cannot be matched", throttle_duration_sec=LOG_PERIOD_S)
            return
        parts = self._waiting.setdefault(key, {})
        parts[part] = message
        if self._needed() <= parts.keys():
            del self._waiting[key]
            self._draw(**parts)
        while len(self._waiting) > WAITING:
            self._waiting.popitem(last=False)

    def _needed(self) -> set[str]:
        """What an image is drawn of: without attention where nobody publishes it, as not all models have maps."""
        needed = {"image", *self._drawn}
        if ATTENTION in needed and not self.count_publishers(self.resolve_topic_name(ATTENTION)):
            needed.remove(ATTENTION)
        return needed

    def _draw(
        self, image: Any, faces: FaceArray, emotions: EmotionArray, attention: AttentionArray | None = None
    ) -> None:
        try:
            known = [conversions.face_from_message(face) for face in faces.faces]
            ground = drawing_ground(image_from_message(image, self._sensor), known, self.settings.privacy)
            if attention is not None:
                ground = draw_attention(ground, conversions.attention_from_message(attention))
            canvas = draw_results(
                ground,
                known,
                conversions.probabilities_from_message(emotions),
                emotions.labels,
            )
        except Exception as error:  # a node never dies from a message
            self._reject(str(error))
            return
        self._overlay.publish(conversions.image_message(emotions.header, canvas))

    def _reject(self, reason: str) -> None:
        self.get_logger().error(f"image skipped: {reason}", throttle_duration_sec=LOG_PERIOD_S)


def main() -> None:
    """Run the node."""
    run_node(OverlayNode)
