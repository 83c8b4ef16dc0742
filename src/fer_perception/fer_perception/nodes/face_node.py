"""``face_node``: the first half of the pipeline, from images to faces with aligned crops."""

from __future__ import annotations

from fer_msgs.msg import FaceArray
from std_msgs.msg import Header

from fer_perception.images.messages import image_from_message
from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import NAMESPACE, run_node
from fer_perception.nodes.base.stream_node import Arrival, StreamNode
from fer_perception.nodes.base.subscription import Input, image_input
from fer_perception.nodes.outputs.landmarks import LandmarksTopic
from fer_perception.nodes.outputs.positions import FacePositions
from fer_perception.pipeline import FacePipeline
from fer_perception.privacy import published
from fer_perception.settings import FaceNodeSettings
from fer_perception.telemetry.timing import Stopwatch


class FaceNode(StreamNode):
    """Subscribes to ``image``; publishes ``faces``, with crops where ``privacy`` is off, and while somebody subscribes
    ``landmarks``.
    """

    settings_type = FaceNodeSettings
    settings: FaceNodeSettings
    latency_topic = "face_latency"

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("face_node", namespace)

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        super().configure()
        self._sensor = SensorRange(self.settings.image_bits)
        self._pipeline = FacePipeline.from_settings(self.settings)
        self.at_cleanup(self._pipeline.close)
        self._faces = self.publisher(FaceArray, "faces")
        self._landmarks = LandmarksTopic(self, self.settings.privacy)
        self._positions = FacePositions(self, self.settings, self._pipeline)
        crops = "with" if self.settings.privacy == "off" else "without"
        self.get_logger().info(f"privacy {self.settings.privacy}: faces are published {crops} their pixels")

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

    def process(self, arrival: Arrival, header: Header, stamp_s: float, stopwatch: Stopwatch) -> int:
        """See :meth:`StreamNode.process`."""
        image = image_from_message(arrival.message, self._sensor)
        stopwatch.lap("decode")
        privacy = self.settings.privacy
        meshes = self._landmarks.always(self.settings)
        found = self._pipeline.process(image, stamp_s, stopwatch, meshes)
        disclosed = published(found, privacy, image.shape[1], image.shape[0])
        crops_for = self._pipeline.manifest if privacy == "off" else None
        self._faces.publish(conversions.face_array_message(header, image, disclosed, meshes, crops_for))
        self._positions.publish(header, image, disclosed)
        self._landmarks.offer(self.settings, stamp_s, header, image, disclosed)
        stopwatch.lap("publish")
        return len(found.faces)

    def follow_up(self) -> None:
        """See :meth:`StreamNode.follow_up`."""
        self._landmarks.publish(self.settings, self._pipeline)


def main() -> None:
    """Run the node."""
    run_node(FaceNode)
