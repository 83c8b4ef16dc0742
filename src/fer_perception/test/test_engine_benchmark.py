"""Engines side by side. How fast they are is not judged here: the machine is not ours alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_perception.commands.benchmark import engines
from fer_perception.commands.benchmark.command import main
from fer_perception.commands.benchmark.engines import BATCHES, format_engines, measure_engines
from fer_perception.errors import BundleError, FerError
from fer_perception.evaluation.speed import EnginesResult, OverheadResult
from fer_perception.models.bundle import Bundle, write_manifest


def test_ratios_are_medians_over_rounds_and_to_the_first_engine(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each round, milliseconds of the baseline's batches of 1 and 8, then of the other's."""
    times_ms = iter([2, 16, 1, 4, 3, 18, 1, 6, 4, 20, 4, 5])
    monkeypatch.setattr(engines, "turn_ms", lambda *_: next(times_ms))
    result = measure_engines(["baseline", str(tiny_bundle)], "fp32", "onnxruntime", rounds=3)
    found = [[engine.batch(size) for size in BATCHES] for engine in result.engines]
    assert [[speed.p50_ms for speed in row] for row in found] == [[3, 18], [1, 5]]
    assert [[speed.speed_ratio for speed in row] for row in found] == [[1, 1], [2, 4]]
    assert [[speed.faces_per_s for speed in row] for row in found] == [[333.3, 444.4], [1000, 1600]]


def test_real_engines_side_by_side(tiny_bundle: Path) -> None:
    manifest = Bundle(tiny_bundle).manifest
    metrics = {
        "camera/ferplus/test/fp32": {"accuracy": 0.125},
        "fer2013/test/fp32": {"accuracy": 0.25},
        "fer2013/val/fp32": {"accuracy": 0.5},
    }
    write_manifest(tiny_bundle, manifest.model_copy(update={"metrics": metrics}))
    result = measure_engines(["baseline", str(tiny_bundle)], "fp32", "onnxruntime", rounds=2)
    baseline, tiny = result.engines
    assert (baseline.name, tiny.name) == ("baseline", "tiny")
    for size in BATCHES:
        first, second = baseline.batch(size), tiny.batch(size)
        assert first.speed_ratio == 1
        assert min(first.p50_ms, second.p50_ms, second.speed_ratio, second.faces_per_s) > 0
    assert tiny.accuracy == {"camera/ferplus": 0.125, "fer2013": 0.25}
    assert tiny.bytes == (tiny_bundle / "fp32.onnx").stat().st_size
    line = next(line for line in format_engines(result).splitlines() if line.startswith("tiny, fp32"))
    assert line.endswith("25.00%")


def test_cpu_time_grows_with_the_network_and_the_batch(tiny_bundle: Path, tmp_path: Path) -> None:
    result = measure_engines(["baseline", str(tiny_bundle)], "fp32", "onnxruntime", 1, root=tmp_path)
    baseline, tiny = result.engines
    assert baseline.batch_8.cpu_ms > baseline.batch_1.cpu_ms > tiny.batch_1.cpu_ms > 0
    assert "no RAPL packages" in result.energy.reason
    assert (tiny.batch_1.joules, tiny.batch_1.g_co2e_per_1000) == (None, None)
    assert "energy, carbon: not measured (no INA3221" in format_engines(result)


def test_the_command_writes_what_it_found(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "engines.json"
    assert main(["engines", str(tiny_bundle), "--rounds", "1", "--json", str(file)]) == 0
    result = EnginesResult.read(file)
    assert [(engine.name, engine.precision) for engine in result.engines] == [("tiny", "fp32")]
    assert "Python" in result.machine
    assert result.grid_intensity_g_per_kwh is None
    assert "not measured" in capsys.readouterr().out


def test_a_file_of_another_version_is_refused_with_the_command_that_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "engines.json"
    for text, problem in (
        ('{"machine": "a", "engines": []}', "has schema version None, this program reads 1"),
        ('{"schema_version": 1, "machine": "a"}', "energy: Field required"),
        ("[1]", "has schema version None"),
        ("{", "cannot be read"),
    ):
        file.write_text(text)
        with pytest.raises(FerError, match=rf"engines.json: .*{problem}.* Write it again by .*benchmark engines"):
            EnginesResult.read(file)
    with pytest.raises(FerError, match="cannot be read"):
        EnginesResult.read(tmp_path / "missing.json")


def test_what_gate_and_audit_log_cost(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "overhead.json"
    arguments = ["overhead", "--model", str(tiny_bundle), "--count", "10", "--frames", "4", "--json", str(file)]
    assert main(arguments) == 0
    result = OverheadResult.read(file)
    assert (result.images, result.faces_per_image) == (10, 1.0)
    assert result.model.startswith("tiny-fp32-")
    assert min(result.with_ms, result.without_ms) > 0
    assert result.interval[0] <= result.ratio <= result.interval[1]
    assert f"ratio {result.ratio:.4f}" in capsys.readouterr().out


def test_a_precision_that_a_bundle_lacks_is_named(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="has no precision 'int8', only fp32"):
        measure_engines([str(tiny_bundle)], "int8", "onnxruntime", rounds=1)
