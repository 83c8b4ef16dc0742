"""Engines side by side. How fast they are is not judged here: the machine is not ours alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_perception.commands.benchmark.engines import BATCHES, format_engines, measure_engines
from fer_perception.commands.benchmark.live import main
from fer_perception.errors import BundleError
from fer_perception.models.bundle import Bundle, write_manifest


def test_ratios_are_to_the_first_engine(tiny_bundle: Path) -> None:
    manifest = Bundle(tiny_bundle).manifest
    metrics = {"fer2013/test/fp32": {"accuracy": 0.25}, "fer2013/val/fp32": {"accuracy": 0.5}}
    write_manifest(tiny_bundle, manifest.model_copy(update={"metrics": metrics}))
    baseline, tiny = measure_engines(["baseline", str(tiny_bundle)], "fp32", "onnxruntime", rounds=2)
    assert (baseline["name"], tiny["name"]) == ("baseline", "tiny")
    for batch in BATCHES:
        first, second = baseline[f"batch_{batch}"], tiny[f"batch_{batch}"]
        assert first["speed_ratio"] == 1
        assert second["speed_ratio"] == pytest.approx(first["p50_ms"] / second["p50_ms"], rel=0.01)
        assert second["faces_per_s"] == pytest.approx(batch * 1000 / second["p50_ms"], rel=0.01)
    assert tiny["accuracy"] == {"fer2013": 0.25}
    assert tiny["bytes"] == (tiny_bundle / "fp32.onnx").stat().st_size
    line = next(line for line in format_engines([baseline, tiny]).splitlines() if line.startswith("tiny, fp32"))
    assert line.endswith("25.00%")


def test_cpu_time_grows_with_the_network_and_the_batch(tiny_bundle: Path, tmp_path: Path) -> None:
    baseline, tiny = measure_engines(["baseline", str(tiny_bundle)], "fp32", "onnxruntime", 1, root=tmp_path)
    assert baseline["batch_8"]["cpu_ms"] > baseline["batch_1"]["cpu_ms"] > tiny["batch_1"]["cpu_ms"] > 0
    assert "no RAPL packages" in tiny["energy"]["reason"]
    assert (tiny["batch_1"]["joules"], tiny["batch_1"]["g_co2e_per_1000"]) == (None, None)
    assert "energy, carbon: not measured (no INA3221" in format_engines([baseline, tiny])


def test_the_command_writes_what_it_found(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "engines.json"
    assert main(["--engines", str(tiny_bundle), "--rounds", "1", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert [(row["name"], row["precision"]) for row in result["engines"]] == [("tiny", "fp32")]
    assert "Python" in result["machine"]
    assert result["engines"][0]["grid_intensity_g_per_kwh"] is None
    assert "not measured" in capsys.readouterr().out


def test_a_precision_that_a_bundle_lacks_is_named(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="has no precision 'int8', only fp32"):
        measure_engines([str(tiny_bundle)], "int8", "onnxruntime", rounds=1)
