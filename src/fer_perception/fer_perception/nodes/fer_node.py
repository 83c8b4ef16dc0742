"""``fer_node``: the whole pipeline in one process, from images to faces, emotions and latencies."""

from __future__ import annotations

from collections.abc import Mapping

from fer_msgs.msg import EmotionArray, FaceArray
from std_msgs.msg import Header

from fer_perception.images.messages import image_from_message
from fer_perception.nodes.base import conversions, parameters, parts
from fer_perception.nodes.base.attention_topic import AttentionTopic
from fer_perception.nodes.base.managed_node import NAMESPACE, run_node
from fer_perception.nodes.base.stream_node import Arrival, StreamNode
from fer_perception.nodes.base.subscription import Input, image_input
from fer_perception.privacy import published
from fer_perception.telemetry.timing import Stopwatch


class FerNode(StreamNode):
    """Subscribes to ``image``; publishes ``emotions``, and while somebody subscribes ``faces``, ``landmarks``,
    ``attention``.
    """

    parameters = (
        *parameters.ENGINE_PARAMETERS,
        *parameters.FACE_PARAMETERS,
        parameters.SMOOTHING_S,
        *parameters.GATE_PARAMETERS,
        parameters.PRIVACY,
        *parameters.AUDIT_PARAMETERS,
        *parameters.IMAGE_PARAMETERS,
    )

    def __init__(self, namespace: str = NAMESPACE, remappings: Mapping[str, str] | None = None) -> None:
        super().__init__("fer_node", namespace, remappings)

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        super().configure()
        self._emotion_pipeline = parts.load_emotion_pipeline(self.values)
        self.at_cleanup(lambda: parts.close_emotion_pipeline(self._emotion_pipeline))
        self._face_pipeline = parts.load_face_pipeline(self.values)
        self.at_cleanup(self._face_pipeline.close)
        self._emotions = self.publisher(EmotionArray, "emotions")
        self._faces = self.publisher(FaceArray, "faces")
        self._landmarks = self.publisher(FaceArray, "landmarks") if self.values["privacy"] != "strict" else None
        classifier = self._emotion_pipeline.classifier
        self._attention = AttentionTopic(self, classifier.bundle)
        self._audit = parts.open_audit_trail(self.values, self.get_fully_qualified_name(), classifier)
        if self._audit:
            self.at_cleanup(self._audit.close)
        self.get_logger().info(f"model {classifier.model_id}, {classifier.engine_name}")

    def subscribe(self) -> Input:
        """See :meth:`StreamNode.subscribe`."""
        return image_input(self, self.values, self.receive, self.reject, own_thread=True)

    def changed(self) -> None:
        """See :meth:`ManagedNode.changed`."""
        parts.update_face_pipeline(self._face_pipeline, self.values)
        parts.update_emotion_pipeline(self._emotion_pipeline, self.values)
        if self._audit:
            self._audit.context(self._emotion_pipeline.classifier, self.values)

    def tick(self) -> None:
        """See :meth:`ManagedNode.tick`."""
        super().tick()
        self._attention.tick()

    def answer(self, arrival: Arrival, header: Header, stamp_s: float, stopwatch: Stopwatch) -> int:
        """See :meth:`StreamNode.answer`."""
        image = image_from_message(arrival.message)
        stopwatch.lap("decode")
        privacy = self.values["privacy"]
        landmarks_wanted = self._landmarks is not None and self._landmarks.get_subscription_count() > 0
        mesh_wanted = self.values["face_mode"] == "mesh" and privacy != "strict"
        found = self._face_pipeline.process(image, stamp_s, stopwatch, landmarks_wanted or mesh_wanted)
        emotions = self._emotion_pipeline.process(found, stamp_s, stopwatch)
        told = published(found, privacy, image.shape[1], image.shape[0])
        classifier, regions = self._emotion_pipeline.classifier, [conversions.region(face.box) for face in told.faces]
        self._emotions.publish(
            conversions.emotion_array_message(
                header, classifier.labels, classifier.model_id, told.track_ids, regions, emotions
            )
        )
        if self._landmarks is not None and landmarks_wanted:
            self._landmarks.publish(conversions.face_array_message(header, image, told))
        if self._faces.get_subscription_count():
            self._faces.publish(conversions.face_array_message(header, image, told, mesh=mesh_wanted))
        self._attention.publish(header, found, regions, emotions)
        stopwatch.lap("publish")
        if self._audit:
            self._audit.decided(stamp_s, found.track_ids, emotions, stopwatch.total_ms)
        return len(found.faces)


def main() -> None:
    """Run the node."""
    run_node(FerNode)
