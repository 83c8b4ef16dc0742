"""The emotions of the running nodes as vision_msgs, read by a process that has that package."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from fer_msgs.msg import EmotionArray
from std_msgs.msg import String

DETECTIONS = "vision_msgs/msg/Detection2DArray"


def ask(graph: Any, reader: Any, pixels: np.ndarray) -> tuple[EmotionArray, dict[str, Any]]:
    """The answers to an image on both topics."""
    image = graph.image(pixels)
    stamp, frame = image.header.stamp, image.header.frame_id

    def answers() -> tuple[list[EmotionArray], list[dict[str, Any]]]:
        emotions = [message for message in graph.received["emotions"] if message.header == image.header]
        return emotions, [line for line in reader.lines() if line["header"]["frame_id"] == frame]

    def answered() -> bool:
        graph.publish(image)
        graph.spin_while(lambda: not all(answers()), 1.0)
        return all(answers())

    graph.until(answered)
    (emotions, *_), (detections, *_) = answers()
    header = {"stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec}, "frame_id": frame}
    assert detections["header"] == header
    assert all(detection["header"] == header for detection in detections["detections"])
    return emotions, detections


@pytest.mark.usefixtures("more_messages")
@pytest.mark.parametrize("shape", ["fer_node", "split", "strict"])
def test_detections_tell_what_emotions_tell(graph: Any, portrait: np.ndarray, shape: str) -> None:
    graph.collect(EmotionArray, "emotions")
    if shape == "split":
        graph.start("face_node", privacy="off")
        graph.start("emotion_node")
    else:
        graph.start("fer_node", privacy="strict" if shape == "strict" else "no_images")
    reader = graph.read("echo.py", DETECTIONS, graph.node.resolve_topic_name("detections"))
    head = portrait[:256, 100:356]
    ask(graph, reader, np.hstack([head, head]))  # both faces are followed from then on
    emotions, answer = ask(graph, reader, np.hstack([head, head]))
    assert len(emotions.emotions) == 2
    for emotion, detection in zip(emotions.emotions, answer["detections"], strict=True):
        assert detection["id"] == emotion.track_id
        box, roi = detection["bbox"], emotion.roi
        left = box["center"]["position"]["x"] - box["size_x"] / 2
        top = box["center"]["position"]["y"] - box["size_y"] / 2
        assert (left, top, box["size_x"], box["size_y"]) == (roi.x_offset, roi.y_offset, roi.width, roi.height)
        hypotheses = [result["hypothesis"] for result in detection["results"]]
        assert hypotheses[0] == {"class_id": emotion.smoothed_label, "score": emotion.smoothed_confidence}
        scores = {entry["class_id"]: entry["score"] for entry in hypotheses}
        assert scores == dict(zip(emotions.labels, emotion.smoothed_probabilities, strict=True))
    _, empty = ask(graph, reader, np.zeros((480, 640, 3), np.uint8))
    assert empty["detections"] == []


@pytest.mark.usefixtures("more_messages")
def test_a_refused_face_is_a_detection_without_results(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.start("fer_node", min_face_px=200)
    reader = graph.read("echo.py", DETECTIONS, graph.node.resolve_topic_name("detections"))
    emotions, answer = ask(graph, reader, portrait)
    assert [emotion.label for emotion in emotions.emotions] == ["unknown"]
    (detection,) = answer["detections"]
    assert detection["results"] == []
    assert detection["bbox"]["size_x"] == emotions.emotions[0].roi.width


@pytest.mark.skipif(importlib.util.find_spec("vision_msgs") is not None, reason="vision_msgs is installed")
def test_without_vision_msgs_who_waits_in_vain_is_told_once(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    node = graph.start("fer_node")
    graph.ask(portrait, "emotions")
    graph.spin(1.5)
    assert "vision_msgs" not in node.output  # nobody waits
    graph.collect(String, "detections")  # the type does not matter: nobody publishes
    graph.until(lambda: "sudo apt install ros-$ROS_DISTRO-vision-msgs" in node.output)
    graph.spin(2.5)  # two more chances to say it
    assert node.output.count("detections has a subscriber and is not published") == 1
    assert not graph.node.count_publishers(graph.node.resolve_topic_name("detections"))
