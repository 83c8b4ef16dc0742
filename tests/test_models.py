"""The shipped models: what their manifests claim is what they do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from pyarrow import parquet
from scipy.special import softmax

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.models.bundle import Bundle, Precision
from fer_perception.models.shipped import DEFAULT_MODEL, resolve_model
from fer_perception.pipeline import Pipeline
from fer_perception.settings import PipelineSettings
from fer_training.datasets import load_dataset
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.runs.config import load_config
from fer_training.runs.folder import CONFIG, load_head

ROWS = 300
CHECKPOINTS = Path(__file__).parents[1] / "src" / "fer_training" / "checkpoints"


class Expected(NamedTuple):
    """A model's parameters, the most bytes of its bundle, and the least accuracy on its test split."""

    parameters: int
    size: float
    accuracy: float
    precision: Precision = "fp32"


MODELS = {
    "baseline": Expected(2_233_544, 10e6, 0.80),
    "hybrid_attention": Expected(2_235_936, 10e6, 0.80),
    "dual_adaptive": Expected(2_274_251, 11e6, 0.80),
    "landmark_compressed": Expected(185_739, 1.2e6, 0.78),
    "quantized": Expected(185_739, 1.2e6, 0.78, "int8"),
    DEFAULT_MODEL: Expected(3_383_480, 30e6, 0.84),
}


@pytest.fixture(scope="module", params=MODELS)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle(resolve_model(request.param))


@pytest.fixture(scope="module")
def precision(bundle: Bundle) -> Precision:
    return MODELS[bundle.manifest.name].precision


@pytest.fixture(scope="module")
def ferplus(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first rows of each split in the layout of the official files, as a dataset's name and path."""
    folder = tmp_path_factory.mktemp("ferplus")
    (folder / "fer2013").mkdir()
    for file in (data / "fer2013").iterdir():
        parquet.write_table(parquet.read_table(file).slice(0, ROWS), folder / "fer2013" / file.name)
    return unpacked(Path(shutil.copy(data / "unpack_fer2013.py", folder)), folder)


@pytest.fixture(scope="module")
def whole_ferplus(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return unpacked(data / "unpack_fer2013.py", tmp_path_factory.mktemp("whole_ferplus"))


def unpacked(script: Path, folder: Path) -> str:
    subprocess.run([sys.executable, script, folder], check=True)
    return f"ferplus:{folder}"


def labels_of(video: Path, pipeline: Pipeline, labels: Sequence[str]) -> list[list[str]]:
    """The strongest emotion of each face of each frame."""
    capture = cv2.VideoCapture(str(video))
    found: list[list[str]] = []
    while True:
        read, image = capture.read()
        if not read:
            return found
        _, emotions = pipeline.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), len(found) / 30)
        found.append([labels[int(row.argmax())] for row in emotions.probabilities])


@pytest.fixture(scope="module")
def pipeline(bundle: Bundle, precision: Precision) -> Any:
    with closing(Pipeline.from_settings(PipelineSettings(model=str(bundle.path), precision=precision))) as pipeline:
        yield pipeline


def test_manifest_tells_data_recipe_and_metrics(bundle: Bundle, precision: Precision) -> None:
    manifest, expected = bundle.manifest, MODELS[bundle.manifest.name]
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < expected.size
    assert manifest.parameters == expected.parameters
    assert manifest.training["recipe"]["data"] == "ferplus+fer2013"
    assert manifest.training["data"]["train"]["images"] == 28_213
    for name in ("fer2013", "manifest", "camera/ferplus", "camera/manifest"):
        assert 0 < manifest.metrics[f"{name}/test/{precision}"]["macro_f1"] < 1
    test = manifest.metrics[f"ferplus/test/{precision}"]
    assert test["n"] == np.sum(test["confusion"]) == 3_135
    assert test["accuracy"] == np.trace(test["confusion"]) / 3_135 >= expected.accuracy
    assert test["temperature"] == manifest.temperature


def test_each_is_made_from_the_one_before() -> None:
    chain = ["baseline", "hybrid_attention", "dual_adaptive", "landmark_compressed"]
    for before, name in pairwise(chain):
        training = Bundle(resolve_model(name)).manifest.training
        assert training["earlier_recipes"][0]["name"] == before


def test_a_part_of_the_test_split_is_read_as_claimed(bundle: Bundle, precision: Precision, ferplus: str) -> None:
    samples = load_dataset(ferplus, "test")
    right = EmotionClassifier(bundle, precision).classify(samples.images).argmax(1) == samples.targets
    claimed = bundle.manifest.metrics[f"ferplus/test/{precision}"]["accuracy"]
    assert right.mean() == pytest.approx(claimed, abs=4 * (claimed * (1 - claimed) / len(samples)) ** 0.5)


@pytest.mark.slow
def test_the_claimed_accuracy_is_reproduced_from_the_bundle(
    bundle: Bundle, precision: Precision, whole_ferplus: str, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "fer_training", "evaluate", "--model", bundle.path, "--dataset", whole_ferplus]
    subprocess.run([*command, "--precision", precision, "--split", "test", "--json", file], check=True)
    found = json.loads(file.read_text())["datasets"]["ferplus"]
    claimed = bundle.manifest.metrics[f"ferplus/test/{precision}"]
    assert found["sha256"] == claimed["sha256"]
    for metric in ("accuracy", "macro_f1", "auroc", "ece"):
        assert found[metric] == pytest.approx(claimed[metric], abs=0.001 if precision == "fp32" else 0.01)


def test_checkpoint_and_bundle_give_the_same_probabilities(bundle: Bundle, ferplus: str) -> None:
    run = CHECKPOINTS / bundle.manifest.name
    if not run.is_dir():
        pytest.skip("made from another bundle, not from a run")
    config = load_config(run / CONFIG)
    network, _ = load_head(run, config)
    samples = load_dataset(ferplus, "val")
    spec = config.input.spec()
    by_torch = predict(network, prepare_images(samples, spec)[:100], spec)
    at_temperature = softmax(np.log(by_torch) / bundle.manifest.temperature, axis=1)
    assert np.abs(at_temperature - EmotionClassifier(bundle).classify(samples.images[:100])).max() < 1e-4


def test_neutral_then_happy(pipeline: Pipeline, bundle: Bundle, data: Path) -> None:
    labels = labels_of(data / "media" / "single_face.mp4", pipeline, bundle.manifest.labels)
    assert all(len(faces) == 1 for faces in labels)
    first, last = Counter(face for (face,) in labels[:24]), Counter(face for (face,) in labels[-24:])
    assert first.most_common(1)[0][0] == "neutral"
    assert last.most_common(1)[0][0] == "happy"


def test_no_emotion_without_a_face(pipeline: Pipeline, bundle: Bundle, data: Path) -> None:
    labels = labels_of(data / "media" / "face_noface.mov", pipeline, bundle.manifest.labels)
    assert all(labels[:72])
    assert not any(labels[72:])
