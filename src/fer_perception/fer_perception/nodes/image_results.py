"""Images and what the pipeline found in them, as they belong together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from fer_msgs.msg import AttentionArray, EmotionArray, FaceArray

from fer_perception.faces.face import Face
from fer_perception.images.messages import image_from_message
from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import LOG_PERIOD_S, ManagedNode
from fer_perception.nodes.base.qos import RESULT_QOS
from fer_perception.nodes.base.subscription import Input, image_input
from fer_perception.nodes.outputs.attention import TOPIC as ATTENTION
from fer_perception.privacy import drawing_ground
from fer_perception.settings import Privacy, ShownSettings
from fer_perception.types import UInt8Image
from fer_perception.visualization.drawing import draw_attention

# So many images wait for their results: one second of a usual camera.
WAITING = 30
NO_STAMP = (0, 0)


class Results(NamedTuple):
    """The messages about one image. ``image``: None where images are not asked for."""

    faces: FaceArray
    emotions: EmotionArray
    image: Any = None
    attention: AttentionArray | None = None

    def known_faces(self) -> list[Face]:
        """The faces."""
        return [conversions.face_from_message(face) for face in self.faces.faces]

    def ground(self, known: list[Face], privacy: Privacy, sensor: SensorRange) -> UInt8Image:
        """The image as it may be shown, with the attention maps, if there are any: uint8, (H, W, 3), RGB.

        :raises ImageError: a message is malformed.
        """
        ground = drawing_ground(image_from_message(self.image, sensor), known, privacy)
        if self.attention is None:
            return ground
        return draw_attention(ground, conversions.attention_from_message(self.attention))


class ImageResults:
    """Subscribes to ``image``, ``faces``, ``emotions``, and with ``show_attention`` to ``attention``; hands on what is
    of the same image, by its stamp, once all of it is there.

    :param images: false: images are not asked for, and ``problem`` is always empty.
    :param reject: gets the reason where bytes are no message.
    """

    def __init__(
        self,
        node: ManagedNode,
        settings: ShownSettings,
        receive: Callable[[Results], None],
        reject: Callable[[str], None],
        images: bool = True,
    ) -> None:
        self._node, self._receive = node, receive
        topics: dict[str, type] = {"faces": FaceArray, "emotions": EmotionArray}
        if settings.show_attention and settings.privacy != "strict":
            topics[ATTENTION] = AttentionArray
        self._parts = {*topics, *(("image",) if images else ())}
        # By stamp, and then by what it is: the messages about an image arrive in any order.
        self._waiting: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()
        self._input: Input | None = None
        if images:
            self._input = image_input(node, settings, partial(self._collect, "image"), reject)
        self._subscriptions = [
            node.create_subscription(message_type, topic, partial(self._collect, topic), RESULT_QOS)
            for topic, message_type in topics.items()
        ]

    def close(self) -> None:
        """Unsubscribe."""
        if self._input is not None:
            self._input.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def problem(self) -> str:
        """Why no image arrives and what to do; empty while images arrive."""
        return self._input.problem() if self._input else ""

    def _collect(self, part: str, message: Any) -> None:
        key = message.header.stamp.sec, message.header.stamp.nanosec
        if key == NO_STAMP:
            self._node.get_logger().warning(
                "images without a stamp cannot be matched", throttle_duration_sec=LOG_PERIOD_S
            )
            return
        parts = self._waiting.setdefault(key, {})
        parts[part] = message
        if self._needed() <= parts.keys():
            del self._waiting[key]
            self._receive(Results(**parts))
        while len(self._waiting) > WAITING:
            self._waiting.popitem(last=False)

    def _needed(self) -> set[str]:
        """What there is of each image: no attention where nobody publishes it, as not all models have maps."""
        if ATTENTION in self._parts and not self._node.count_publishers(self._node.resolve_topic_name(ATTENTION)):
            return self._parts - {ATTENTION}
        return self._parts
