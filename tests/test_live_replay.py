"""A bag in a live graph: player, pipeline and recorder over real DDS, against the offline replay of the same bag."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from fer_msgs.msg import EmotionArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from fer_perception.images.sources import open_source
from fer_perception.models.shipped import DEFAULT_MODEL
from fer_perception.nodes.recording.prediction_recorder import PredictionRecorder
from fer_perception.replay.comparison import compare
from fer_perception.replay.evaluate_bags import Options, evaluate_bags
from fer_perception.replay.message_types import typestore
from fer_perception.replay.storage.new_bag import Item, write_bag
from fer_perception.replay.tables import KEYPOINT_COLUMNS, Predictions, read_predictions
from fer_perception.settings import ReplaySettings

FRAMES = 60
CORRUPT = 7
HOUR_MS = 3_600_000
QUIET = Options(write_bags=False, images=False)


def live_replay(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fer_perception", "live_replay", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving face at 30 Hz, labelled."""
    folder = tmp_path_factory.mktemp("bags") / "portrait"
    images = islice(cycle(open_source("astronaut").frames()), FRAMES)
    write_bag((Item(image, "happy" if n >= FRAMES // 2 else "neutral") for n, image in enumerate(images)), folder, 30.0)
    return folder


@pytest.fixture(scope="module")
def damaged_jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as JPEGs in sqlite3, one of them corrupt."""
    source, out = (tmp_path_factory.mktemp("bags") / name for name in ("whole", "damaged"))
    images = islice(cycle(open_source("astronaut").frames()), FRAMES)
    write_bag((Item(image) for image in images), source, 30.0, encoding="jpeg")
    kind, store = "sensor_msgs/msg/CompressedImage", typestore()
    with Reader(source) as reader, Writer(out, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        (topic,) = reader.topics
        connection = writer.add_connection(topic, kind, typestore=store)
        for index, (_, time_ns, raw) in enumerate(reader.messages()):
            message = store.deserialize_cdr(raw, kind)
            if index == CORRUPT:
                message.data = message.data[:100]
            writer.write(connection, time_ns, store.serialize_cdr(message, kind))
    return out


def offline(bag: Path, out: Path) -> Predictions:
    evaluate_bags([bag], out, ReplaySettings(), options=QUIET)
    return read_predictions(out)


def assert_agreement(live: Predictions, offline: Predictions) -> None:
    """On the frames that both processed: the same faces and the same predictions for each frame by itself.

    Where one of both saw other frames before, it looked at the followed face in a slightly different place. Tracks and
    smoothed predictions may differ then, too.
    """
    same_frames = len(live.emotions) == len(offline.emotions)
    columns = ["frame", "stamp_ns", "time_ns", "label", "x", "y", "width", "height", *live.labels]
    both = live.emotions[columns].merge(offline.emotions[columns], on="frame", suffixes=("", "_offline"))
    assert len(both) == len(live.emotions) > 0
    for name in columns[1:4]:
        assert (both[name] == both[f"{name}_offline"]).all(), name
    for name in columns[4:8]:
        tolerance = 0 if same_frames else 0.15 * both["width"].min()
        np.testing.assert_allclose(both[name], both[f"{name}_offline"], atol=tolerance)
    for label in live.labels:
        tolerance = 1e-5 if same_frames else 0.1
        np.testing.assert_allclose(both[label], both[f"{label}_offline"], atol=tolerance)


def test_live_and_offline_agree(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "live"
    result = live_replay(bag, "--smoothing-s", 0.25, "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    live, report = read_predictions(out), json.loads((out / "report.json").read_text())
    frames = live.frames
    assert frames["frame"].tolist() == list(range(FRAMES))
    processed = frames[~frames["dropped"]]
    assert len(processed) > 0
    assert_agreement(live, offline(bag, tmp_path / "offline"))
    assert compare((out, tmp_path / "offline"), tmp_path / "compare", images=False).agreement == 1.0

    assert report["model"]["id"].startswith(f"{DEFAULT_MODEL}-")
    assert (report["settings"]["smoothing_s"], report["settings"]["rate"]) == (0.25, 1.0)  # as the node says itself
    truth = report["all"]["truth"]
    assert (truth["labelled"], truth["predicted"]) == (FRAMES, len(processed))
    # Ages are in the bag's time: without use_sim_time they would be years.
    for age in ("age_at_receipt_ms", "age_at_publication_ms"):
        assert processed[age].abs().max() < HOUR_MS, age
    assert ((processed["end_to_end_ms"] > 0) & (processed["end_to_end_ms"] < HOUR_MS)).all()
    assert (processed[["decode_ms", "detect_ms", "align_ms", "infer_ms", "receive_ms", "publish_ms"]] > 0).all(
        axis=None
    )
    with Reader(out / "bags" / "portrait") as copy:
        counts = {topic: info.msgcount for topic, info in copy.topics.items()}
    assert counts["/replay/camera/image_raw/emotions"] == len(processed)
    assert counts["/camera/image_raw"] == FRAMES


def test_what_is_dropped_is_part_of_the_verdict(damaged_jpegs: Path, tmp_path: Path) -> None:
    """Played much faster than any pipeline is."""
    out = tmp_path / "live"
    result = live_replay(damaged_jpegs, "--rate", 100, "--no-images", "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    live, report = read_predictions(out), json.loads((out / "report.json").read_text())
    expected = offline(damaged_jpegs, tmp_path / "offline")
    assert_agreement(live, expected)
    dropped = int(live.frames["dropped"].sum())
    assert 0 < dropped <= FRAMES - 2
    assert dropped + len(live.emotions) + 1 == FRAMES  # one face in each image, and one that is corrupt
    assert live.frames["rejected"].tolist() == expected.frames["rejected"].tolist()
    assert live.frames["rejected"][CORRUPT] != ""
    (stream,) = report["streams"]
    assert stream["dropped"] == report["all"]["dropped"] == dropped
    assert 0 <= stream["node"]["dropped"] <= dropped + 1  # the others were lost on the way to it
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"{dropped} of {FRAMES} images were dropped" in page
    assert f"{dropped} dropped" in result.stdout


def test_a_publisher_may_be_discovered_before_the_name_of_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = PredictionRecorder(tmp_path / "predictions")
    pipeline = Node("pipeline", namespace=recorder.get_namespace())
    pipeline.create_publisher(EmotionArray, "emotions", 1)
    pipeline.declare_parameter("answer", 42)
    executor = SingleThreadedExecutor()
    executor.add_node(pipeline)
    executor.add_node(recorder)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    discovered = recorder.get_publishers_info_by_topic
    nameless = 3

    def discover(topic: str) -> list[Any]:
        """As rmw answers until the message with the nodes' names has come."""
        nonlocal nameless
        infos = discovered(topic)
        if infos and nameless:
            nameless -= 1
            for info in infos:
                info.node_namespace, info.node_name = "_NODE_NAMESPACE_UNKNOWN_", "_NODE_NAME_UNKNOWN_"
        return infos

    monkeypatch.setattr(recorder, "get_publishers_info_by_topic", discover)
    try:
        assert recorder.pipeline_settings(["answer", "lacking"]) == {"answer": 42}
        assert nameless == 0
    finally:
        executor.shutdown()
        thread.join()
        recorder.finish()
        pipeline.destroy_node()


def test_a_running_pipeline_is_attached_to(bag: Path, graph: Any, tmp_path: Path) -> None:
    """Both halves in processes of their own; only 0.5 s of the bag."""
    graph.start("face_node", use_sim_time=True, privacy="off")
    graph.start("emotion_node", use_sim_time=True)
    space, out = graph.node.get_namespace(), tmp_path / "live"
    options = ("--attach", "--from", 0.5, "--to", 1.0, "--no-images", "--out", out)
    result = live_replay(bag, *options, "--ros-args", "-r", f"__ns:={space}")
    assert result.returncode == 0, result.stdout + result.stderr
    live, report = read_predictions(out), json.loads((out / "report.json").read_text())
    assert live.frames["frame"].tolist() == list(range(15, 30))
    assert_agreement(live, offline(bag, tmp_path / "offline"))
    assert report["live"]["predictions_topic"] == f"{space}/emotions"
    assert report["settings"] == {
        "model": "", "precision": "auto", "backend": "auto", "prior": "balanced", "max_lost_s": 1.0, "smoothing_s": 0.5,
        "rate": 1.0, "min_face_px": 0, "min_sharpness": 0.0, "max_yaw_deg": 90.0, "abstain_below": 0.0
    }  # fmt: skip
    assert all(process.running() for process in graph.processes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: there is no such bag"),
        (("BAG", "--attach", "--model", "baseline"), "--model: --attach: the pipeline that is running has its own"),
        (("BAG", "--model", "no_model"), "live_replay: /fer/fer_node: no_model/manifest.yaml: cannot be read"),
        (("BAG", "--topic", "/other"), "has no image topic /other. It has /camera/image_raw"),
    ],
)
def test_errors_say_what_is_wrong(bag: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    given = [bag if word == "BAG" else word for word in arguments]
    result = live_replay(*given, "--out", tmp_path / "out")
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "report.json").exists()


def test_interrupted_it_stops_what_it_started_and_gives_no_verdict(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fer_perception", "live_replay", bag, "--rate", "0.1", "--out", out]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
    deadline = time.monotonic() + 60
    while "times its pace" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("fer_node" in child.cmdline() for child in children)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not (out / "report.json").exists()


def test_frames_and_predictions_of_a_recording_without_clock(bag: Path, tmp_path: Path) -> None:
    """The predictions that lie beside the images in a bag: end to end is then by the bag's own time."""
    evaluate_bags([bag], tmp_path / "offline", ReplaySettings(), options=Options(images=True))
    both = tmp_path / "offline" / "bags" / "portrait"
    command = [sys.executable, "-m", "fer_perception", "replay", both, "--predictions", both, "--no-bag"]
    topic = "/replay/camera/image_raw/emotions"
    arguments = ["--predictions-topic", topic, "--topic", "/camera/image_raw", "--out", tmp_path / "again"]
    subprocess.run([*map(str, command), *map(str, arguments)], check=True, timeout=240)
    first, again = read_predictions(tmp_path / "offline"), read_predictions(tmp_path / "again")
    ignored = ["bag", "face_confidence", *KEYPOINT_COLUMNS]
    pd.testing.assert_frame_equal(again.emotions.drop(columns=ignored), first.emotions.drop(columns=ignored))
    assert (again.frames["end_to_end_ms"] == 0).all()
    assert first.frames["end_to_end_ms"].isna().all()
    same = ["frame", "faces", "dropped", "detect_ms", "total_ms"]
    pd.testing.assert_frame_equal(again.frames[same], first.frames[same])
