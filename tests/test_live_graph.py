"""fer_node, source_node and overlay_node as processes of their own over real DDS."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import EmotionArray, FaceArray, Latency, LatencyStatistics
from sensor_msgs.msg import Image

from fer_perception.labels import EMOTIONS_8
from fer_perception.models.shipped import DEFAULT_MODEL
from fer_perception.nodes.base.managed_node import LOG_PERIOD_S
from fer_perception.nodes.base.qos import IMAGE_QOS

RESULTS = ((FaceArray, "faces"), (EmotionArray, "emotions"), (Latency, "latency"))


@pytest.fixture(scope="module")
def running(shared_graph: Any) -> Any:
    """A graph in which fer_node runs and all of it has found each other."""
    collect(shared_graph)
    start_fer_node(shared_graph)
    return shared_graph


@pytest.fixture
def fer(running: Any) -> Any:
    """The same, without what other tests received."""
    running.received.clear_lists()
    return running


def collect(graph: Any) -> None:
    for message_type, topic in RESULTS:
        graph.collect(message_type, topic)
    graph.collect(LatencyStatistics, "latency_statistics")


def start_fer_node(graph: Any, **parameters: Any) -> None:
    """Start it, wait until an image is answered on all topics, and forget about those first messages."""
    graph.start("fer_node", **parameters)
    graph.wait_for_image_subscribers()
    graph.received.clear_lists()

    def answered() -> bool:
        graph.publish(graph.image(np.zeros((48, 64, 3), np.uint8)))
        graph.spin(0.2)
        return all(graph.received[topic] for _, topic in RESULTS)

    graph.until(answered)


def await_clean_statistics(graph: Any) -> None:
    """The next statistics begin a window without earlier images."""
    statistics = graph.received["latency_statistics"]
    graph.until(lambda: statistics and not statistics[-1].received)
    graph.received.clear_lists()


def ask(graph: Any, message: Image) -> tuple[FaceArray, EmotionArray, Latency]:
    """Publish an image and wait for its three answers."""
    counts = {topic: len(graph.received[topic]) for _, topic in RESULTS}

    def answered() -> bool:
        return all(len(graph.received[topic]) > count for topic, count in counts.items())

    graph.publish(message)
    graph.spin_while(lambda: not answered(), 5.0)
    if not answered():  # images are sent with best effort
        graph.publish(message)
        graph.until(answered)
    return tuple(graph.received[topic][-1] for _, topic in RESULTS)  # type: ignore[return-value]


def test_an_image_is_answered_in_full(fer: Any, portrait: np.ndarray) -> None:
    image = fer.image(portrait)
    faces, emotions, latency = ask(fer, image)
    assert faces.header == emotions.header == latency.header == image.header

    assert (faces.image_width, faces.image_height) == (512, 512)
    (face,) = faces.faces
    assert face.confidence > 0.75
    np.testing.assert_allclose(face.keypoints[:4], [201, 104, 245, 108], atol=8)
    assert len(face.mesh) == len(face.head_orientation) == 0

    (emotion,) = emotions.emotions
    assert list(emotions.labels) == list(EMOTIONS_8)
    assert emotion.roi == face.roi
    assert sum(emotion.probabilities) == pytest.approx(1, abs=1e-5)
    assert emotion.label == EMOTIONS_8[int(np.argmax(emotion.probabilities))] == "happy"
    assert emotion.confidence == max(emotion.probabilities)
    assert emotions.model_id.startswith(f"{DEFAULT_MODEL}-")

    stages = [latency.receive_ms, latency.decode_ms, latency.detect_ms, latency.align_ms, latency.infer_ms]
    stages.append(latency.publish_ms)
    assert all(stage > 0 for stage in stages)
    assert latency.total_ms == pytest.approx(sum(stages), rel=1e-3)
    assert 0 < latency.age_at_receipt_ms < latency.age_at_publication_ms
    assert latency.faces == 1
    assert latency.rejected_frames == 0


def test_mesh_mode_adds_landmarks_and_pose_to_the_same_faces(fer: Any, graph: Any, portrait: np.ndarray) -> None:
    faces, emotions, _ = ask(fer, fer.image(portrait))
    collect(graph)
    start_fer_node(graph, face_mode="mesh")
    mesh_faces, mesh_emotions, _ = ask(graph, graph.image(portrait))
    (face,) = mesh_faces.faces
    assert len(face.mesh) == 478 * 3
    orientation = face.head_orientation[0]
    assert np.linalg.norm([orientation.x, orientation.y, orientation.z, orientation.w]) == pytest.approx(1, abs=1e-5)
    # The other node has followed the face for a while: its close look was another one.
    np.testing.assert_allclose(face.keypoints, faces.faces[0].keypoints, atol=5)
    np.testing.assert_allclose(mesh_emotions.emotions[0].probabilities, emotions.emotions[0].probabilities, atol=0.05)


def test_a_face_keeps_its_id_until_it_has_long_been_gone(graph: Any, portrait: np.ndarray) -> None:
    collect(graph)
    start_fer_node(graph, use_sim_time=True)  # without a clock the stamps alone count
    ids, stamp_s = [], float(graph.node.get_clock().now().nanoseconds // 10**9 + 100)
    for number in range(8):
        faces, emotions, _ = ask(graph, graph.image(np.roll(portrait, 5 * number, axis=1), stamp_s + number / 10))
        assert faces.faces[0].track_id == emotions.emotions[0].track_id
        ids.append(faces.faces[0].track_id)
    assert len(set(ids)) == 1
    assert len(ids[0]) == 5
    faces, _, _ = ask(graph, graph.image(portrait, stamp_s + 0.7 + 1.2))
    assert faces.faces[0].track_id != ids[0]


def test_an_image_without_faces_gets_an_empty_answer(fer: Any, portrait: np.ndarray) -> None:
    ask(fer, fer.image(portrait))
    faces, emotions, latency = ask(fer, fer.image(np.zeros((480, 640, 3), np.uint8)))
    assert len(faces.faces) == len(emotions.emotions) == latency.faces == 0


def test_an_image_without_a_stamp_has_no_age(fer: Any, portrait: np.ndarray) -> None:
    image = fer.image(portrait)
    image.header.stamp.sec = image.header.stamp.nanosec = 0
    _, emotions, latency = ask(fer, image)
    assert len(emotions.emotions) == 1
    assert math.isnan(latency.age_at_receipt_ms)
    assert math.isnan(latency.age_at_publication_ms)
    assert latency.total_ms > 0


def test_malformed_images_are_counted_reported_and_skipped(fer: Any, portrait: np.ndarray) -> None:
    def broken(**changes: Any) -> Image:
        message = fer.image(portrait)
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    bad = [
        broken(step=7),
        broken(encoding="rainbow"),
        broken(data=array("B")),
        broken(data=array("B", bytes(1000))),
        broken(width=0, height=0),
        broken(width=2**32 - 1),
        broken(height=100_000),
        Image(),
    ]
    bad[0].header.stamp.sec = -5
    before = ask(fer, fer.image(portrait))[2].rejected_frames
    begun_s = time.monotonic()
    for number, message in enumerate(bad, start=1):

        def counted(number: int = number, message: Image = message) -> bool:
            """Images are sent with best effort, so one more may be needed."""
            fer.publish(message)
            fer.spin(0.05)
            return bool(ask(fer, fer.image(portrait))[2].rejected_frames - before >= number)

        fer.until(counted)
    _, emotions, latency = ask(fer, fer.image(portrait))
    elapsed_s = time.monotonic() - begun_s
    assert len(emotions.emotions) == 1
    fer.until(lambda: sum(s.rejected for s in fer.received["latency_statistics"]) == latency.rejected_frames - before)
    assert fer.processes[0].running()
    log = fer.processes[0].output
    assert "message skipped (1 so far): step 7 is less than" in log
    assert log.count("message skipped") <= 1 + elapsed_s / LOG_PERIOD_S
    assert "Traceback" not in log


def test_no_frame_is_lost_between_the_counters(fer: Any, portrait: np.ndarray) -> None:
    await_clean_statistics(fer)
    before = ask(fer, fer.image(portrait))[2].dropped_frames
    large = np.ascontiguousarray(np.tile(portrait, (2, 3, 1)))
    for _ in range(30):
        fer.publish(fer.image(large))
        fer.spin(0.002)
    statistics = fer.received["latency_statistics"]
    fer.until(lambda: statistics and not statistics[-1].received)
    received, answered, dropped = (sum(getattr(s, n) for s in statistics) for n in ("received", "answered", "dropped"))
    assert received > 0
    assert received == answered + dropped
    assert answered == len(fer.received["emotions"])
    assert fer.received["latency"][-1].dropped_frames - before == dropped


def test_statistics_count_every_image_once(fer: Any, portrait: np.ndarray) -> None:
    await_clean_statistics(fer)
    for _ in range(10):
        ask(fer, fer.image(portrait))
    fer.until(lambda: sum(s.answered for s in fer.received["latency_statistics"]) == len(fer.received["emotions"]))
    last = next(s for s in reversed(fer.received["latency_statistics"]) if s.answered)
    stages = {entry.stage: entry for entry in last.stages}
    assert {"receive", "decode", "detect", "align", "infer", "publish", "total", "age_at_publication"} <= set(stages)
    assert all(entry.p50_ms <= entry.p95_ms <= entry.p99_ms for entry in last.stages)
    assert last.publishers == 1
    assert last.fps_out == pytest.approx(last.answered / last.window_s, rel=1e-3)
    idle = len(fer.received["latency_statistics"])
    fer.until(lambda: len(fer.received["latency_statistics"]) > idle)  # they come without images, too


def test_overlay_belongs_to_its_image(fer: Any, portrait: np.ndarray) -> None:
    fer.collect(Image, "overlay", IMAGE_QOS)
    fer.start("overlay_node")
    fer.wait_for_image_subscribers(2)
    fer.until(lambda: fer.node.count_publishers(fer.node.resolve_topic_name("overlay")) == 1)
    (overlay,) = fer.ask(portrait, "overlay")  # with the header of its image
    assert overlay is fer.received["overlay"][0]
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(512, 512, 3)
    changed = (pixels != portrait).any(axis=2)
    assert changed[70:190, 170:290].any()
    assert not changed[300:, 150:].any()


def test_idle_nodes_end_cleanly(graph: Any, tmp_path: Path) -> None:
    """Whole interpreters, as people start them: what is left at their end is freed in some order."""
    cases = {"fer_node": signal.SIGINT, "overlay_node": signal.SIGTERM, "source_node": signal.SIGINT}
    space = ["--ros-args", "-r", f"__ns:={graph.node.get_namespace()}", "-p", "wait_for_subscribers:=100"]
    logs = {name: tmp_path / f"{name}.log" for name in cases}
    processes = {}
    for name, log in logs.items():
        with open(log, "w") as stream:
            command = [sys.executable, "-m", "fer_perception", name, *space]
            processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    graph.until(lambda: set(cases) <= set(graph.node.get_node_names()))
    graph.until(lambda: "active" in logs["fer_node"].read_text())
    for name, process in processes.items():
        process.send_signal(cases[name])
    for name, process in processes.items():
        assert process.wait(60) == 0, name
        output = logs[name].read_text()
        assert "Traceback" not in output
        assert "W0000" not in output
        assert "INFO: " not in output


def test_source_loops_on_request(graph: Any, tmp_path: Path) -> None:
    for value in (50, 200):
        cv2.imwrite(str(tmp_path / f"{value}.png"), np.full((48, 64, 3), value, np.uint8))
    source = graph.start_source(source=tmp_path, still_s=0.1, fps=20.0, loop=True)
    graph.until(lambda: len(graph.received["image"]) >= 12)
    brightness = [image.data[0] for image in graph.received["image"]]
    assert sum(abs(np.diff(np.asarray(brightness, int))) > 100) >= 3  # dark, bright, dark, bright
    assert source.running()


def test_source_plays_an_animation_at_its_own_times(graph: Any, tmp_path: Path) -> None:
    pictures = [PIL.Image.fromarray(np.full((48, 64, 3), 80 * n, np.uint8)) for n in range(4)]
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[200, 600, 200, 200], loop=0
    )
    source = graph.start_source(source=tmp_path / "a.gif")
    graph.until(lambda: not source.running())
    assert source.status == 0
    times = {
        round(image.data[0] / 80): image.header.stamp.sec + image.header.stamp.nanosec * 1e-9
        for image in graph.received["image"]
    }
    own = {0: 0.0, 1: 0.2, 2: 0.8, 3: 1.0}
    assert len(times) > 1  # best effort
    for before, after in pairwise(sorted(times)):
        assert times[after] - times[before] > own[after] - own[before] - 0.05  # it may be late by as much as it likes


def test_source_plays_a_video_at_its_pace(graph: Any, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 20, (64, 48))
    for index in range(30):
        writer.write(np.full((48, 64, 3), index * 8, np.uint8))
    writer.release()
    graph.collect(DiagnosticArray, "/diagnostics")
    source = graph.start_source(source=file, frame_id="eye")
    graph.until(lambda: not source.running())
    graph.spin(0.5)
    images = graph.received["image"]
    assert source.status == 0
    assert len(images) > 1  # best effort
    assert {(image.width, image.height, image.encoding, image.header.frame_id) for image in images} == {
        (64, 48, "rgb8", "eye")
    }
    brightness = [np.mean(image.data) for image in images]
    assert brightness == sorted(brightness)
    stamps = [image.header.stamp.sec + image.header.stamp.nanosec * 1e-9 for image in images]
    # After a pause of the machine at most two images come at once.
    assert stamps[-1] - stamps[0] > (len(stamps) - 3) * 0.05 - 0.01
    sent = [
        v.value for m in graph.received["/diagnostics"] for s in m.status for v in s.values if v.key == "frames_sent"
    ]
    assert sent[-1] == "30"
