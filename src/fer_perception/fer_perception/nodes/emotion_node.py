"""``emotion_node``: the second half of the pipeline, from faces with aligned crops to emotions."""

from __future__ import annotations

from fer_msgs.msg import EmotionArray, FaceArray
from std_msgs.msg import Header

from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import NAMESPACE, run_node
from fer_perception.nodes.base.qos import RESULT_QOS
from fer_perception.nodes.base.stream_node import Arrival, StreamNode
from fer_perception.nodes.base.subscription import Input
from fer_perception.nodes.outputs.attention import AttentionTopic
from fer_perception.nodes.outputs.decisions import AuditedDecisions
from fer_perception.nodes.outputs.detections import DetectionsTopic
from fer_perception.pipeline import EmotionPipeline
from fer_perception.settings import EmotionNodeSettings
from fer_perception.telemetry.timing import Stopwatch


class EmotionNode(StreamNode):
    """Subscribes to the ``faces`` of a face_node; publishes ``emotions``, and while somebody subscribes
    ``attention``, ``detections``.
    """

    settings_type = EmotionNodeSettings
    settings: EmotionNodeSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("emotion_node", namespace)

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        super().configure()
        self._pipeline = EmotionPipeline.from_settings(self.settings)
        self.at_cleanup(self._pipeline.close)
        self._emotions = self.publisher(EmotionArray, "emotions")
        classifier = self._pipeline.classifier
        self._attention = AttentionTopic(self, classifier.bundle, self.settings.threads)
        self._detections = DetectionsTopic(self)
        self._audit = AuditedDecisions(self, self.settings.audit, classifier)
        self.get_logger().info(f"model {classifier.model_id}, {classifier.engine_name}")

    def subscribe(self) -> Input:
        """See :meth:`StreamNode.subscribe`."""
        timeout_s = self.settings.image_timeout_s
        return Input(self, FaceArray, "faces", RESULT_QOS, self.receive, self.reject, timeout_s)

    def changed(self) -> None:
        """See :meth:`ManagedNode.changed`."""
        self._pipeline.update(self.settings)
        self._audit.changed()

    def tick(self) -> None:
        """See :meth:`ManagedNode.tick`."""
        super().tick()
        self._attention.tick()
        self._detections.tick()

    def process(self, arrival: Arrival, header: Header, stamp_s: float, stopwatch: Stopwatch) -> int:
        """See :meth:`StreamNode.process`."""
        classifier, regions = self._pipeline.classifier, [face.roi for face in arrival.message.faces]
        found = conversions.faces_from_message(arrival.message, classifier.bundle.manifest)
        stopwatch.lap("decode")
        emotions = self._pipeline.process(found, stamp_s, stopwatch)
        message = conversions.emotion_array_message(
            header, classifier.labels, classifier.model_id, found.track_ids, regions, emotions
        )
        self._emotions.publish(message)
        self._detections.publish(message)
        self._attention.publish(header, found, regions, emotions)
        stopwatch.lap("publish")
        self._audit.decided(stamp_s, found.track_ids, emotions, stopwatch.total_ms)
        return len(found.faces)


def main() -> None:
    """Run the node."""
    run_node(EmotionNode)
