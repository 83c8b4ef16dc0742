"""The topic ``landmarks`` of ``fer_node`` and ``face_node``."""

from __future__ import annotations

from fer_msgs.msg import FaceArray
from std_msgs.msg import Header

from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import ManagedNode
from fer_perception.pipeline import Faces
from fer_perception.settings import FaceNodeSettings, FerNodeSettings
from fer_perception.telemetry.timing import RateLimit
from fer_perception.types import UInt8Image


class LandmarksTopic:
    """Decides for which images meshes are fitted, and publishes them while somebody subscribes.

    A mesh takes longer than all other stages together, so that ``landmarks`` has a rate of its own. With ``face_mode``
    mesh every image has meshes, also in ``faces``. Privacy strict publishes none. Made in the transition configure, and
    freed by cleanup.
    """

    def __init__(self, node: ManagedNode, privacy: str) -> None:
        self._publisher = None if privacy == "strict" else node.publisher(FaceArray, "landmarks")
        self._limit = RateLimit()
        self._due = False

    def always(self, settings: FaceNodeSettings | FerNodeSettings) -> bool:
        """Whether every image has meshes."""
        return self._publisher is not None and settings.face_mode == "mesh"

    def wanted(self, settings: FaceNodeSettings | FerNodeSettings, stamp_s: float) -> bool:
        """Whether the next image gets meshes."""
        always, read = self.always(settings), self._publisher is not None and self._publisher.get_subscription_count()
        self._due = bool(read) and (always or self._limit.allows(stamp_s, settings.landmarks_rate_hz))
        return always or self._due

    def publish(self, header: Header, image: UInt8Image, faces: Faces) -> None:
        """Publish the faces of the image that :meth:`wanted` was asked for, if it got meshes for this topic."""
        if self._publisher is not None and self._due:
            self._publisher.publish(conversions.face_array_message(header, image, faces))
