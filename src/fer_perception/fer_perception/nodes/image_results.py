"""Images and what the pipeline found in them, as they belong together."""

from __future__ import annotations

import time
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
REPEATED = "several have one stamp, and cannot be told apart. Have the camera's driver set it"


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

    Where stamps repeat, which image a result is of cannot be told: then neither is handed on, since by ``privacy`` the
    faces of one image are hidden at the places that were found in it.

    :param receive: says by :meth:`shown` or :meth:`refuse` what became of them.
    :param images: false: images are not asked for.
    """

    def __init__(
        self,
        node: ManagedNode,
        settings: ShownSettings,
        receive: Callable[[Results], None],
        images: bool = True,
    ) -> None:
        self._node, self._receive, self._timeout_s = node, receive, settings.image_timeout_s
        self._shown_s, self._reason = time.monotonic(), ""
        topics: dict[str, type] = {"faces": FaceArray, "emotions": EmotionArray}
        if settings.show_attention and settings.privacy != "strict":
            topics[ATTENTION] = AttentionArray
        self._parts = {*topics, *(("image",) if images else ())}
        # By stamp, and then by what it is: the messages about an image arrive in any order.
        self._waiting: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()
        self._finished: OrderedDict[tuple[int, int], None] = OrderedDict()  # stamps of which no more is taken
        self._input: Input | None = None
        if images:
            self._input = image_input(node, settings, partial(self._collect, "image"), self.refuse)
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

    def shown(self) -> None:
        """Results were shown."""
        self._shown_s, self._reason = time.monotonic(), ""

    def refuse(self, reason: str) -> None:
        """Something cannot be shown: log the reason, and tell it in :meth:`problem`."""
        self._reason = f"images are skipped: {reason}"
        self._node.get_logger().error(self._reason, throttle_duration_sec=LOG_PERIOD_S)

    def problem(self) -> str:
        """Why nothing is shown and what to do; empty while something is."""
        silent_s = time.monotonic() - self._shown_s
        if silent_s < self._timeout_s:
            return ""
        if problem := (self._input.problem() if self._input else "") or self._reason:
            return problem
        arrived = {part for parts in [*self._waiting.values()] for part in parts}
        if missing := [self._node.resolve_topic_name(part) for part in sorted(self._needed() - arrived)]:
            return f"nothing is shown for {silent_s:.0f} s: {', '.join(missing)} missing. Is the pipeline active?"
        return f"nothing is shown for {silent_s:.0f} s: results have other stamps than images. Are they of one camera?"

    def _collect(self, part: str, message: Any) -> None:
        key = message.header.stamp.sec, message.header.stamp.nanosec
        if key == NO_STAMP:
            self.refuse("without a stamp they cannot be matched. Have the camera's driver set it")
            return
        if key in self._finished:
            if part == "image":
                self.refuse(REPEATED)
            return
        parts = self._waiting.setdefault(key, {})
        if part in parts:
            self._finish(key)
            self.refuse(REPEATED)
            return
        parts[part] = message
        if self._needed() <= parts.keys():
            self._finish(key)
            self._receive(Results(**parts))
        while len(self._waiting) > WAITING:
            self._waiting.popitem(last=False)

    def _finish(self, key: tuple[int, int]) -> None:
        del self._waiting[key]
        self._finished[key] = None
        while len(self._finished) > WAITING:
            self._finished.popitem(last=False)

    def _needed(self) -> set[str]:
        """What there is of each image: no attention where nobody publishes it, as not all models have maps."""
        if ATTENTION in self._parts and not self._node.count_publishers(self._node.resolve_topic_name(ATTENTION)):
            return self._parts - {ATTENTION}
        return self._parts
