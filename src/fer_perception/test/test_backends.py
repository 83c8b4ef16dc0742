from __future__ import annotations

import logging
import math
import shutil
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.engines import cpu_choices
from fer_perception.engines import selection as backends
from fer_perception.engines.selection import choose_precision, fastest_precisions, load_engine
from fer_perception.engines.tensorrt.cuda import Gpu
from fer_perception.errors import BundleError, EngineError
from fer_perception.models.bundle import Bundle
from fer_perception.pipeline import EmotionPipeline
from fer_perception.settings import EmotionSettings

# Name, compute capability, what it should run of a bundle that has everything, and of one without int8.
GPUS = [
    ("Jetson Nano, TX1", "5.3", "fp16", "fp16"),
    ("P100", "6.0", "fp16", "fp16"),
    ("GTX 1080", "6.1", "int8", "fp32"),
    ("Jetson TX2", "6.2", "fp16", "fp16"),
    ("Jetson Xavier", "7.2", "int8", "fp16"),
    ("Jetson Orin", "8.7", "int8", "fp16"),
    ("Jetson Thor", "11.0", "int8", "fp16"),
    ("GTX 980", "5.2", "fp32", "fp32"),
]


@pytest.fixture
def bundle(tiny_bundle: Path) -> Path:
    """With a file for each precision, all the same network."""
    manifest = tiny_bundle / "manifest.yaml"
    content = yaml.safe_load(manifest.read_text())
    for precision in ("fp16", "int8"):
        shutil.copy(tiny_bundle / "fp32.onnx", tiny_bundle / f"{precision}.onnx")
        content["files"][precision] = {**content["files"]["fp32"], "name": f"{precision}.onnx"}
    manifest.write_text(yaml.safe_dump(content))
    return tiny_bundle


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)  # None makes the import fail


@pytest.mark.parametrize(("name", "capability", "best", "without_int8"), GPUS)
def test_a_gpu_runs_what_it_is_fast_at(name: str, capability: str, best: str, without_int8: str) -> None:
    order, reason = fastest_precisions(Gpu(name, capability))
    assert order[0] == best
    assert next(precision for precision in order if precision != "int8") == without_int8
    assert f"{name} (compute capability {capability})" in reason


def test_an_accelerator_runs_fp16() -> None:
    assert fastest_precisions(Gpu("Orin", "8.7"), dla_core=0)[0][0] == "fp16"


def test_the_choice_is_among_the_bundles_files_and_logged(
    bundle: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert choose_precision(Bundle(bundle), "auto", Gpu("Jetson Nano", "5.3")) == "fp16"
    assert "fp16 of fp16, fp32, int8, because Jetson Nano" in caplog.text
    assert "no fast int8" in caplog.text
    assert choose_precision(Bundle(bundle), "fp32", Gpu("Orin", "8.7")) == "fp32"


def test_a_cpu_runs_what_was_measured_to_be_fastest_there(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both files are the same network here, so the clock is what differs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured = []

    def measure(candidates: dict[str, cpu_choices.Candidate]) -> dict[str, float]:
        found = real(candidates)
        measured.append(found)
        return {name: milliseconds * (0.5 if name == fast else 2) for name, milliseconds in found.items()}

    real = cpu_choices._measure
    monkeypatch.setattr(cpu_choices, "_measure", measure)
    for fast in ("int8", "fp32"):
        shutil.rmtree(tmp_path / "fer_perception", ignore_errors=True)
        for _ in range(2):  # the second time it is remembered
            with caplog.at_level(logging.INFO):
                assert choose_precision(Bundle(bundle), "auto") == fast
    assert len(measured) == 2
    assert all(set(found) == {"fp32", "int8"} and min(found.values()) > 0 for found in measured)
    assert "fp32 of fp16, fp32, int8, because a face took on this CPU: fp32 " in caplog.text

    # Other files are other facts, and what was damaged is measured again.
    (remembered,) = (tmp_path / "fer_perception" / "engines").glob("*.engine")
    remembered.write_text('{"int8": 0, "fp32": 1}')
    assert choose_precision(Bundle(bundle), "auto") == fast
    assert len(measured) == 3


@pytest.mark.parametrize(
    ("cores", "speed_up", "chosen"),
    [(1, 2.0, 1), (2, 2.0, 2), (4, 2.0, 4), (16, 2.0, 8), (8, 1.02, 1), (3, 0.5, 1)],
)
def test_as_many_threads_as_pay_off(
    bundle: Path,
    cores: int,
    speed_up: float,
    chosen: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The batches are computed; only the clock is another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cpu_choices.os, "sched_getaffinity", lambda process: set(range(cores)))

    def measure(candidates: dict[str, cpu_choices.Candidate]) -> dict[str, float]:
        found = real(candidates)
        assert min(found.values()) > 0
        return {name: 10.0 * speed_up ** -math.log2(int(name)) for name in found}

    real = cpu_choices._measure
    monkeypatch.setattr(cpu_choices, "_measure", measure)
    with caplog.at_level(logging.INFO):
        loaded = load_engine(Bundle(bundle), "fp32", threads=0)
    assert f": {chosen}, because" in caplog.text
    spec = Bundle(bundle).manifest.input
    faces = np.random.default_rng(0).random((5, spec.channels, spec.height, spec.width)).astype(np.float32)
    with closing(loaded.engine), closing(load_engine(Bundle(bundle), "fp32").engine) as one:
        assert np.allclose(loaded.engine.infer(faces), one.infer(faces), atol=1e-5)

    # The second time it is remembered.
    monkeypatch.setattr(cpu_choices, "_measure", lambda candidates: pytest.fail("measured again"))
    load_engine(Bundle(bundle), "fp32", threads=0).engine.close()


def test_a_bundle_with_one_file_leaves_no_choice(tiny_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose_precision(Bundle(tiny_bundle), "auto") == "fp32"
    assert not caplog.text


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_means_the_cpu(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        loaded = load_engine(Bundle(bundle), "auto", backend="auto")
    assert loaded.engine.name.startswith("ONNX Runtime")
    assert loaded.precision in ("int8", "fp32")
    assert "backend auto: ONNX Runtime, because no GPU can be used: pycuda cannot be imported" in caplog.text


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_tensorrt_is_refused_with_a_remedy(bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"backend tensorrt: pycuda.*pip install pycuda.*use backend auto"):
        load_engine(Bundle(bundle), backend="tensorrt")


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_cannot_be_used_is_a_warning_and_the_cpu_goes_on(
    bundle: Path,
    tmp_path: Path,
    tensorrt: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backends, "find_gpu", lambda: Gpu("a GPU that is not there", "8.6"))
    loaded = load_engine(Bundle(bundle), "auto", backend="auto")  # is built, and fails when it is to be loaded
    assert loaded.engine.name.startswith("ONNX Runtime")
    assert "backend auto: ONNX Runtime, because TensorRT failed: pycuda" in caplog.text
    assert list(tmp_path.rglob("*.engine"))

    def fail() -> Gpu:
        raise EngineError("out of order")

    monkeypatch.setattr(backends, "find_gpu", fail)
    monkeypatch.setattr(backends, "driver_installed", lambda: True)
    caplog.clear()
    load_engine(Bundle(bundle), backend="auto")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("no_gpu")
def test_what_nobody_thought_of_is_told_whole_and_the_cpu_goes_on(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "find_gpu", lambda: Gpu("Orin", "8.7"))
    monkeypatch.setattr(backends, "_load_tensorrt", lambda *_: {}["a new interface"])
    assert load_engine(Bundle(bundle), backend="auto").engine.name.startswith("ONNX Runtime")
    assert "KeyError: 'a new interface'" in caplog.text


@pytest.mark.usefixtures("no_gpu")
def test_a_broken_bundle_is_an_error_with_every_backend(bundle: Path) -> None:
    (bundle / "fp32.onnx").write_bytes(b"")
    for backend in ("auto", "onnxruntime"):
        with pytest.raises(BundleError, match="SHA-256"):
            load_engine(Bundle(bundle), "fp32", backend=backend)


def test_nodes_of_a_process_share_a_network_until_the_last_is_done(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[EmotionClassifier] = []
    monkeypatch.setattr(EmotionClassifier, "close", lambda self: closed.append(self))
    settings = EmotionSettings(model=str(bundle), precision="fp32", backend="onnxruntime")
    front, rear = (EmotionPipeline.from_settings(settings) for _ in range(2))
    other = EmotionPipeline.from_settings(settings.model_copy(update={"precision": "int8"}))
    assert front.classifier is rear.classifier
    assert other.classifier is not front.classifier
    front.close()
    assert closed == []
    rear.close()
    assert closed == [rear.classifier]
    other.close()
    assert EmotionPipeline.from_settings(settings).classifier is not rear.classifier
