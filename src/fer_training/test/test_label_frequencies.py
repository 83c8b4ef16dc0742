"""The label frequencies that a network learns, from the training data to the bundle."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_perception.models.bundle import Bundle
from fer_training.datasets import load_dataset
from fer_training.datasets.samples import Samples
from fer_training.export.onnx import export
from fer_training.runs.checkpoint import load_checkpoint, save_checkpoint
from fer_training.runs.config import SamplingConfig, load_config
from fer_training.runs.folder import BEST
from fer_training.training.sampling import learnt_frequencies, sampling_weights
from fer_training.training.supervised import Supervision, prepared


def samples_of(targets: list[int], soft: np.ndarray | None = None, **more: object) -> Samples:
    images = [np.zeros((48, 48), np.uint8)] * len(targets)
    labels = EMOTIONS_7[:3]
    return Samples("d", "train", labels, images, np.array(targets), soft_targets=soft, **more)  # type: ignore[arg-type]


def test_frequencies_are_those_of_the_images() -> None:
    assert learnt_frequencies(samples_of([0] * 6 + [1] * 3 + [2])) == [0.6, 0.3, 0.1]
    soft = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5]], np.float32)
    assert learnt_frequencies(samples_of([0, 1], soft)) == [0.25, 0.5, 0.25]
    missing = learnt_frequencies(samples_of([0, 0, 1]))  # a bundle's frequencies must be positive
    assert missing == pytest.approx([2 / 3, 1 / 3, 1e-6], abs=2e-6)
    assert min(missing) > 0


@pytest.mark.parametrize(
    ("strength", "expected"), [(0.5, np.sqrt([0.6, 0.3, 0.1])), (1.0, np.ones(3)), (2.0, 1 / np.array([0.6, 0.3, 0.1]))]
)
def test_the_adjusted_loss_takes_frequencies_out(strength: float, expected: np.ndarray) -> None:
    found = learnt_frequencies(samples_of([0] * 6 + [1] * 3 + [2]), logit_adjustment=strength)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-6)


def test_balanced_sampling_changes_what_is_shown() -> None:
    samples = samples_of([0] * 8 + [1] * 2)
    for balance, expected in ((0.5, [2 / 3, 1 / 3]), (1.0, [0.5, 0.5])):  # the roots of 0.8 and 0.2 are as 2 to 1
        weights = sampling_weights(SamplingConfig(label_balance=balance), samples)
        assert learnt_frequencies(samples, weights)[:2] == pytest.approx(expected, abs=1e-5)
    # Shown equally often and adjusted as well: over by as much.
    over = learnt_frequencies(samples, weights, 1.0)
    assert over[1] / over[0] == pytest.approx(4, rel=1e-4)


def test_each_label_set_has_its_frequencies() -> None:
    soft = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1.0]], np.float32)
    sets = {"a": ("x", "y"), "b": ("x", "y")}
    found = learnt_frequencies(samples_of([0] * 5, soft, label_sets=sets))
    assert found == pytest.approx([2 / 3, 1 / 3, 1 / 3, 2 / 3], abs=1e-6)


def test_a_run_tells_what_its_configuration_teaches(config_file: Path, voted: Path) -> None:
    samples = load_dataset(f"ferplus:{voted}", "train")
    shown = np.maximum(np.bincount(samples.targets, minlength=8) / len(samples), 1e-6)
    for strength in (0.0, 0.5):
        config = load_config(config_file, [f"data=ferplus:{voted}", f"logit_adjustment={strength}"])
        with prepared(config) as group:
            task = Supervision(config, group)
        expected = shown ** (1 - strength)
        np.testing.assert_allclose(task.facts["label_frequencies"], expected / expected.sum(), atol=1e-6)


def test_a_bundle_has_the_frequencies_of_its_labels(
    joint: Path, trained_bundle: Path, voted: Path, tmp_path: Path
) -> None:
    assert Bundle(trained_bundle).manifest.label_frequencies == pytest.approx([1 / 7] * 7, abs=1e-6)
    assert Bundle(trained_bundle).manifest.prior_strength == 0.5
    for labels_of, labels in (("ferplus", EMOTIONS_8), ("fer2013", EMOTIONS_7)):
        frequencies = Bundle(export(joint, tmp_path / labels_of, labels_of)).manifest.label_frequencies
        samples = load_dataset(f"{labels_of}:{voted}", "train")
        shown = np.bincount(samples.targets, minlength=len(labels)) / len(samples)
        np.testing.assert_allclose(frequencies, shown, atol=1e-5)


def test_a_run_without_frequencies_is_exported_without(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "old"
    shutil.copytree(trained, run)
    groups, facts = load_checkpoint(run / BEST)
    del facts["label_frequencies"]
    save_checkpoint(run / BEST, groups, facts)
    with caplog.at_level(logging.WARNING):
        bundle = export(run, tmp_path / "models")
    assert "the bundle has no balanced predictions" in caplog.text
    assert Bundle(bundle).manifest.label_frequencies is None
