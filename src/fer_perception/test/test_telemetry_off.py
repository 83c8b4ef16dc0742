"""ONNX Runtime reports nothing: no device id, no database of events, and no question for its server's address."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN_AN_ENGINE = """
import numpy as np
from fer_perception.engines.onnx_runtime import OnnxRuntimeEngine
engine = OnnxRuntimeEngine({file!r})
print(engine.infer(np.zeros((1, 1, 48, 48), np.float32)).shape)
engine.close()
"""


def _run(code: str, home: Path, before: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    environment = kept | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.run([*before, sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_an_engine_leaves_nothing_behind_and_asks_nobody(tiny_bundle: Path, tmp_path: Path, home: Path) -> None:
    calls = tmp_path / "calls"
    strace = ["strace", "-f", "-qq", "-e", "trace=%network", "-s", "200", "-o", str(calls)]
    traced = bool(shutil.which("strace")) and not subprocess.run([*strace, "true"], capture_output=True).returncode
    done = _run(RUN_AN_ENGINE.format(file=str(tiny_bundle / "fp32.onnx")), home, strace if traced else [])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 7)"
    assert sorted(home.rglob("*")) == []
    if traced:
        sent = calls.read_bytes()
        assert b"AF_INET" not in sent


@pytest.mark.parametrize("module", ["fer_training.export.quantization.sensitivity", "fer_training.evaluation.identity"])
def test_modules_that_import_onnx_runtime_first_do_so_without_telemetry(module: str, home: Path) -> None:
    pytest.importorskip("fer_training")
    pytest.importorskip("torch")
    done = _run(f"import os, {module}; print(os.environ['ORT_DISABLE_TELEMETRY'])", home, [])
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
    assert not list(home.rglob("*Microsoft*"))


def test_what_a_user_has_set_stays(home: Path) -> None:
    code = "import fer_perception, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert _run(code, home, [], ORT_DISABLE_TELEMETRY="0").stdout.strip() == "0"
