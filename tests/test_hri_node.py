"""hri_node as a process of its own over real DDS, read by a process that does as libhri does."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fer_msgs.msg import Emotion, EmotionArray, Face, FaceArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from fer_perception.emotions import rep155 as hri
from fer_perception.labels import EMOTIONS_7
from fer_perception.nodes.base.conversions import face_from_message, probabilities_from_message

FIXTURES = Path(__file__).parent / "fixtures"
TOPICS = ("expression", "roi", "cropped", "aligned", "landmarks")
RIGHT_PUPIL, LEFT_PUPIL = 68, 69


class Hri:
    """A graph in which the test plays fer_node's part."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self._undo = ExitStack()
        self._emotions = graph.node.create_publisher(EmotionArray, "emotions", 10)
        self._faces = graph.node.create_publisher(FaceArray, "faces", 10)

    def at_close(self, undo: Callable[[], None]) -> None:
        self._undo.callback(undo)

    def read(self, *topics: str) -> Any:
        return self.graph.read("libhri_like.py", *topics)

    def subscribers(self) -> dict[str, int]:
        node = self.graph.node
        return {name: node.count_subscribers(node.resolve_topic_name(name)) for name in ("faces", "image", "landmarks")}

    def answer(self, stamp_s: float, *track_ids: str) -> None:
        """Publish the faces and then the emotions of an image, so that the emotions bring nothing that is not known."""
        header = header_at(stamp_s)
        self.publish(face_array(header, *track_ids))
        self.publish(emotion_array(header, *track_ids))

    def publish(self, message: Any) -> None:
        (self._faces if isinstance(message, FaceArray) else self._emotions).publish(message)

    def list_of(self, reader: Any, stamp_s: float, *track_ids: str) -> list[str]:
        """The ids that are listed for such an image; published again until the three processes know each other."""
        header = header_at(stamp_s)

        def listed() -> list[list[str]]:
            stamp = [header.stamp.sec, header.stamp.nanosec]
            return [line["ids"] for line in reader.seen("tracked") if line["stamp"] == stamp]

        self.until_answering(lambda: bool(listed()), lambda: self.answer(stamp_s, *track_ids))
        return listed()[-1]

    def until_answering(self, condition: Callable[[], bool], answer: Callable[[], None]) -> None:
        """Answer images until the condition holds."""

        def holds() -> bool:
            answer()
            self.graph.spin_while(lambda: not condition(), 0.5)
            return condition()

        self.graph.until(holds)

    def close(self) -> None:
        self._undo.close()


def header_at(stamp_s: float) -> Header:
    header = Header(frame_id="eye")
    header.stamp.sec, header.stamp.nanosec = int(stamp_s), round(stamp_s % 1 * 1e9)
    return header


def face_array(header: Header, *track_ids: str) -> FaceArray:
    roi = RegionOfInterest(x_offset=10, y_offset=20, width=30, height=40)
    faces = [Face(track_id=track_id, confidence=0.9, roi=roi) for track_id in track_ids]
    return FaceArray(header=header, image_width=100, image_height=100, faces=faces)


def emotion_array(header: Header, *track_ids: str, labels: tuple[str, ...] = EMOTIONS_7) -> EmotionArray:
    sad = [float(label == "sad") for label in EMOTIONS_7]
    emotions = [Emotion(track_id=track_id, probabilities=sad, smoothed_probabilities=sad) for track_id in track_ids]
    return EmotionArray(header=header, labels=list(labels), emotions=emotions)


def value_of(diagnostics: list[DiagnosticArray], key: str) -> str:
    """The newest value."""
    return next((v.value for m in reversed(diagnostics) for s in m.status for v in s.values if v.key == key), "")


@pytest.fixture
def world(graph: Any, more_messages: None) -> Iterator[Hri]:
    world = Hri(graph)
    yield world
    world.close()


@pytest.mark.skipif(importlib.util.find_spec("hri_msgs") is not None, reason="hri_msgs is installed")
def test_without_hri_msgs_it_says_so_and_can_be_tried_again(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start("hri_node")
    graph.until(lambda: graph.received["/diagnostics"])
    (status,) = graph.received["/diagnostics"][-1].status
    assert status.level == DiagnosticStatus.ERROR
    assert "hri_msgs is not installed" in status.message
    assert "apt install ros-$ROS_DISTRO-hri-msgs" in status.message
    assert {"state": "unconfigured", "failed": "true"}.items() <= {v.key: v.value for v in status.values}.items()
    assert "Traceback" not in process.output
    assert process.running()
    assert process.stop() == 0


def test_a_portrait_reaches_its_reader_in_full(world: Hri, portrait: np.ndarray) -> None:
    graph, reader = world.graph, world.read(*TOPICS)
    graph.collect(FaceArray, "faces")
    graph.collect(EmotionArray, "emotions")
    graph.start("fer_node")
    graph.start("hri_node", privacy="off")
    graph.wait_for_image_subscribers()
    headers = set()

    def show() -> None:
        image = graph.image(portrait)
        headers.add((image.header.stamp.sec, image.header.stamp.nanosec, image.header.frame_id))
        graph.publish(image)
        graph.spin(0.1)

    def track_id() -> str:
        return next((line["ids"][0] for line in reversed(reader.seen("tracked")) if line["ids"]), "")

    def seen(topic: str) -> list[dict[str, Any]]:
        return reader.seen(f"{track_id()}/{topic}")

    world.until_answering(lambda: all(len(seen(topic)) >= 3 for topic in TOPICS), show)
    graph.spin(1.0)  # what is under way arrives
    # A list without faces may come at any time: on a slow machine the node notices silence between two images.
    of_images = [line for line in reader.lines() if "topic" in line and line.get("ids") != []]
    assert all((*line["stamp"], line["frame"]) in headers for line in of_images)

    def answer(topic: str, line: dict[str, Any]) -> Any:
        (message,) = (
            message
            for message in graph.received[topic]
            if line["stamp"] == [message.header.stamp.sec, message.header.stamp.nanosec]
        )
        return message

    for line in seen("expression"):
        emotions = answer("emotions", line)
        expected = hri.expression(probabilities_from_message(emotions)[0], emotions.labels)
        assert line["expression"] == expected.expression == "happy"
        values = [line[name] for name in ("valence", "arousal", "confidence")]
        assert values == pytest.approx([expected.valence, expected.arousal, expected.confidence], abs=1e-6)

    face = face_from_message(answer("faces", seen("roi")[-1]).faces[0])
    roi = seen("roi")[-1]
    assert [roi[name] for name in ("xmin", "ymin", "xmax", "ymax")] == pytest.approx(
        hri.region_of_interest(face.box, 512, 512)
    )
    assert roi["c"] == pytest.approx(face.confidence)
    assert face.confidence > 0.75

    landmarks = seen("landmarks")[-1]
    points = np.asarray(landmarks["points"])
    assert (landmarks["size"], points.shape) == ([512, 512], (70, 3))
    assert (points[:, 2] > 0.75).all()
    np.testing.assert_allclose(points[[RIGHT_PUPIL, LEFT_PUPIL], :2] * 512, [[203, 101], [246, 103]], atol=5)

    for topic, make in (
        ("cropped", lambda face: hri.cropped_face(portrait, face.box)),
        ("aligned", lambda face: hri.aligned_face(portrait, face)),
    ):
        image = seen(topic)[-1]
        expected = make(face_from_message(answer("faces", image).faces[0]))[..., ::-1]
        assert (image["size"], image["encoding"]) == ([128, 128], "bgr8")
        assert image["means"] == pytest.approx(expected.mean(axis=(0, 1)))


def test_words_are_the_messages_constants(world: Hri) -> None:
    reader = world.read()
    world.graph.until(lambda: reader.lines())
    assert set(hri.EXPRESSIONS.values()) <= set(reader.lines()[0]["words"])


def test_a_face_is_announced_before_anything_is_told_of_it(world: Hri) -> None:
    world.graph.start("hri_node", use_sim_time=True)
    # Subscribed to beforehand, as no reader could that does not know the id.
    reader = world.read("roi", "expression", "abcde/roi", "abcde/expression")
    stamps = iter(np.arange(100, 1000, 0.1))
    world.until_answering(lambda: bool(reader.seen("first/roi")), lambda: world.answer(next(stamps), "first"))
    for _ in range(10):  # faces whose emotions are late
        world.publish(face_array(header_at(next(stamps)), "first", "abcde"))
        world.graph.spin(0.1)
    assert not reader.seen("abcde/roi")
    world.until_answering(
        lambda: bool(reader.seen("abcde/roi") and reader.seen("abcde/expression")),
        lambda: world.answer(next(stamps), "first", "abcde"),
    )
    announced = min(line["sent"] for line in reader.seen("tracked") if "abcde" in line["ids"])
    told = [line["sent"] for topic in ("roi", "expression") for line in reader.seen(f"abcde/{topic}")]
    assert announced < min(told)
    assert reader.seen("abcde/expression")[0]["expression"] == "sad"
    box = [reader.seen("abcde/roi")[0][name] for name in ("xmin", "ymin", "xmax", "ymax", "c")]
    assert box == pytest.approx([0.1, 0.2, 0.4, 0.6, 0.9])


def test_inputs_are_read_only_for_readers(world: Hri) -> None:
    world.graph.start("hri_node", use_sim_time=True, privacy="off")
    onlooker, stamps = world.read("expression"), iter(np.arange(100, 1000, 0.1))

    def answer() -> None:
        world.answer(next(stamps), "abcde")

    def until_subscribed(**expected: int) -> None:
        world.until_answering(
            lambda: world.subscribers() == {"faces": 0, "image": 0, "landmarks": 0} | expected, answer
        )

    world.until_answering(lambda: len(onlooker.seen("abcde/expression")) >= 3, answer)
    world.graph.spin(1.0)
    until_subscribed()
    for topic, expected in (("landmarks", {"landmarks": 1}), ("cropped", {"faces": 1, "image": 1})):
        reader = world.read(topic)
        until_subscribed(**expected)
        reader.stop()
        until_subscribed()


def test_a_face_that_is_lost_leaves_the_list(world: Hri) -> None:
    node = world.graph.start("hri_node", use_sim_time=True)
    world.read()  # one more reader, that nobody waits for
    reader = world.read("expression")
    assert world.list_of(reader, 100.0, "abcde") == ["abcde"]
    assert world.list_of(reader, 100.3, "other") == ["abcde", "other"]
    assert world.list_of(reader, 100.45) == ["abcde", "other"]  # flicker of the detector
    assert world.list_of(reader, 100.6) == ["other"]
    assert world.list_of(reader, 101.0) == []
    assert world.list_of(reader, 101.1, "abcde") == ["abcde"]
    assert world.list_of(reader, 50.0, "later") == ["later"]  # the bag begins again

    change = world.graph.node.create_client(ChangeState, "hri_node/change_state")
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        result = change.call_async(ChangeState.Request(transition=Transition(id=transition)))
        world.graph.until(result.done)
        assert result.result().success
        world.graph.until(lambda: reader.seen("tracked")[-1]["ids"] == [])
    assert world.list_of(reader, 51.0, "later") == ["later"]
    assert "Traceback" not in node.output


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_its_last_list_is_empty(world: Hri, signal_number: int) -> None:
    node, reader = world.graph.start("hri_node", use_sim_time=True), world.read("roi")
    assert world.list_of(reader, 100.0, "abcde") == ["abcde"]
    assert node.stop(signal_number) == 0
    world.graph.until(lambda: reader.seen("tracked")[-1]["ids"] == [])
    assert "Traceback" not in node.output


def test_nobody_is_seen_while_nothing_is_answered(world: Hri) -> None:
    world.graph.collect(DiagnosticArray, "/diagnostics")
    world.graph.start("hri_node", use_sim_time=True, image_timeout_s=0.5)
    reader = world.read()
    assert world.list_of(reader, 100.0, "abcde") == ["abcde"]
    world.graph.until(lambda: reader.seen("tracked")[-1]["ids"] == [])
    world.graph.until(
        lambda: any(
            status.level == DiagnosticStatus.WARN and "no message on" in status.message
            for message in world.graph.received["/diagnostics"]
            for status in message.status
        )
    )
    assert world.list_of(reader, 100.1, "abcde") == ["abcde"]


def test_malformed_messages_are_reported_and_skipped(world: Hri, portrait: np.ndarray) -> None:
    world.graph.collect(DiagnosticArray, "/diagnostics")
    node, reader = world.graph.start("hri_node", use_sim_time=True, privacy="off"), world.read("roi", "cropped")
    stamps = iter(np.arange(100, 1000, 0.1))
    world.until_answering(
        lambda: bool(reader.seen("abcde/roi")) and world.subscribers()["image"] == 1,
        lambda: world.answer(next(stamps), "abcde"),
    )
    world.graph.wait_for_image_subscribers()
    outside = RegionOfInterest(x_offset=90, y_offset=0, width=11, height=10)
    image = world.graph.image(portrait)  # of another size than the answer says
    short = emotion_array(header_at(next(stamps)), "abcde")
    short.emotions[0].smoothed_probabilities = [1.0]
    for message in (
        short,
        emotion_array(header_at(next(stamps)), "abcde", labels=("glad",) * 7),
        emotion_array(header_at(next(stamps)), "no name"),
        FaceArray(image_width=100, image_height=100, faces=[Face(track_id="abcde", roi=outside)]),
        FaceArray(faces=[Face(track_id="abcde")]),
        FaceArray(header=image.header, image_width=9, image_height=9, faces=[Face(track_id="abcde")]),
    ):
        world.publish(message)
    world.until_answering(
        lambda: value_of(world.graph.received["/diagnostics"], "rejected") == "6",
        lambda: world.graph.publish(image),
    )
    count = len(reader.seen("abcde/roi"))
    world.until_answering(lambda: len(reader.seen("abcde/roi")) > count, lambda: world.answer(next(stamps), "abcde"))
    assert "message skipped (1 so far)" in node.output
    assert "Traceback" not in node.output
    assert node.running()


def face_detect(world: Hri, *faces: str) -> subprocess.Popen[bytes]:
    """A process that tracks faces as hri_face_detect does."""
    process = subprocess.Popen([sys.executable, str(FIXTURES / "face_detect_like.py"), *faces])
    world.at_close(process.kill)
    return process


def test_expressions_of_faces_that_another_node_tracks(world: Hri, portrait: np.ndarray, tmp_path: Path) -> None:
    graph = world.graph
    graph.collect(DiagnosticArray, "/diagnostics")
    crop = hri.cropped_face(portrait, (176, 60, 90, 90))
    assert cv2.imwrite(str(tmp_path / "crop.png"), crop[..., ::-1])
    node, reader = graph.start("hri_expression_node"), world.read("abcde/expression", "other/expression")
    detect = face_detect(world, f"abcde={tmp_path / 'crop.png'}", "0bad id=", "other=")
    graph.until(lambda: len(reader.seen("abcde/expression")) >= 3)
    line = reader.seen("abcde/expression")[-1]
    assert line["expression"] == "happy"
    assert line["confidence"] > 0.8
    assert line["valence"] > 0.5
    assert not reader.seen("other/expression")
    graph.until(lambda: value_of(graph.received["/diagnostics"], "faces") == "abcde other")
    assert "message skipped" in node.output  # of the id that makes no topic
    detect.kill()
    face_detect(world, "other=")
    graph.until(lambda: value_of(graph.received["/diagnostics"], "faces") == "other")
    assert node.stop() == 0
    assert "Traceback" not in node.output
