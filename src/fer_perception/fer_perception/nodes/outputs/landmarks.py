"""The topic ``landmarks`` of ``fer_node`` and ``face_node``."""

from __future__ import annotations

from fer_msgs.msg import FaceArray
from std_msgs.msg import Header

from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import ManagedNode
from fer_perception.pipeline import FacePipeline, Faces
from fer_perception.settings import FaceNodeSettings, FerNodeSettings
from fer_perception.telemetry.timing import RateLimit
from fer_perception.types import UInt8Image


class LandmarksTopic:
    """Publishes faces with meshes while somebody subscribes.

    A mesh takes longer than all other stages together. So ``landmarks`` has a rate of its own, and meshes are fitted
    after all else of the image was published. With ``face_mode`` mesh every image has meshes from the start, also in
    ``faces``. Privacy strict publishes none. Made in the transition configure, and freed by cleanup.
    """

    def __init__(self, node: ManagedNode, privacy: str) -> None:
        self._publisher = None if privacy == "strict" else node.publisher(FaceArray, "landmarks")
        self._limit = RateLimit()
        self._due: tuple[Header, UInt8Image, Faces] | None = None

    def always(self, settings: FaceNodeSettings | FerNodeSettings) -> bool:
        """Whether every image has meshes."""
        return self._publisher is not None and settings.face_mode == "mesh"

    def offer(
        self,
        settings: FaceNodeSettings | FerNodeSettings,
        stamp_s: float,
        header: Header,
        image: UInt8Image,
        faces: Faces,
    ) -> None:
        """Keep an image's faces for :meth:`publish` if they are due and somebody reads them."""
        read = self._publisher is not None and self._publisher.get_subscription_count() > 0
        is_due = read and (self.always(settings) or self._limit.allows(stamp_s, settings.landmarks_rate_hz))
        self._due = (header, image, faces) if is_due else None

    def publish(self, settings: FaceNodeSettings | FerNodeSettings, pipeline: FacePipeline) -> None:
        """Publish what was kept."""
        if self._publisher is None or self._due is None:
            return
        (header, image, faces), self._due = self._due, None
        if not self.always(settings):
            faces = pipeline.with_meshes(image, faces)
        self._publisher.publish(conversions.face_array_message(header, image, faces))
