"""Attention maps of the running nodes, over real DDS, and the overlay that shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fer_msgs.msg import AttentionArray, EmotionArray, FaceArray
from sensor_msgs.msg import Image

from fer_perception.emotions.attention_maps import AttentionMaps
from fer_perception.models.shipped import resolve_model
from fer_perception.nodes.base.qos import IMAGE_QOS

MODEL = "hybrid_attention_lite0"
HEAD = (slice(25, 220), slice(130, 330))  # of the portrait: the face and its label, with what its crop has around them
BARS = (slice(25, 220), slice(130, 430))  # and the bars beside it


def ask_overlay(graph: Any, pixels: np.ndarray) -> np.ndarray:
    (overlay,) = graph.ask(pixels, "overlay")
    return np.frombuffer(overlay.data, np.uint8).reshape(pixels.shape)


def two_faces(portrait: np.ndarray) -> np.ndarray:
    head = portrait[:256, 100:356]
    return np.hstack([head, head])


@pytest.mark.parametrize("split", [False, True])
def test_maps_belong_to_the_emotions(graph: Any, portrait: np.ndarray, split: bool) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.collect(FaceArray, "faces")
    graph.collect(AttentionArray, "attention")
    if split:
        graph.start("face_node", model=MODEL, privacy="off")
    graph.start("emotion_node" if split else "fer_node", model=MODEL)
    emotions, faces, attention = graph.ask(two_faces(portrait), "emotions", "faces", "attention")
    assert attention.model_id == AttentionMaps(resolve_model(MODEL)).map_id
    assert [entry.track_id for entry in attention.attention] == [entry.track_id for entry in emotions.emotions]
    assert [entry.roi for entry in attention.attention] == [entry.roi for entry in emotions.emotions]
    assert len(attention.attention) == 2
    left_to_right = (sorted(found, key=lambda one: one.roi.x_offset) for found in (attention.attention, faces.faces))
    for entry, face in zip(*left_to_right, strict=True):
        assert (entry.width, entry.height, len(entry.values)) == (12, 12, 144)
        assert np.ptp(entry.values) > 40
        # The middle of the map is between the eyes and the mouth.
        linear, shift = np.asarray(entry.to_image).reshape(2, 3)[:, :2], np.asarray(entry.to_image)[[2, 5]]
        keypoints = np.asarray(face.keypoints).reshape(5, 2)
        middle = (keypoints[0] + keypoints[1] + keypoints[3] + keypoints[4]) / 4
        assert np.linalg.norm(linear @ [5.5, 6.0] + shift - middle) < 0.1 * entry.roi.width
    (empty,) = graph.ask(np.zeros((480, 640, 3), np.uint8), "attention")
    assert not empty.attention


def test_refused_faces_have_no_map(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.collect(AttentionArray, "attention")
    graph.start("fer_node", model=MODEL, min_face_px=200)
    emotions, attention = graph.ask(portrait, "emotions", "attention")
    assert [emotion.label for emotion in emotions.emotions] == ["unknown"]
    assert not attention.attention


@pytest.mark.parametrize(
    ("parameters", "remedy"),
    [
        ({"model": MODEL, "privacy": "strict"}, "Set privacy to no_images"),
        ({"model": "baseline"}, "baseline: has no attention maps"),
    ],
)
def test_who_waits_for_maps_in_vain_is_told_once(
    graph: Any, portrait: np.ndarray, parameters: dict[str, str], remedy: str
) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.collect(AttentionArray, "attention")
    node = graph.start("fer_node", **parameters)
    graph.ask(portrait, "emotions")
    graph.until(lambda: remedy in node.output)
    graph.spin(2.5)  # two more chances to say it
    graph.ask(portrait, "emotions")
    assert node.output.count("attention has a subscriber and is not published") == 1
    assert not graph.node.count_publishers(graph.node.resolve_topic_name("attention"))
    assert not graph.received["attention"]
    assert "Traceback" not in node.output


@pytest.mark.parametrize("privacy", ["off", "no_images"])
def test_the_overlay_shows_maps_over_faces_only(graph: Any, portrait: np.ndarray, privacy: str) -> None:
    graph.collect(Image, "overlay", IMAGE_QOS)
    graph.start("fer_node", model=MODEL, smoothing_s=0.0)
    overlay_node = graph.start("overlay_node", privacy=privacy)
    ask_overlay(graph, portrait)  # the face is followed from then on
    without = ask_overlay(graph, portrait)
    overlay_node.stop()
    graph.start("overlay_node", privacy=privacy, show_attention=True)
    changed = np.zeros(portrait.shape[:2], bool)

    def shown() -> bool:
        """The first images may be drawn before the new node has found who publishes maps."""
        changed[:] = (ask_overlay(graph, portrait) != without).any(axis=2)
        return bool(changed.any())

    graph.until(shown)
    assert changed[HEAD].mean() > 0.2
    changed[BARS] = False
    assert not changed.any()


def test_the_overlay_does_not_wait_for_maps_that_nobody_publishes(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(Image, "overlay", IMAGE_QOS)
    graph.start("fer_node", model="baseline")
    graph.start("overlay_node", show_attention=True)
    assert (ask_overlay(graph, portrait) != portrait).any(axis=2)[HEAD].any()
