"""make demo's program on its default source and on the shared media."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from rosbags.highlevel import AnyReader

from fer_perception.resources import DEFAULT_MODEL

STAGES = {"end_to_end", "receive", "decode", "detect", "align", "infer", "publish"}


def run_demo(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fer_perception", "demo", "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL)


def emotions_in(bag: Path) -> list[tuple[float, list[str]]]:
    """Stamp and strongest labels of every EmotionArray of a bag, in order."""
    with AnyReader([bag]) as reader:
        connections = [c for c in reader.connections if c.topic == "/fer/emotions"]
        messages: list[Any] = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages(connections)]
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in messages]
    return sorted(zip(stamps, [[e.label for e in m.emotions] for m in messages], strict=True))


def test_the_default_source(tmp_path: Path) -> None:
    result = run_demo(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("latency p50") >= 5  # a line a second
    summary = json.loads((tmp_path / "summary.json").read_text())
    answered = summary["frames_answered"]
    assert summary["frames_sent"] == 300
    assert 0.9 * 300 <= answered <= 300
    assert summary["faces_per_frame"]["1"] >= 0.95 * answered
    assert summary["top_emotion"] == "happy"
    assert sum(summary["emotions"].values()) == sum(int(n) * c for n, c in summary["faces_per_frame"].items())
    assert set(summary["latency_ms"]) == STAGES
    assert all(v["p50"] <= v["p95"] <= v["p99"] for v in summary["latency_ms"].values())
    assert summary["model"].startswith(f"{DEFAULT_MODEL}-")
    assert summary["duration_s"] == pytest.approx(10, abs=2)

    with AnyReader([tmp_path / "bag"]) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert counts["/fer/emotions"] == answered
    # Volatile topics can miss the first messages while the graph is being discovered.
    assert counts["/fer/faces"] == pytest.approx(answered, abs=3)
    assert counts["/fer/latency"] == pytest.approx(answered, abs=3)
    assert counts["/fer/image"] >= 0.9 * answered
    assert counts["/fer/latency_statistics"] >= 5
    assert cv2.imread(str(tmp_path / "snapshot.png")).shape == (480, 640, 3)
    video = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 0.5 * answered
    assert video.read()[0]


def test_neutral_first_then_happy(tmp_path: Path, data: Path) -> None:
    result = run_demo(tmp_path, "--source", str(data / "media" / "single_face.mp4"))
    assert result.returncode == 0, result.stdout + result.stderr
    labels = [label for _, (label, *_) in emotions_in(tmp_path / "bag")]
    assert max(set(labels[:24]), key=labels[:24].count) == "neutral"
    assert max(set(labels[-24:]), key=labels[-24:].count) == "happy"


def test_no_stale_emotions_when_the_face_has_gone(tmp_path: Path, data: Path) -> None:
    result = run_demo(tmp_path, "--source", str(data / "media" / "face_noface.mov"))
    assert result.returncode == 0, result.stdout + result.stderr
    answers = [len(labels) for _, labels in emotions_in(tmp_path / "bag")]
    vanished = len(answers) - answers[::-1].index(1)  # the first answer after the last face
    assert 50 <= sum(answers[:vanished]) <= 72  # of 169 frames the first 72 show him
    assert len(answers) - vanished >= 70
    assert not any(answers[vanished:])


def test_several_people_and_a_path_that_needs_quoting(tmp_path: Path, data: Path) -> None:
    picture = tmp_path / "it's a picture.jpg"
    picture.write_bytes((data / "media" / "multi_face.jpg").read_bytes())
    result = run_demo(tmp_path / "out", "--source", str(picture))
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert all(int(faces) >= 4 for faces in summary["faces_per_frame"])


def test_old_results_do_not_survive_a_failed_run(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("of an earlier run")
    assert run_demo(tmp_path, "--model", "/nowhere").returncode == 1
    assert not (tmp_path / "summary.json").exists()
    assert "of an earlier run" not in (tmp_path / "bag" / "metadata.yaml").read_text()


def test_a_folder_of_the_user_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "groceries.txt").write_text("milk")
    result = run_demo(tmp_path)
    assert result.returncode == 1
    assert "exists and is no bag of an earlier demo" in result.stderr
    assert (tmp_path / "bag" / "groceries.txt").exists()


def test_a_limited_time(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--seconds", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert 0 < summary["frames_answered"] <= summary["frames_sent"] <= 61


def test_a_bad_source_ends_at_once(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--source", str(tmp_path / "missing.mp4"))
    assert result.returncode == 1
    assert "missing.mp4: there is no such file or folder" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bad_model_is_reported_and_nothing_is_left_running(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--model", str(tmp_path / "no_model"))
    assert result.returncode == 1
    assert "no_model/manifest.yaml: cannot be read" in result.stderr
    assert "demo: /fer/fer_node: " in result.stderr
    assert "Traceback" not in result.stderr
