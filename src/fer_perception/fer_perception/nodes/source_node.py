"""``source_node``: publishes a camera, video, picture or folder as ``image``, at its own pace."""

from __future__ import annotations

import math
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fer_perception.errors import SourceError
from fer_perception.nodes.common import NAMESPACE, declare, run_node
from fer_perception.nodes.conversions import image_message
from fer_perception.nodes.qos import IMAGE_QOS, RESULT_QOS
from fer_perception.preprocessing import UInt8Image
from fer_perception.sources import PORTRAIT, Pacer, open_source

POLL_S = 0.05
FRAMES_SENT = "frames_sent"


class SourceNode(Node):
    """Publishes ``image``, and how many it sent on ``/diagnostics``."""

    def __init__(self) -> None:
        super().__init__("source_node", namespace=NAMESPACE)
        self._executor = SingleThreadedExecutor()
        name = declare(
            self,
            "source",
            PORTRAIT,
            f"Camera index, video, picture, folder of pictures, or '{PORTRAIT}' (a test image)",
        )
        fps = declare(self, "fps", 0.0, "Images per second; 0: the source's own rate, 30 for pictures", (0.0, 1000.0))
        still_s = declare(self, "still_s", 2.0, "For how long each picture is shown, in seconds", (0.0, 3600.0))
        self._duration_s = declare(self, "duration_s", 0.0, "End after so many seconds; 0: never", (0.0, 1e6))
        self._loop = declare(self, "loop", False, "Begin again at the end")
        self._frame_id = declare(self, "frame_id", "camera_optical_frame", "frame_id of the images (REP 105)")
        self._wait_for = declare(
            self, "wait_for_subscribers", 0, "Send the first image when so many subscribers are there", (0, 100)
        )
        self._max_side = declare(
            self,
            "max_side",
            1280,
            "Larger images are shrunk to so many pixels on their longer side; 0: never",
            (0, 8192),
        )
        self._source = open_source(str(name), fps, still_s, self._max_side)
        self._sent = 0
        self._images = self.create_publisher(Image, "image", IMAGE_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RESULT_QOS)
        self._executor.add_node(self)

    def run(self) -> None:
        """Publish until the source ends or ROS is shut down.

        :raises SourceError: the source cannot be read any more.
        """
        self._await_subscribers()
        limit = f"at most {self._max_side} pixels a side" if self._max_side else "at full size"
        self.get_logger().info(f"{self._source.name} on {self._images.topic_name} at {self._source.fps:g} Hz, {limit}")
        self.create_timer(1.0, self._publish_diagnostics)
        end_s = time.monotonic() + self._duration_s if self._duration_s else math.inf
        while True:
            sent_before = self._sent
            self._play(end_s)
            if not self._loop or time.monotonic() >= end_s:
                break
            if self._sent == sent_before:
                raise SourceError(f"{self._source.name}: gives no image")
        self._publish_diagnostics()
        self._diagnostics.wait_for_all_acked(Duration(seconds=2))
        self.get_logger().info(f"{self._source.name}: end, {self._sent} images sent")

    def destroy_node(self) -> None:
        """End the executor before the node."""
        self._executor.shutdown()
        super().destroy_node()

    def _await_subscribers(self) -> None:
        while self._images.get_subscription_count() < self._wait_for:
            self._spin(POLL_S)
            self.get_logger().info(
                f"waiting for {self._wait_for} subscribers of {self._images.topic_name}",
                throttle_duration_sec=5.0,
                skip_first=True,
            )

    def _play(self, end_s: float) -> None:
        pacer = Pacer(self._source.fps)
        for image in self._source.frames():
            while not self._source.live and (wait_s := pacer.wait_s()) > 0:
                self._spin(wait_s)
            if time.monotonic() >= end_s:
                return
            self._publish(image)
            pacer.advance()
            self._spin(0)

    def _publish(self, image: UInt8Image) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        self._images.publish(image_message(header, image))
        self._sent += 1

    def _spin(self, timeout_s: float) -> None:
        self._executor.spin_once(timeout_sec=timeout_s)
        if not rclpy.ok():
            raise ExternalShutdownException

    def _publish_diagnostics(self) -> None:
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK,
            name=f"{self.get_fully_qualified_name()}: source",
            hardware_id=self._source.name,
            message="publishing",
            values=[KeyValue(key=FRAMES_SENT, value=str(self._sent))],
        )
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(DiagnosticArray(header=Header(stamp=stamp), status=[status]))


def main() -> None:
    """Run the node.

    :raises FerError: the source cannot be read.
    """
    run_node(SourceNode, SourceNode.run)
