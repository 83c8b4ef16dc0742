"""``emotion_node``: the second half of the pipeline, from faces with aligned crops to emotions."""

from __future__ import annotations

from fer_msgs.msg import EmotionArray, FaceArray
from std_msgs.msg import Header

from fer_perception.nodes.base import conversions, parameters, parts
from fer_perception.nodes.base.attention_topic import AttentionTopic
from fer_perception.nodes.base.managed_node import NAMESPACE, run_node
from fer_perception.nodes.base.qos import RESULT_QOS
from fer_perception.nodes.base.stream_node import Arrival, StreamNode
from fer_perception.nodes.base.subscription import Input
from fer_perception.telemetry.timing import Stopwatch


class EmotionNode(StreamNode):
    """Subscribes to the ``faces`` of a face_node; publishes ``emotions``, and while somebody subscribes
    ``attention``.
    """

    parameters = (
        *parameters.ENGINE_PARAMETERS,
        parameters.MAX_LOST_S,
        parameters.SMOOTHING_S,
        *parameters.GATE_PARAMETERS,
        *parameters.AUDIT_PARAMETERS,
        parameters.IMAGE_TIMEOUT_S,
    )

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("emotion_node", namespace)

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        super().configure()
        self._pipeline = parts.load_emotion_pipeline(self.values)
        self.at_cleanup(lambda: parts.close_emotion_pipeline(self._pipeline))
        self._emotions = self.publisher(EmotionArray, "emotions")
        classifier = self._pipeline.classifier
        self._attention = AttentionTopic(self, classifier.bundle)
        self._audit = parts.open_audit_trail(self.values, self.get_fully_qualified_name(), classifier)
        if self._audit:
            self.at_cleanup(self._audit.close)
        self.get_logger().info(f"model {classifier.model_id}, {classifier.engine_name}")

    def subscribe(self) -> Input:
        """See :meth:`StreamNode.subscribe`."""
        timeout_s = self.values["image_timeout_s"]
        return Input(self, FaceArray, "faces", RESULT_QOS, self.receive, self.reject, timeout_s)

    def changed(self) -> None:
        """See :meth:`ManagedNode.changed`."""
        parts.update_emotion_pipeline(self._pipeline, self.values)
        if self._audit:
            self._audit.context(self._pipeline.classifier, self.values)

    def tick(self) -> None:
        """See :meth:`ManagedNode.tick`."""
        super().tick()
        self._attention.tick()

    def answer(self, arrival: Arrival, header: Header, stamp_s: float, stopwatch: Stopwatch) -> int:
        """See :meth:`StreamNode.answer`."""
        classifier, regions = self._pipeline.classifier, [face.roi for face in arrival.message.faces]
        found = conversions.faces_from_message(arrival.message, classifier.bundle.manifest)
        stopwatch.lap("decode")
        emotions = self._pipeline.process(found, stamp_s, stopwatch)
        self._emotions.publish(
            conversions.emotion_array_message(
                header, classifier.labels, classifier.model_id, found.track_ids, regions, emotions
            )
        )
        self._attention.publish(header, found, regions, emotions)
        stopwatch.lap("publish")
        if self._audit:
            self._audit.decided(stamp_s, found.track_ids, emotions, stopwatch.total_ms)
        return len(found.faces)


def main() -> None:
    """Run the node."""
    run_node(EmotionNode)
