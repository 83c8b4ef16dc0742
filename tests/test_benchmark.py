"""The benchmark command on a real graph. What it measures is not judged here: the machine is not ours alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_perception.commands.benchmark import live as benchmark
from fer_perception.commands.benchmark.load import Run
from fer_perception.commands.benchmark.text import energy_text
from fer_perception.evaluation.speed import LiveEnergy, LiveResult
from fer_perception.models.shipped import DEFAULT_MODEL

COMMAND = [sys.executable, "-m", "fer_perception", "benchmark"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> LiveResult:
    file = tmp_path_factory.mktemp("benchmark") / "result.json"
    options = ["--modes", "keypoints", "--rates", "10", "30", "--rounds", "1", "--seconds", "0.5", "--frames", "10"]
    done = subprocess.run(
        [*COMMAND, *options, "--cameras", "2", "--load", "1", "--json", str(file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "keypoints, 30 Hz, end to end" in done.stdout
    return LiveResult.read(file)


def test_the_engine_is_named(result: LiveResult) -> None:
    assert result.modes["keypoints"].engine.startswith(f"{DEFAULT_MODEL}-")


def test_the_start_is_timed(result: LiveResult) -> None:
    assert result.start
    assert 0 < result.start.warm_s < 60
    assert 0 < result.start.cold_s < 120


def test_energy_is_measured_or_the_reason_is_told(result: LiveResult) -> None:
    energy = result.modes["keypoints"].energy
    assert (energy.w_at_30_hz or 0) > 0 if energy.sensor else energy.reason


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
    assert energy.sensor == "INA3221 VDD_IN"
    assert energy.idle_w == pytest.approx(10, rel=0.01)
    assert energy.j_per_image == pytest.approx(0.2, rel=0.01)
    assert energy.w_at_30_hz == pytest.approx(16, rel=0.01)
    assert "200.0 mJ an image" in energy_text(energy)
    assert energy_text(LiveEnergy(reason="no sensor")) == "not measured (no sensor)"


def test_floor_and_rates_of_a_mode(result: LiveResult) -> None:
    mode = result.modes["keypoints"]
    assert 0 < mode.floor.p50_ms <= mode.floor.p99_ms
    assert list(mode.rates) == ["10", "30"]
    for rate, run in mode.rates.items():
        assert run.sent == int(rate) // 2
        assert 0 < run.received <= run.sent
        assert run.p50_ms is not None
        assert run.p95_ms is not None
        assert run.p99_ms is not None
        assert 0 < run.p50_ms <= run.p95_ms <= run.p99_ms
        assert (run.jitter_ms or 0) > 0 or run.received < 3
        assert mode.rounds[rate] == [run]
    assert mode.peak_fraction_of_floor == pytest.approx(mode.peak_fps / mode.floor.fps, abs=0.01)
    assert (mode.cpu_percent or 0) > 0
    assert mode.rss_mb > 50
    assert len(mode.input_sha256) == 64


def test_eight_faces_are_found_and_cost_more_than_one(result: LiveResult) -> None:
    faces = result.faces
    assert faces is not None
    assert (faces.one.count, faces.eight.count) == (1, 8)
    assert faces.emotion_ratio == pytest.approx(faces.eight.infer / faces.one.infer, abs=0.01)


def test_both_shapes_of_two_cameras(result: LiveResult) -> None:
    each, shared = result.cameras["process_each"], result.cameras["shared_process"]
    assert each.sent == shared.sent == 2 * 15
    assert 0 < each.received <= 30
    assert 0 < shared.received <= 30
    assert shared.rss_mb < each.rss_mb


def test_images_are_answered_while_others_compute(result: LiveResult) -> None:
    busy = result.busy
    assert busy is not None
    assert (busy.processes, busy.sent) == (1, 8)
    assert 0 < busy.received <= busy.sent
    assert (busy.age_p50_ms or 0) > 0


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no.mp4"
    done = subprocess.run(
        [*COMMAND, "--source", str(missing)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr
