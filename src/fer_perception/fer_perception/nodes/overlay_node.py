"""``overlay_node``: draws faces and emotions into the images they belong to."""

from __future__ import annotations

from collections import OrderedDict

from builtin_interfaces.msg import Time
from fer_msgs.msg import EmotionArray, FaceArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from fer_perception.drawing import draw_results
from fer_perception.nodes import conversions
from fer_perception.nodes.common import NAMESPACE, run_node
from fer_perception.nodes.qos import IMAGE_QOS, RESULT_QOS

# So many images wait for their answer: one second of a usual camera.
WAITING = 30
NO_STAMP = (0, 0)


class OverlayNode(Node):
    """Subscribes to ``image``, ``faces`` and ``emotions``; publishes ``overlay`` while somebody subscribes to it."""

    def __init__(self) -> None:
        super().__init__("overlay_node", namespace=NAMESPACE)
        self._images: OrderedDict[tuple[int, int], Image] = OrderedDict()
        self._faces: OrderedDict[tuple[int, int], FaceArray] = OrderedDict()
        self._overlay = self.create_publisher(Image, "overlay", IMAGE_QOS)
        self.create_subscription(Image, "image", lambda message: self._remember(self._images, message), IMAGE_QOS)
        self.create_subscription(FaceArray, "faces", lambda message: self._remember(self._faces, message), RESULT_QOS)
        self.create_subscription(EmotionArray, "emotions", self._draw, RESULT_QOS)

    def _remember(self, waiting: OrderedDict, message: Image | FaceArray) -> None:
        key = _key(message.header.stamp)
        if key == NO_STAMP:
            self.get_logger().warning("images without a stamp cannot be matched", throttle_duration_sec=5.0)
            return
        waiting[key] = message
        while len(waiting) > WAITING:
            waiting.popitem(last=False)

    def _draw(self, message: EmotionArray) -> None:
        key = _key(message.header.stamp)
        image, faces = self._images.pop(key, None), self._faces.pop(key, None)
        if not self._overlay.get_subscription_count():
            return
        if image is None or faces is None:
            missing = "image" if image is None else "faces"
            self.get_logger().warning(
                f"an answer's {missing} is not here: lost, or more than {WAITING} images ago",
                throttle_duration_sec=5.0,
                skip_first=True,  # one lost image is nothing to report
            )
            return
        try:
            canvas = draw_results(
                conversions.image_from_message(image),
                [conversions.face_from_message(face) for face in faces.faces],
                conversions.probabilities_from_message(message),
                message.labels,
            )
        except Exception as error:  # a node never dies from a message
            self.get_logger().error(f"image skipped: {error}", throttle_duration_sec=5.0)
            return
        self._overlay.publish(conversions.image_message(message.header, canvas))


def _key(stamp: Time) -> tuple[int, int]:
    return stamp.sec, stamp.nanosec


def main() -> None:
    """Run the node."""
    run_node(OverlayNode)
