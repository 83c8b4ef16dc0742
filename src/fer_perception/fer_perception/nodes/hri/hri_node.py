"""``hri_node``: the results under the names and types of REP 155, the ROS convention for perceiving humans.

Written for libhri as its reader: it learns of faces from ``tracked`` alone, then subscribes to a face's own topics, and
keeps a face until a list comes without it.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fer_msgs.msg import EmotionArray, Face, FaceArray
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fer_perception.emotions import rep155 as hri
from fer_perception.errors import ImageError
from fer_perception.images.messages import image_from_message
from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import LOG_PERIOD_S, NAMESPACE, OK, WARN, ManagedNode, run_node
from fer_perception.nodes.base.qos import RESULT_QOS
from fer_perception.nodes.base.stamp_report import StampReport
from fer_perception.nodes.base.subscription import Input, image_input
from fer_perception.nodes.hri.messages import FACES, expression_message, hri_messages
from fer_perception.settings import HriNodeSettings
from fer_perception.types import UInt8Image

# Which of a face's topics make the node subscribe to which input, besides emotions.
NEEDS = {
    "faces": ("roi", "cropped", "aligned"),
    "image": ("cropped", "aligned"),
    "landmarks": ("landmarks",),
}
# Which of a face's topics are not there, by privacy.
WITHHELD: dict[str, tuple[str, ...]] = {
    "off": (),
    "no_images": ("cropped", "aligned"),
    "strict": ("cropped", "aligned", "landmarks"),
}
# So many images, and as many results, wait for their counterpart: one second of a usual camera.
WAITING = 30
NO_STAMP = (0, 0)
POLL_S = 0.2
# How long the last list's writer stays. A best-effort reader, as libhri's are, acknowledges nothing, and loses a
# message that it has not read yet when the writer goes.
UNREAD_S = 0.5
# Together longer than the 3 s after which Fast DDS sends a lost message again, shorter than the 5 s that launch waits.
ACKNOWLEDGED_S = 3.0


@dataclass
class _TrackedFace:
    """When a face was last seen, in seconds, and the publishers of its topics by their names."""

    seen_s: float
    publishers: dict[str, Publisher]

    def wanted(self, topic: str) -> bool:
        return topic in self.publishers and self.publishers[topic].get_subscription_count() > 0


class HriNode(ManagedNode):
    """Subscribes to ``emotions``; publishes ``/humans/faces/tracked`` and, of each face in it, the topics roi, cropped,
    aligned, landmarks and expression below ``/humans/faces/<id>``.

    Only while somebody reads a topic that is made of them are ``faces``, ``image`` and ``landmarks`` subscribed to.
    """

    settings_type = HriNodeSettings
    settings: HriNodeSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("hri_node", namespace)
        self._tracked_faces: dict[str, _TrackedFace] = {}
        self._inputs: dict[str, Input] = {}
        self._images: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._results: OrderedDict[tuple[int, int], FaceArray] = OrderedDict()
        self._rejected = 0

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        self._messages = hri_messages()
        self._sensor = SensorRange(self.settings.image_bits)
        self._topics = {  # the longest name first: where it makes a valid topic, the others do
            "expression": self._messages.Expression,
            "landmarks": self._messages.FacialLandmarks,
            "aligned": Image,
            "cropped": Image,
            "roi": self._messages.NormalizedRegionOfInterest2D,
        }
        for topic in WITHHELD[self.settings.privacy]:
            del self._topics[topic]
        self._tracked = self.publisher(self._messages.IdsList, f"{FACES}/tracked")

    def activate(self) -> None:
        """See :meth:`ManagedNode.activate`."""
        self.at_deactivate(self._publish_empty_list)
        self.at_deactivate(lambda: self._follow(set()))
        self._stamps = StampReport()
        self._emotions = self._result_input(EmotionArray, "emotions", self._on_emotions)
        self.at_deactivate(self._emotions.close)
        timer = self.create_timer(POLL_S, self._follow_demand, clock=self.steady_clock)
        self.at_deactivate(lambda: self.destroy_timer(timer))
        self.get_logger().info(f"active; waiting for {self._emotions.topic}")

    def tick(self) -> None:
        """Without results nobody is seen."""
        if self._tracked_faces and self._emotions.problem():
            self._announce(self._header_of_now(), [], math.inf)

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        values = {
            "faces": str(len(self._tracked_faces)),
            "subscribed": " ".join(["emotions", *self._inputs]),
            "rejected": str(self._rejected),
        }
        for source in (self._emotions, *self._inputs.values()):
            if problem := source.problem():
                return WARN, problem, values
        return OK, f"{len(self._tracked_faces)} faces", values

    # Inputs ----------------------------------------------------------------------------------------------------------

    def _follow_demand(self) -> None:
        read = {topic for face in self._tracked_faces.values() for topic in self._topics if face.wanted(topic)}
        self._follow({source for source, topics in NEEDS.items() if not read.isdisjoint(topics)})

    def _follow(self, wanted: set[str]) -> None:
        for source in self._inputs.keys() - wanted:
            self._inputs.pop(source).close()
        for source in wanted - self._inputs.keys():
            self._inputs[source] = self._open(source)
        if "image" not in self._inputs:
            self._images.clear()
            self._results.clear()

    def _open(self, source: str) -> Input:
        if source == "image":
            return image_input(self, self.settings, self._guarded(self._on_image), self._reject)
        return self._result_input(FaceArray, source, self._on_faces if source == "faces" else self._on_landmarks)

    def _result_input(self, message_type: type, topic: str, receive: Callable[[Any], None]) -> Input:
        timeout_s = self.settings.image_timeout_s
        return Input(self, message_type, topic, RESULT_QOS, self._guarded(receive), self._reject, timeout_s)

    def _guarded(self, receive: Callable[[Any], None]) -> Callable[[Any], None]:
        """The same, with one line for a malformed message; the input reports anything else with its traceback."""

        def guarded(message: Any) -> None:
            try:
                receive(message)
            except (ImageError, ValueError, NameValidationException) as error:
                self._reject(str(error))

        return guarded

    def _reject(self, reason: str) -> None:
        self._rejected += 1
        self.log_skipped(self._rejected, reason)

    # Tracked faces ---------------------------------------------------------------------------------------------------

    def _on_emotions(self, message: EmotionArray) -> None:
        probabilities = conversions.probabilities_from_message(message)
        if unknown := set(message.labels) - set(hri.EXPRESSIONS):
            raise ImageError(f"labels without a word in hri_msgs/Expression: {', '.join(sorted(unknown))}")
        now_ns = self.get_clock().now().nanoseconds
        now_s = self._stamps.taken_s(message.header.stamp, now_ns) or time.monotonic()
        self._announce(message.header, [emotion.track_id for emotion in message.emotions], now_s)
        for emotion, row in zip(message.emotions, probabilities):
            # Of a refused face nothing is said: the convention has no word for it.
            if not emotion.refusal and self._tracked_faces[emotion.track_id].wanted("expression"):
                expression = expression_message(self._messages, message.header, row, message.labels)
                self._publish(emotion.track_id, "expression", expression)

    def _announce(self, header: Header, seen: list[str], now_s: float) -> None:
        """Publish the list. A face's publishers are there before its id is, and for as long."""
        for track_id in seen:
            if track_id not in self._tracked_faces:
                self._tracked_faces[track_id] = _TrackedFace(now_s, self._create_publishers(track_id))
            self._tracked_faces[track_id].seen_s = now_s
        # Time that runs backwards (a looped bag) ends all faces, as it does in the tracker.
        lost = [
            track_id
            for track_id, face in self._tracked_faces.items()
            if not 0 <= now_s - face.seen_s <= self.settings.lost_after_s
        ]
        gone = [self._tracked_faces.pop(track_id) for track_id in lost]
        self._tracked.publish(self._messages.IdsList(header=header, ids=list(self._tracked_faces)))
        for face in gone:
            self._destroy_publishers(face)

    def _create_publishers(self, track_id: str) -> dict[str, Publisher]:
        return {
            topic: self.create_publisher(message_type, f"{FACES}/{track_id}/{topic}", RESULT_QOS)
            for topic, message_type in self._topics.items()
        }

    def _destroy_publishers(self, face: _TrackedFace) -> None:
        for publisher in face.publishers.values():
            self.destroy_publisher(publisher)

    def _publish_empty_list(self) -> None:
        """An empty list, and time for it to arrive: readers would keep the faces for ever."""
        if self.context.ok():
            self._announce(self._header_of_now(), [], math.inf)
            time.sleep(UNREAD_S)
            self._tracked.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S))
        self._tracked_faces.clear()

    def _header_of_now(self) -> Header:
        return Header(stamp=self.get_clock().now().to_msg())

    # Topics of a face ------------------------------------------------------------------------------------------------

    def _publish(self, track_id: str, topic: str, message: Any) -> None:
        self._tracked_faces[track_id].publishers[topic].publish(message)

    def _wanted(self, message: FaceArray, topic: str) -> list[Face]:
        """The faces of a message, of those announced, whose topic is read."""
        return [
            face
            for face in message.faces
            if face.track_id in self._tracked_faces and self._tracked_faces[face.track_id].wanted(topic)
        ]

    def _on_faces(self, message: FaceArray) -> None:
        width, height = _checked_size(message)
        for face in self._wanted(message, "roi"):
            box = conversions.face_from_message(face).box
            xmin, ymin, xmax, ymax = hri.region_of_interest(box, width, height)
            region = self._messages.NormalizedRegionOfInterest2D(
                header=message.header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=face.confidence
            )
            self._publish(face.track_id, "roi", region)
        if "image" in self._inputs and (image := self._match(message, self._results, self._images)) is not None:
            self._publish_images(image, message)

    def _on_image(self, message: Any) -> None:
        if (faces := self._match(message, self._images, self._results)) is not None:
            self._publish_images(message, faces)

    def _match(self, message: Any, waiting: OrderedDict, counterparts: OrderedDict) -> Any:
        """The counterpart by its stamp; where it is not here yet, the message waits for it. They come in any order."""
        key = (message.header.stamp.sec, message.header.stamp.nanosec)
        if key == NO_STAMP:
            self.get_logger().warning("images without a stamp cannot be matched", throttle_duration_sec=LOG_PERIOD_S)
            return None
        counterpart = counterparts.pop(key, None)
        if counterpart is None:
            waiting[key] = message
            if len(waiting) > WAITING:
                waiting.popitem(last=False)
        return counterpart

    def _publish_images(self, image_message: Any, message: FaceArray) -> None:
        cropped, aligned = self._wanted(message, "cropped"), self._wanted(message, "aligned")
        if not cropped and not aligned:
            return
        image = image_from_message(image_message, self._sensor)
        if image.shape[:2] != (message.image_height, message.image_width):
            raise ImageError("the image has another size than the one in which the faces were found")
        for face in cropped:
            crop = hri.cropped_face(image, conversions.face_from_message(face).box)
            self._publish(face.track_id, "cropped", _bgr_message(message.header, crop))
        for face in aligned:
            crop = hri.aligned_face(image, conversions.face_from_message(face))
            self._publish(face.track_id, "aligned", _bgr_message(message.header, crop))

    def _on_landmarks(self, message: FaceArray) -> None:
        width, height = _checked_size(message)
        for face in self._wanted(message, "landmarks"):
            points = hri.facial_landmarks(conversions.face_from_message(face), width, height).tolist()
            landmarks = [self._messages.NormalizedPointOfInterest2D(x=x, y=y, c=c) for x, y, c in points]
            result = self._messages.FacialLandmarks(
                header=message.header, landmarks=landmarks, height=height, width=width
            )
            self._publish(face.track_id, "landmarks", result)


def _checked_size(message: FaceArray) -> tuple[int, int]:
    """Width and height of the image that faces were found in.

    :raises ImageError: a face does not lie in it.
    """
    width, height = message.image_width, message.image_height
    for face in message.faces:
        roi = face.roi
        if roi.x_offset + max(roi.width, 1) > width or roi.y_offset + max(roi.height, 1) > height:
            raise ImageError(f"the box of face {face.track_id[:20]} reaches out of an image of {width} x {height}")
    return width, height


def _bgr_message(header: Header, crop: UInt8Image) -> Image:
    """An RGB image in the encoding that libhri expects."""
    message = conversions.image_message(header, crop[..., ::-1])
    message.encoding = "bgr8"
    return message


def main() -> None:
    """Run the node."""
    run_node(HriNode)
