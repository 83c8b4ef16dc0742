"""``hri_expression_node``: expressions of faces that another node, such as hri_face_detect, finds and follows.

It reads ``tracked`` and each face's ``cropped``, and publishes ``expression`` alone, as hri_emotion_recognizer does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rclpy.exceptions import NameValidationException
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from fer_perception.errors import ImageError
from fer_perception.faces.single_face import OneFacePipeline
from fer_perception.images.messages import image_from_message
from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base.managed_node import NAMESPACE, OK, WARN, ManagedNode, run_node
from fer_perception.nodes.base.qos import RESULT_QOS
from fer_perception.nodes.base.stamp_report import StampReport
from fer_perception.nodes.base.subscription import Input
from fer_perception.nodes.hri.messages import FACES, expression_message, hri_messages
from fer_perception.pipeline import EmotionPipeline
from fer_perception.settings import FaceSettings, HriExpressionNodeSettings

# The newest crop of each face: while one is processed, the next replaces those that wait.
CROP_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass(frozen=True)
class _FollowedFace:
    crops: Input
    expressions: Publisher
    stamps: StampReport


class HriExpressionNode(ManagedNode):
    """Subscribes to ``/humans/faces/tracked`` and of each face in it to ``cropped``; publishes its ``expression``.

    A crop shows one face of unknown place: it is found in the crop again, and aligned as the network learnt faces.
    """

    settings_type = HriExpressionNodeSettings
    settings: HriExpressionNodeSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("hri_expression_node", namespace)
        self._followed: dict[str, _FollowedFace] = {}
        self._rejected = 0

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        self._messages = hri_messages()
        self._sensor = SensorRange()
        self._emotions = EmotionPipeline.from_settings(self.settings)
        self.at_cleanup(self._emotions.close)
        self._faces = OneFacePipeline.from_settings(FaceSettings(model=self.settings.model))
        self.at_cleanup(self._faces.close)
        classifier = self._emotions.classifier
        self.get_logger().info(f"model {classifier.model_id}, {classifier.engine_name}")

    def activate(self) -> None:
        """See :meth:`ManagedNode.activate`."""
        self.at_deactivate(lambda: self._follow(set()))
        self._tracked = self._input(self._messages.IdsList, "tracked", RESULT_QOS, self._on_tracked)
        self.at_deactivate(self._tracked.close)
        self.get_logger().info(f"active; waiting for {self._tracked.topic}")

    def changed(self) -> None:
        """See :meth:`ManagedNode.changed`."""
        self._emotions.update(self.settings)

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        values = {"faces": " ".join(self._followed), "rejected": str(self._rejected)}
        for source in (self._tracked, *(face.crops for face in self._followed.values())):
            if problem := source.problem():
                return WARN, problem, values
        for face in self._followed.values():
            if problem := face.stamps.problem():
                return WARN, problem, values
        return OK, f"{len(self._followed)} faces", values

    def tick(self) -> None:
        """See :meth:`ManagedNode.tick`."""
        for face in self._followed.values():
            face.stamps.end_window()

    def _input(self, message_type: type, topic: str, qos: QoSProfile, receive: Callable[[Any], None]) -> Input:
        name = f"{FACES}/{topic}"
        return Input(self, message_type, name, qos, receive, self._reject, self.settings.image_timeout_s)

    def _on_tracked(self, message: Any) -> None:
        self._follow(set(message.ids))

    def _follow(self, track_ids: set[str]) -> None:
        for track_id in self._followed.keys() - track_ids:
            face = self._followed.pop(track_id)
            face.crops.close()
            self.destroy_publisher(face.expressions)
        for track_id in sorted(track_ids - self._followed.keys()):
            try:
                expressions = self.create_publisher(
                    self._messages.Expression, f"{FACES}/{track_id}/expression", RESULT_QOS
                )
            except (ValueError, NameValidationException) as error:
                self._reject(str(error))
                continue
            crops = self._input(Image, f"{track_id}/cropped", CROP_QOS, partial(self._on_crop, track_id))
            self._followed[track_id] = _FollowedFace(crops, expressions, StampReport())

    def _on_crop(self, track_id: str, message: Image) -> None:
        try:
            image = image_from_message(message, self._sensor)
        except ImageError as error:
            self._reject(str(error))
            return
        stamp_s = self._followed[track_id].stamps.taken_s(message.header.stamp, self.get_clock().now().nanoseconds)
        found = replace(self._faces.process(image, stamp_s), track_ids=[track_id])
        emotions = self._emotions.process(found, stamp_s)
        if emotions.refusal(0) is None:
            labels = self._emotions.classifier.labels
            expression = expression_message(self._messages, message.header, emotions.smoothed[0], labels)
            self._followed[track_id].expressions.publish(expression)

    def _reject(self, reason: str) -> None:
        self._rejected += 1
        self.log_skipped(self._rejected, reason)


def main() -> None:
    """Run the node."""
    run_node(HriExpressionNode)
