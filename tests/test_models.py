"""The shipped models: what their manifests claim is what they do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from pyarrow import parquet
from scipy.special import softmax

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.labels import EMOTIONS_7
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_model
from fer_perception.pipeline import Pipeline
from fer_perception.settings import PipelineSettings
from fer_training.datasets import load_dataset
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.runs.config import load_config
from fer_training.runs.folder import CONFIG, load_run

ROWS = 300
CHECKPOINTS = Path(__file__).parents[1] / "src" / "fer_training" / "checkpoints"


class Expected(NamedTuple):
    """A model's parameters, the most bytes of its bundle, and the least accuracy on FER2013's test split."""

    parameters: int
    size: float
    accuracy: float


MODELS = {
    "baseline": Expected(2_232_263, 10e6, 0.62),
    "hybrid_attention_lite0_robust": Expected(3_382_199, 30e6, 0.70),
    "landmark_compressed": Expected(265_343, 2.5e6, 0.68),
}


@pytest.fixture(scope="module", params=MODELS)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle(resolve_model(request.param))


@pytest.fixture(scope="module")
def fer2013(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first rows of each split in the layout of the official fer2013.csv, as a dataset's name and path."""
    folder = tmp_path_factory.mktemp("fer2013")
    (folder / "fer2013").mkdir()
    for file in (data / "fer2013").iterdir():
        parquet.write_table(parquet.read_table(file).slice(0, ROWS), folder / "fer2013" / file.name)
    return unpacked(Path(shutil.copy(data / "unpack_fer2013.py", folder)), folder)


@pytest.fixture(scope="module")
def whole_fer2013(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return unpacked(data / "unpack_fer2013.py", tmp_path_factory.mktemp("whole_fer2013"))


def unpacked(script: Path, folder: Path) -> str:
    subprocess.run([sys.executable, script, folder], check=True)
    return f"fer2013:{folder}"


def labels_of(video: Path, pipeline: Pipeline) -> list[list[str]]:
    """The strongest emotion of each face of each frame."""
    capture = cv2.VideoCapture(str(video))
    labels = []
    while True:
        read, image = capture.read()
        if not read:
            return labels
        _, emotions = pipeline.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), len(labels) / 30)
        labels.append([EMOTIONS_7[int(row.argmax())] for row in emotions.probabilities])


@pytest.fixture(scope="module")
def pipeline(bundle: Bundle) -> Any:
    with closing(Pipeline.from_settings(PipelineSettings(model=str(bundle.path), precision="fp32"))) as pipeline:
        yield pipeline


def test_manifest_tells_data_recipe_and_metrics(bundle: Bundle) -> None:
    manifest, expected = bundle.manifest, MODELS[bundle.manifest.name]
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < expected.size
    assert manifest.parameters == expected.parameters
    assert manifest.training["recipe"]["data"] == "fer2013"
    assert manifest.training["data"]["train"]["images"] == 28_213
    test = manifest.metrics["fer2013/test/fp32"]
    assert test["n"] == np.sum(test["confusion"]) == 3_555
    assert test["accuracy"] == np.trace(test["confusion"]) / 3_555 >= expected.accuracy
    assert test["temperature"] == manifest.temperature


def test_a_part_of_the_test_split_is_read_as_claimed(bundle: Bundle, fer2013: str) -> None:
    samples = load_dataset(fer2013, "test")
    right = EmotionClassifier(bundle, "fp32").classify(samples.images).argmax(1) == samples.targets
    claimed = bundle.manifest.metrics["fer2013/test/fp32"]["accuracy"]
    assert right.mean() == pytest.approx(claimed, abs=4 * (claimed * (1 - claimed) / ROWS) ** 0.5)


@pytest.mark.slow
def test_the_claimed_accuracy_is_reproduced_from_the_bundle(bundle: Bundle, whole_fer2013: str, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "fer_training", "evaluate", "--model", bundle.path, "--dataset", whole_fer2013]
    subprocess.run([*command, "--split", "test", "--json", file], check=True)
    found = json.loads(file.read_text())["datasets"]["fer2013"]
    claimed = bundle.manifest.metrics["fer2013/test/fp32"]
    assert found["sha256"] == claimed["sha256"]
    for metric in ("accuracy", "macro_f1", "auroc", "ece"):
        assert found[metric] == pytest.approx(claimed[metric], abs=0.001)


def test_checkpoint_and_bundle_give_the_same_probabilities(bundle: Bundle, fer2013: str) -> None:
    run = CHECKPOINTS / bundle.manifest.name
    config = load_config(run / CONFIG)
    network, _ = load_run(run, config)
    samples = load_dataset(fer2013, "val")
    spec = config.input.spec()
    by_torch = predict(network, prepare_images(samples, spec)[:100], spec)
    at_temperature = softmax(np.log(by_torch) / bundle.manifest.temperature, axis=1)
    assert np.abs(at_temperature - EmotionClassifier(bundle).classify(samples.images[:100])).max() < 1e-4


def test_neutral_then_happy(pipeline: Pipeline, data: Path) -> None:
    labels = labels_of(data / "media" / "single_face.mp4", pipeline)
    assert all(len(faces) == 1 for faces in labels)
    first, last = Counter(face for (face,) in labels[:24]), Counter(face for (face,) in labels[-24:])
    assert first.most_common(1)[0][0] == "neutral"
    assert last.most_common(1)[0][0] == "happy"


def test_no_emotion_without_a_face(pipeline: Pipeline, data: Path) -> None:
    labels = labels_of(data / "media" / "face_noface.mov", pipeline)
    assert all(labels[:72])
    assert not any(labels[72:])
