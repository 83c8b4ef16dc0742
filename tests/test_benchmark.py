"""The benchmark command on a real graph. What it measures is not judged here: the machine is not ours alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fer_perception.commands.benchmark import live as benchmark
from fer_perception.commands.benchmark.load import Run
from fer_perception.models.shipped import DEFAULT_MODEL

COMMAND = [sys.executable, "-m", "fer_perception", "benchmark"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("benchmark") / "result.json"
    options = ["--modes", "keypoints", "--rates", "10", "30", "--rounds", "1", "--seconds", "0.5", "--frames", "10"]
    done = subprocess.run(
        [*COMMAND, *options, "--cameras", "2", "--json", str(file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "keypoints, 30 Hz, end to end" in done.stdout
    return json.loads(file.read_text())


def test_the_engine_is_named(result: dict[str, Any]) -> None:
    assert result["keypoints"]["engine"].startswith(f"{DEFAULT_MODEL}-")


def test_energy_is_measured_or_the_reason_is_told(result: dict[str, Any]) -> None:
    energy = result["keypoints"]["energy"]
    assert energy["w_at_30_hz"] > 0 if "sensor" in energy else energy["reason"]


def test_energy_of_an_image_is_what_it_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Meter:
        """10 W, and 0.2 J an image."""

        sensor, reason, images = "INA3221 VDD_IN", "", 0

        def start(self) -> None:
            self._begin_s = time.monotonic()

        def energy_j(self) -> float:
            return 10 * (time.monotonic() - self._begin_s) + 0.2 * self.images

        def close(self) -> None:
            pass

    class Load:
        def play(self, images: list[bytearray], hz: float, seconds: float) -> Run:
            time.sleep(0.3)  # a second of images and some waiting for the last, in less time
            meter.images = 30
            return Run(30, 1.0, [5.0] * 30)

    meter = Meter()
    monkeypatch.setattr(benchmark, "PowerMeter", lambda: meter)
    energy = benchmark.measure_energy(Load(), [], 0.2)  # type: ignore[arg-type]
    assert energy["sensor"] == "INA3221 VDD_IN"
    assert energy["idle_w"] == pytest.approx(10, rel=0.01)
    assert energy["j_per_image"] == pytest.approx(0.2, rel=0.01)
    assert energy["w_at_30_hz"] == pytest.approx(16, rel=0.01)
    assert "200.0 mJ an image" in benchmark.energy_text(energy)
    assert benchmark.energy_text({"reason": "no sensor"}) == "not measured (no sensor)"


def test_floor_and_rates_of_a_mode(result: dict[str, Any]) -> None:
    mode = result["keypoints"]
    assert 0 < mode["floor"]["p50_ms"] <= mode["floor"]["p99_ms"]
    assert list(mode["rates"]) == ["10", "30"]
    for rate, run in mode["rates"].items():
        assert run["sent"] == int(rate) // 2
        assert 0 < run["answered"] <= run["sent"]
        assert 0 < run["p50_ms"] <= run["p95_ms"] <= run["p99_ms"]
        assert run["jitter_ms"] > 0 or run["answered"] < 3
        assert len(mode["rounds"][rate]) == 1
        assert run in mode["rounds"][rate]
    assert mode["peak_share_of_floor"] == pytest.approx(mode["peak_fps"] / mode["floor"]["fps"], abs=0.01)
    assert mode["cpu_percent"] > 0
    assert mode["rss_mb"] > 50
    assert len(mode["input_sha256"]) == 64


def test_eight_faces_are_found_and_cost_more_than_one(result: dict[str, Any]) -> None:
    faces = result["faces"]
    assert faces["eight"]["count"] == 8
    assert faces["one"]["count"] == 1
    assert faces["emotion_ratio"] == pytest.approx(faces["eight"]["infer"] / faces["one"]["infer"], abs=0.01)


def test_both_shapes_of_two_cameras(result: dict[str, Any]) -> None:
    shapes = result["cameras"]
    assert shapes["process_each"]["sent"] == shapes["shared_process"]["sent"] == 2 * 15
    assert 0 < shapes["process_each"]["answered"] <= 30
    assert 0 < shapes["shared_process"]["answered"] <= 30
    assert shapes["shared_process"]["rss_mb"] < shapes["process_each"]["rss_mb"]


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no.mp4"
    done = subprocess.run(
        [*COMMAND, "--source", str(missing)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr
