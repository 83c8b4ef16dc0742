"""``fer_node``: the whole pipeline in one process, from images to faces, emotions and latencies."""

from __future__ import annotations

import threading
import time
import traceback
from typing import NamedTuple, get_args

from fer_msgs.msg import EmotionArray, FaceArray, Latency, LatencyStatistics
from rclpy.node import Node
from sensor_msgs.msg import Image

from fer_perception.bundle import Precision
from fer_perception.emotion import EmotionClassifier
from fer_perception.errors import ImageError
from fer_perception.faces import FaceMode, load_face_stage
from fer_perception.latest import LatestSlot
from fer_perception.nodes import conversions
from fer_perception.nodes.common import NAMESPACE, declare, run_node
from fer_perception.nodes.qos import IMAGE_QOS, RESULT_QOS
from fer_perception.pipeline import Pipeline
from fer_perception.resources import resolve_face_model, resolve_model
from fer_perception.timing import FrameStatistics, Stopwatch
from fer_perception.tracking import Tracker

LOG_PERIOD_S = 5.0


class Arrival(NamedTuple):
    """An image message and when it arrived: monotonic seconds, and its age in milliseconds of ROS time."""

    message: Image
    arrived_s: float
    age_ms: float


class FerNode(Node):
    """Subscribes to ``image``; publishes ``faces``, ``emotions``, ``latency`` and ``latency_statistics``.

    Images are received by the executor and processed by a thread of their own. Between the two lies one place: an
    image that has not been taken when the next one arrives is dropped and counted.
    """

    def __init__(self) -> None:
        super().__init__("fer_node", namespace=NAMESPACE)
        self._slot: LatestSlot[Arrival] = LatestSlot()
        self._worker = threading.Thread(target=self._work, name="pipeline", daemon=True)
        self._statistics = FrameStatistics()
        self._pipeline = self._load_pipeline()

        self._faces = self.create_publisher(FaceArray, "faces", RESULT_QOS)
        self._emotions = self.create_publisher(EmotionArray, "emotions", RESULT_QOS)
        self._latency = self.create_publisher(Latency, "latency", RESULT_QOS)
        self._latency_statistics = self.create_publisher(LatencyStatistics, "latency_statistics", RESULT_QOS)
        self._worker.start()
        self.create_timer(1.0, self._publish_statistics)
        self._images = self.create_subscription(Image, "image", self._receive, IMAGE_QOS)
        model_id = self._pipeline.classifier.model_id
        self.get_logger().info(f"model {model_id}; waiting for images on {self._images.topic_name}")

    def _load_pipeline(self) -> Pipeline:
        model = declare(self, "model", "", "Model bundle: a folder, or the name of a shipped one; empty: the default")
        precision = declare(self, "precision", "fp32", "Which file of the bundle", choices=get_args(Precision))
        threads = declare(self, "threads", 1, "Threads of the emotion network; 0: all cores", (0, 64))
        face_model = declare(self, "face_model", "", "Path of face_landmarker.task; empty: the one of make setup")
        face_mode = declare(
            self,
            "face_mode",
            "keypoints",
            "keypoints: fast, six points a face; mesh: 478 points and head orientation as well",
            choices=get_args(FaceMode),
        )
        max_faces = declare(self, "max_faces", 10, "At most so many faces of an image", (1, 100))
        min_confidence = declare(self, "min_confidence", 0.75, "Weaker face detections are ignored", (0.0, 1.0))
        max_lost_s = declare(
            self, "max_lost_s", 1.0, "For how long an unseen face keeps its id, in seconds", (0.0, 60.0)
        )
        id_seed = declare(
            self, "id_seed", -1, "Makes the ids the same in every run; -1: drawn at random", (-1, 2**31 - 1)
        )
        classifier = EmotionClassifier(resolve_model(model), precision, threads)
        face_stage = load_face_stage(resolve_face_model(face_model), face_mode, max_faces, min_confidence)
        return Pipeline(face_stage, classifier, Tracker(max_lost_s, None if id_seed < 0 else id_seed))

    def destroy_node(self) -> None:
        """Stop the worker, free the models, then the node."""
        if self._worker.is_alive():
            self._slot.close()
            self._worker.join()
            self._pipeline.close()
        super().destroy_node()

    def _receive(self, message: Image) -> None:
        self._statistics.count("received")
        if self._slot.put(Arrival(message, time.perf_counter(), self._age_ms(message))):
            self._statistics.count("dropped")

    def _work(self) -> None:
        while (arrival := self._slot.take()) is not None:
            try:
                self._answer(arrival)
            except ImageError as error:
                self._reject(str(error))
            except Exception:  # a node never dies from a message
                if self.context.ok():  # else it is the end that interrupted the work
                    self._reject(traceback.format_exc())

    def _answer(self, arrival: Arrival) -> None:
        header = arrival.message.header
        stopwatch = Stopwatch(arrival.arrived_s)
        stopwatch.lap("receive")
        image = conversions.image_from_message(arrival.message)
        stopwatch.lap("decode")
        result = self._pipeline.process(image, conversions.stamp_s(header) or arrival.arrived_s, stopwatch)
        classifier = self._pipeline.classifier
        self._faces.publish(conversions.face_array_message(header, image, result))
        self._emotions.publish(
            conversions.emotion_array_message(header, classifier.labels, classifier.model_id, result)
        )
        stopwatch.lap("publish")
        durations_ms = {
            "age_at_receipt": arrival.age_ms,
            "age_at_publication": self._age_ms(arrival.message),
            **stopwatch.stages_ms,
            "total": stopwatch.total_ms,
        }
        self._statistics.answer(durations_ms)
        dropped, rejected = self._statistics.total("dropped"), self._statistics.total("rejected")
        self._latency.publish(conversions.latency_message(header, durations_ms, len(result.faces), dropped, rejected))

    def _reject(self, reason: str) -> None:
        self._statistics.count("rejected")
        self.get_logger().error(
            f"image skipped ({self._statistics.total('rejected')} so far): {reason}", throttle_duration_sec=LOG_PERIOD_S
        )

    def _age_ms(self, message: Image) -> float:
        return conversions.age_ms(self.get_clock().now().nanoseconds, message.header)

    def _publish_statistics(self) -> None:
        stamp, publishers = self.get_clock().now().to_msg(), self.count_publishers(self._images.topic_name)
        summary = self._statistics.take_window()
        self._latency_statistics.publish(conversions.statistics_message(stamp, publishers, summary))


def main() -> None:
    """Run the node."""
    run_node(FerNode)
