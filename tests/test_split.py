"""face_node and emotion_node give what fer_node gives."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import EmotionArray, FaceArray, Latency

from fer_perception.models.bundle import Bundle, write_manifest
from fer_perception.models.shipped import resolve_model


def stamps(messages: list[Any]) -> list[tuple[int, int]]:
    return [(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages]


def play(graph: Any, frames: list[np.ndarray], begin_s: float) -> list[EmotionArray]:
    """The answers to the frames, whose stamps are 0.2 s apart, sent one by one until each is answered."""
    answers = []
    for number, frame in enumerate(frames):
        message = graph.image(frame, stamp_s=begin_s + 0.2 * number)

        def answered(message: Any = message) -> bool:
            graph.publish(message)
            wanted = message.header
            graph.spin_while(lambda: all(m.header != wanted for m in graph.received["emotions"]), 2.0)
            return any(m.header == wanted for m in graph.received["emotions"])

        graph.until(answered)
        answers.append(next(m for m in graph.received["emotions"] if m.header == message.header))
    return answers


def film(portrait: np.ndarray) -> list[np.ndarray]:
    """A face that moves and grows, two faces, none, and one again."""
    frames = [
        cv2.warpAffine(portrait, np.array([[1 + i / 40, 0, 4.0 * i], [0, 1 + i / 40, 2.0 * i]]), (640, 480))
        for i in range(12)
    ]
    head = portrait[:256, 100:356]
    return [*frames, np.hstack([head, head]), np.zeros((480, 640, 3), np.uint8), frames[0]]


def test_both_shapes_give_the_same_emotions(graph: Any, portrait: np.ndarray) -> None:
    frames = film(portrait)
    graph.collect(EmotionArray, "emotions")
    graph.start("fer_node", id_seed=7, smoothing_s=0.0)
    begin_s = round(time.time() - 60) + 0.1
    fused = play(graph, frames, begin_s)
    graph.processes[0].stop()

    graph.collect(FaceArray, "faces")
    graph.collect(Latency, "latency")
    graph.collect(Latency, "face_latency")
    graph.start("face_node", id_seed=7, privacy="off")
    graph.start("emotion_node", smoothing_s=0.0)
    # On one robot these two would start the graph together: no face may be lost before they know each other.
    graph.until(lambda: graph.node.count_subscribers(graph.node.resolve_topic_name("faces")) == 2)
    graph.until(lambda: graph.node.count_publishers(graph.node.resolve_topic_name("emotions")) == 1)
    split = play(graph, frames, begin_s)

    assert [len(answer.emotions) for answer in fused] == [1] * 12 + [2, 0, 1]
    for one, other in zip(fused, split, strict=True):
        assert one.model_id == other.model_id
        assert [e.roi for e in one.emotions] == [e.roi for e in other.emotions]
        for a, b in zip(one.emotions, other.emotions, strict=True):
            np.testing.assert_array_equal(a.probabilities, b.probabilities)

    def last() -> list[FaceArray]:
        return [message for message in graph.received["faces"] if message.header == split[-1].header]

    graph.until(last)
    faces = last()[0]
    assert (faces.crop_width, faces.crop_height, faces.crop_encoding) == (48, 48, "mono8")
    assert len(faces.faces[0].crop) == 48 * 48
    graph.until(lambda: set(stamps(graph.received["face_latency"])) & set(stamps(graph.received["latency"])))
    (stamp, *_) = set(stamps(graph.received["face_latency"])) & set(stamps(graph.received["latency"]))
    face_latency, latency = (
        graph.received[topic][stamps(graph.received[topic]).index(stamp)] for topic in ("face_latency", "latency")
    )
    assert face_latency.detect_ms > 0
    assert np.isnan(face_latency.infer_ms)
    assert latency.infer_ms > 0
    assert np.isnan(latency.detect_ms)
    assert latency.age_at_publication_ms > face_latency.age_at_publication_ms


def test_crops_for_another_network_are_refused(graph: Any, portrait: np.ndarray, tmp_path: Any) -> None:
    bundle = Bundle(resolve_model(""))
    alignment = bundle.manifest.alignment.model_copy(update={"mouth": (0.5, 0.7)})
    for file in bundle.path.glob("*.onnx"):
        (tmp_path / file.name).symlink_to(file.resolve())
    write_manifest(tmp_path, bundle.manifest.model_copy(update={"alignment": alignment}))
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.start("face_node", model=tmp_path, privacy="off")
    emotion_node = graph.start("emotion_node")

    def refused() -> bool:
        graph.publish(graph.image(portrait))
        graph.spin(0.2)
        return "start face_node with the same model" in emotion_node.output

    graph.until(refused)
    assert "Traceback" not in emotion_node.output
