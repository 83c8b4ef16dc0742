"""``source_node``: publishes a camera, video, picture or folder as ``image``, at its own pace."""

from __future__ import annotations

import math
import threading
import time
import traceback

from rclpy.duration import Duration
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fer_perception.errors import FerError, SourceError
from fer_perception.nodes.conversions import image_message
from fer_perception.nodes.managed_node import NAMESPACE, OK, ManagedNode, run_node
from fer_perception.nodes.parameters import Parameter
from fer_perception.nodes.qos import IMAGE_QOS
from fer_perception.preprocessing import UInt8Image
from fer_perception.sources import PORTRAIT, Pacer, open_source

POLL_S = 0.05
FRAMES_SENT = "frames_sent"


class SourceNode(ManagedNode):
    """Publishes ``image``, and how many it sent on ``/diagnostics``. At the source's end the process ends."""

    parameters = (
        Parameter(
            "source", PORTRAIT, f"Camera index, video, picture, folder of pictures, or '{PORTRAIT}' (a test image)"
        ),
        Parameter("fps", 0.0, "Images per second; 0: the source's own rate, 30 for pictures", bounds=(0.0, 1000.0)),
        Parameter("still_s", 2.0, "For how long each picture is shown, in seconds", bounds=(0.0, 3600.0)),
        Parameter("duration_s", 0.0, "End after so many seconds; 0: never", bounds=(0.0, 1e6)),
        Parameter("loop", False, "Begin again at the end"),
        Parameter("frame_id", "camera_optical_frame", "frame_id of the images (REP 105)"),
        Parameter(
            "wait_for_subscribers", 0, "Send the first image when so many subscribers are there", bounds=(0, 100)
        ),
        Parameter(
            "max_side",
            1280,
            "Larger images are shrunk to so many pixels on their longer side; 0: never",
            bounds=(0, 8192),
        ),
    )

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("source_node", namespace)
        self._sent = 0

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        values = self.values
        self._source = open_source(values["source"], values["fps"], values["still_s"], values["max_side"])
        self._images = self.publisher(Image, "image", IMAGE_QOS)

    def activate(self) -> None:
        """Play from the beginning, in a thread of its own."""
        self._stopping = threading.Event()
        player = threading.Thread(target=self._run, name="player", daemon=True)
        player.start()
        self.at_deactivate(player.join)
        self.at_deactivate(self._stopping.set)

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        return OK, f"publishing {self._source.name}", {FRAMES_SENT: str(self._sent)}

    def _run(self) -> None:
        try:
            if self._await_subscribers():
                self._play_all()
        except Exception as error:
            if not self.context.ok():
                return
            self.error = str(error) if isinstance(error, (FerError, OSError)) else traceback.format_exc()
            self.get_logger().error(self.error)
            self.publish_diagnostics()

    def _await_subscribers(self) -> bool:
        """Whether they came before the node was stopped."""
        wait_for = self.values["wait_for_subscribers"]
        while self._images.get_subscription_count() < wait_for:
            if self._stopping.wait(POLL_S):
                return False
            self.get_logger().info(
                f"waiting for {wait_for} subscribers of {self._images.topic_name}",
                throttle_duration_sec=5.0,
                skip_first=True,
            )
        return True

    def _play_all(self) -> None:
        """Publish until the source ends, then end the process; or until the node is stopped."""
        max_side, duration_s = self.values["max_side"], self.values["duration_s"]
        limit = f"at most {max_side} pixels a side" if max_side else "at full size"
        self.get_logger().info(f"{self._source.name} on {self._images.topic_name} at {self._source.fps:g} Hz, {limit}")
        end_s = time.monotonic() + duration_s if duration_s else math.inf
        while True:
            sent_before = self._sent
            self._play(end_s)
            if self._stopping.is_set():
                return
            if not self.values["loop"] or time.monotonic() >= end_s:
                break
            if self._sent == sent_before:
                raise SourceError(f"{self._source.name}: gives no image")
        self.publish_diagnostics(flush_within=Duration(seconds=2))
        self.get_logger().info(f"{self._source.name}: end, {self._sent} images sent")
        self.finished.set()

    def _play(self, end_s: float) -> None:
        pacer = Pacer(self._source.fps)
        for image in self._source.frames():
            while not self._source.live and (wait_s := pacer.wait_s()) > 0:
                if self._stopping.wait(wait_s):
                    return
            if self._stopping.is_set() or time.monotonic() >= end_s:
                return
            self._publish(image)
            pacer.advance()

    def _publish(self, image: UInt8Image) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.values["frame_id"])
        self._images.publish(image_message(header, image))
        self._sent += 1


def main() -> None:
    """Run the node."""
    run_node(SourceNode)
