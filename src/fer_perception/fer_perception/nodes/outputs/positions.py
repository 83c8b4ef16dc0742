"""The camera's calibration, by which faces get a position, and the frames of faces."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from fer_perception.errors import FerError
from fer_perception.faces.finder import WITHOUT_DETECTOR
from fer_perception.faces.head_pose import Camera
from fer_perception.images.visibility import FLAW_REMEDIES
from fer_perception.models.shipped import BLAZEFACE
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import LOG_PERIOD_S, OK, WARN, ManagedNode
from fer_perception.pipeline import FacePipeline, Faces
from fer_perception.settings import FaceNodeSettings, FerNodeSettings
from fer_perception.types import UInt8Image

# Any publisher serves: its newest message counts.
CAMERA_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
TF_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE)


class FacePositions:
    """Gives a face stage its camera and publishes ``/tf`` if that is asked for. Nothing of it with privacy strict.

    Made in the transition configure.

    :raises FerError: frames are asked for and tf2_msgs is not installed.
    """

    def __init__(self, node: ManagedNode, settings: FaceNodeSettings | FerNodeSettings, pipeline: FacePipeline) -> None:
        self._node, self._settings, self._pipeline = node, settings, pipeline
        self._known: tuple[object, ...] = ()
        self.status = "none: privacy is strict"
        self._frames = None
        if settings.publish_tf and settings.privacy != "strict":
            self._messages = _tf_messages()
            self._frames = node.publisher(self._messages.TFMessage, "/tf", TF_QOS)

    def subscribe(self, image_topic: str) -> None:
        """Listen to the calibration until the transition deactivate.

        :param image_topic: beside which it is looked for, unless the settings name another.
        """
        if self._settings.privacy == "strict":
            return
        self._known, self._pipeline.camera = (), None
        beside = image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
        topic = self._node.resolve_topic_name(self._settings.camera_info or beside)
        self.status = f"none: nothing on {topic} yet"
        subscription = self._node.create_subscription(CameraInfo, topic, self._arrive, CAMERA_QOS)
        self._node.at_deactivate(lambda: self._node.destroy_subscription(subscription))

    def diagnosed(self, level: bytes, message: str, values: dict[str, str]) -> tuple[bytes, str, dict[str, str]]:
        """A node's diagnostics, with what there is to say of camera and detector."""
        values = values | {"positions": self.status}
        if level != OK:
            return level, message, values
        if flaw := self._pipeline.flaw:
            problem = f"the images are {flaw} and show no face: {FLAW_REMEDIES[flaw]}"
            self._node.get_logger().warning(problem, throttle_duration_sec=LOG_PERIOD_S)
            return WARN, problem, values
        if (better := self._pipeline.better_rotation) is not None:
            return WARN, f"faces are turned in the image: set image_rotation to {better}", values
        if not self._pipeline.finder.sees_far and self._settings.detector_model != BLAZEFACE:
            return WARN, WITHOUT_DETECTOR, values
        return level, message, values

    def publish(self, header: Header, image: UInt8Image, faces: Faces) -> None:
        """Publish the frames of an image's faces, where they are asked for."""
        if camera := self._pipeline.camera:
            height, width = image.shape[:2]
            size = f"camera_info of {camera.width} x {camera.height} pixels"
            self.status = f"by {size}" if camera.fits(image) else f"none: {size}, and the image has {width} x {height}"
        if self._frames and (transforms := conversions.face_transforms(header, faces)):
            self._frames.publish(self._messages.TFMessage(transforms=transforms))

    def _arrive(self, message: CameraInfo) -> None:
        facts = (tuple(message.k), tuple(message.d), message.distortion_model, message.width, message.height)
        if facts == self._known:
            return
        self._known = facts
        try:
            matrix, distortion, model, width, height = facts
            camera = Camera(matrix, distortion, model, width, height)
            self.status = "none: no image since camera_info came"
            self._pipeline.camera = camera
        except FerError as error:
            self._pipeline.camera = None
            self.status = f"none: {error}"
            self._node.get_logger().warning(f"faces get no position: {error}", throttle_duration_sec=LOG_PERIOD_S)


def _tf_messages() -> Any:
    try:
        return import_module("tf2_msgs.msg")
    except ImportError as error:
        raise FerError(
            f"publish_tf needs tf2_msgs, which is not installed ({error}): sudo apt install ros-$ROS_DISTRO-tf2-msgs"
        ) from error
