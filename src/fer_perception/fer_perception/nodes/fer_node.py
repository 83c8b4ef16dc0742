"""``fer_node``: the whole pipeline in one process, from images to faces, emotions and latencies."""

from __future__ import annotations

from collections.abc import Mapping

from fer_msgs.msg import EmotionArray, FaceArray
from std_msgs.msg import Header

from fer_perception.images.messages import image_from_message
from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import NAMESPACE, run_node
from fer_perception.nodes.base.stream_node import Arrival, StreamNode
from fer_perception.nodes.base.subscription import Input, image_input
from fer_perception.nodes.outputs.attention import AttentionTopic
from fer_perception.nodes.outputs.decisions import AuditedDecisions
from fer_perception.nodes.outputs.detections import DetectionsTopic
from fer_perception.nodes.outputs.landmarks import LandmarksTopic
from fer_perception.nodes.outputs.positions import FacePositions
from fer_perception.pipeline import Pipeline
from fer_perception.privacy import published
from fer_perception.settings import FerNodeSettings
from fer_perception.telemetry.timing import Stopwatch


class FerNode(StreamNode):
    """Subscribes to ``image``; publishes ``emotions``, and while somebody subscribes ``faces``, ``landmarks``,
    ``attention``, ``detections``.
    """

    settings_type = FerNodeSettings
    settings: FerNodeSettings

    def __init__(self, namespace: str = NAMESPACE, remappings: Mapping[str, str] | None = None) -> None:
        super().__init__("fer_node", namespace, remappings)

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        super().configure()
        self._sensor = SensorRange(self.settings.image_bits)
        self._pipeline = Pipeline.from_settings(self.settings)
        self.at_cleanup(self._pipeline.close)
        self._emotions = self.publisher(EmotionArray, "emotions")
        self._faces = self.publisher(FaceArray, "faces")
        self._landmarks = LandmarksTopic(self, self.settings.privacy)
        self._positions = FacePositions(self, self.settings, self._pipeline.faces)
        classifier = self._pipeline.emotions.classifier
        self._attention = AttentionTopic(self, classifier.bundle, self.settings.threads, self.settings.privacy)
        self._detections = DetectionsTopic(self)
        self._audit = AuditedDecisions(self, self.settings.audit, classifier, self.settings.privacy)
        self.get_logger().info(f"model {classifier.model_id}, {classifier.engine_name}")

    def subscribe(self) -> Input:
        """See :meth:`StreamNode.subscribe`."""
        image = image_input(self, self.settings, self.receive, self.reject, own_thread=True)
        self._positions.subscribe(image.topic)
        return image

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        return self._positions.diagnosed(*super().diagnose())

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
        image = image_from_message(arrival.message, self._sensor)
        stopwatch.lap("decode")
        privacy = self.settings.privacy
        meshes = self._landmarks.always(self.settings)
        found, emotions = self._pipeline.process(image, stamp_s, stopwatch, meshes)
        disclosed = published(found, privacy, image.shape[1], image.shape[0])
        classifier = self._pipeline.emotions.classifier
        regions = [conversions.region(face.box) for face in disclosed.faces]
        message = conversions.emotion_array_message(
            header, classifier.labels, classifier.model_id, disclosed.track_ids, regions, emotions
        )
        self._emotions.publish(message)
        self._detections.publish(message)
        if self._faces.get_subscription_count():
            self._faces.publish(conversions.face_array_message(header, image, disclosed, meshes))
        self._attention.publish(header, found, regions, emotions)
        self._positions.publish(header, image, disclosed)
        self._landmarks.offer(self.settings, stamp_s, header, image, disclosed)
        stopwatch.lap("publish")
        self._audit.decided(stamp_s, found.track_ids, emotions, stopwatch.total_ms)
        return len(found.faces)

    def follow_up(self) -> None:
        """See :meth:`StreamNode.follow_up`."""
        self._landmarks.publish(self.settings, self._pipeline.faces)


def main() -> None:
    """Run the node."""
    run_node(FerNode)
