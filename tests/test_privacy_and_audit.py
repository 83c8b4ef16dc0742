"""Privacy modes, quality gate and audit log of the nodes, as processes of their own over real DDS."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import Emotion, EmotionArray, FaceArray
from sensor_msgs.msg import Image

from fer_perception.audit.log import audit_files
from fer_perception.audit.verification import verify
from fer_perception.models.bundle import Bundle, write_manifest
from fer_perception.models.shipped import resolve_model
from fer_perception.nodes.base.qos import IMAGE_QOS

BLACK = np.zeros((512, 512, 3), np.uint8)
RESULTS = {"faces": FaceArray, "emotions": EmotionArray}


def test_strict_tells_where_a_face_is_and_no_more(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.collect(FaceArray, "faces")
    graph.start("fer_node", privacy="strict", face_mode="mesh")
    begin_s = round(time.time())
    faces, emotions = graph.ask(portrait, "faces", "emotions", stamp_s=begin_s)
    (face,) = faces.faces
    assert np.isnan(face.keypoints).all()
    assert len(face.mesh) == len(face.head_orientation) == len(face.crop) == 0
    assert {face.roi.x_offset % 16, face.roi.y_offset % 16, face.roi.width % 16, face.roi.height % 16} == {0}
    assert emotions.emotions[0].roi == face.roi
    assert emotions.emotions[0].label == "happy"
    assert not graph.node.count_publishers(graph.node.resolve_topic_name("landmarks"))
    graph.ask(BLACK, "faces", "emotions", stamp_s=begin_s + 0.2)
    (again,) = graph.ask(portrait, "emotions", stamp_s=begin_s + 0.4)
    assert again.emotions[0].track_id != face.track_id


def test_by_default_faces_are_told_without_pixels(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(FaceArray, "faces")
    graph.start("face_node")
    emotion_node = graph.start("emotion_node")
    (faces,) = graph.ask(portrait, "faces")
    assert len(faces.faces[0].crop) == 0
    assert not np.isnan(faces.faces[0].keypoints).any()

    def refused() -> bool:
        graph.publish(graph.image(portrait))
        graph.spin(0.2)
        return "start face_node with privacy off" in emotion_node.output

    graph.until(refused)


@pytest.mark.parametrize("privacy", ["no_images", "strict"])
def test_the_overlay_shows_no_face(graph: Any, portrait: np.ndarray, privacy: str) -> None:
    graph.collect(Image, "overlay", IMAGE_QOS)
    graph.start("fer_node")
    graph.start("overlay_node", privacy=privacy)
    (overlay,) = graph.ask(portrait, "overlay")
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(portrait.shape)
    mouth = (slice(130, 150), slice(200, 245))
    assert (pixels[mouth] == portrait[mouth]).all(axis=2).mean() < 0.05
    changed = (pixels[300:, 150:] != portrait[300:, 150:]).any()
    assert changed == (privacy == "strict")
    assert pixels[300:, 150:].any() == (privacy == "no_images")


def test_images_that_share_a_stamp_are_not_drawn(graph: Any, portrait: np.ndarray) -> None:
    """The faces of one could lie where the other has none: they would be shown."""
    graph.collect(Image, "overlay", IMAGE_QOS)
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.start("overlay_node", image_timeout_s=1.0)
    results = [graph.node.create_publisher(kind, topic, 10) for topic, kind in RESULTS.items()]
    graph.wait_for_image_subscribers()
    graph.until(lambda: all(publisher.get_subscription_count() for publisher in results))

    def show(stamp_s: float, times: int) -> None:
        for _ in range(times):
            image = graph.image(portrait, stamp_s)
            graph.publish(image)
            graph.spin(0.1)
        for publisher, kind in zip(results, RESULTS.values(), strict=True):
            publisher.publish(kind(header=image.header))
        graph.spin(0.2)

    def drawn() -> list[int]:
        return [message.header.stamp.sec for message in graph.received["overlay"]]

    for stamp_s, times in ((1.0, 1), (2.0, 2), (2.0, 1), (3.0, 1), (3.0, 1)):
        show(stamp_s, times)
    graph.until(lambda: len(drawn()) == 2)
    assert drawn() == [1, 3]

    def told() -> bool:
        show(3.0, 1)
        return "several have one stamp" in graph.status_of("overlay_node").message

    graph.until(told)


def test_a_refused_face_is_unknown_with_its_reason(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.start("fer_node", min_face_px=200)
    (message,) = graph.ask(portrait, "emotions")
    (emotion,) = message.emotions
    assert emotion.refusal == Emotion.SMALL
    assert (emotion.label, emotion.smoothed_label) == ("unknown", "unknown")
    assert emotion.confidence == emotion.smoothed_confidence == 0
    assert len(emotion.probabilities) == len(emotion.smoothed_probabilities) == 0
    assert emotion.roi.width > 0
    assert graph.remote("fer_node").set("min_face_px", 0).successful
    (message,) = graph.ask(portrait, "emotions")
    assert (message.emotions[0].refusal, message.emotions[0].label) == (Emotion.ANSWERED, "happy")


def test_the_bundles_threshold_is_used_where_it_is_asked_for(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    node = graph.start("fer_node", abstain_below=-1.0)
    (message,) = graph.ask(portrait, "emotions")  # happy beyond any threshold
    assert (message.emotions[0].refusal, message.emotions[0].label) == (Emotion.ANSWERED, "happy")
    assert node.running()


def test_a_threshold_that_the_bundle_lacks_is_an_error_with_the_remedy(graph: Any, tmp_path: Path) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    bundle = tmp_path / "bundle"
    shutil.copytree(resolve_model("baseline"), bundle)
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update={"balanced_abstention": None}))
    node = graph.start("fer_node", model=bundle, abstain_below=-1.0)
    graph.until(lambda: "the manifest has no threshold for abstaining" in node.output)
    assert "python -m fer_training calibrate" in node.output
    assert node.running()


def test_decisions_are_logged_through_kills_and_restarts(graph: Any, portrait: np.ndarray, tmp_path: Path) -> None:
    graph.collect(EmotionArray, "emotions")
    parameters: dict[str, Any] = {"audit.folder": tmp_path / "audit", "audit.interval_s": 0.0, "min_face_px": 60}
    node = graph.start("fer_node", **parameters)
    for _ in range(5):
        graph.ask(portrait, "emotions")
    assert graph.remote("fer_node").set("min_face_px", 200).successful
    graph.ask(portrait, "emotions")
    graph.spin(0.5)
    node.stop(signal.SIGKILL)
    folder = tmp_path / "audit" / f"{graph.node.get_namespace().strip('/')}.fer_node"
    killed = verify(folder)
    assert killed.problem == ""
    node = graph.start("fer_node", privacy="strict", **parameters)
    (message,) = graph.ask(portrait, "emotions")
    assert node.stop() == 0
    assert "Traceback" not in node.output
    result = verify(folder, (killed.head,))
    assert (result.problem, result.files) == ("", 2)
    before, after = ([json.loads(line) for line in file.read_bytes().splitlines()] for file in audit_files(folder))
    assert [record["kind"] for record in before[:2]] == ["open", "context"]
    contexts = {record["context"]: record for record in before if record["kind"] == "context"}
    decisions = [record for record in before if record["kind"] == "decision"]
    assert contexts[decisions[0]["context"]]["parameters"]["min_face_px"] == 60
    assert contexts[decisions[-1]["context"]]["parameters"]["min_face_px"] == 200
    assert contexts[decisions[0]["context"]]["model"] == message.model_id
    assert (decisions[0]["faces"][0]["label"], decisions[0]["faces"][0]["refusal"]) == ("happy", "")
    assert (decisions[-1]["faces"][0]["label"], decisions[-1]["faces"][0]["refusal"]) == ("unknown", "small")
    assert "track" in decisions[0]["faces"][0]
    assert all("track" not in face for record in after for face in record.get("faces", []))
