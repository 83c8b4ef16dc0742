"""Metrics of classification; what scikit-learn computes is not tested again."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from fer_perception.evaluation.metrics import (
    bootstrap_intervals,
    classification_metrics,
    expected_calibration_error,
    interval,
    reliability,
    resampled_confusions,
    scores,
)

RNG = np.random.default_rng(0)
LABELS = ("a", "b", "c")
CONFUSION = [[40, 10, 0], [5, 30, 5], [1, 2, 7]]  # accuracy 0.77


def units_of(right: np.ndarray) -> np.ndarray:
    """One 2 x 2 confusion matrix for each row of right (True) and wrong predictions of the label 0."""
    return np.asarray([[[row.sum(), (~row).sum()], [0, 0]] for row in right], np.int64)


def test_values_worked_out_by_hand() -> None:
    targets = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.7, 0.2], [0.3, 0.6, 0.1]])
    metrics = classification_metrics(targets, probabilities, LABELS)
    assert metrics.n == 4
    assert metrics.accuracy == 0.75
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)  # over the two classes that occur
    assert metrics.auroc == pytest.approx(1.0)
    assert metrics.ece == pytest.approx((0.2 + 0.5 + 0.3 + 0.4) / 4)  # each in a bin of its own
    assert metrics.recall == {"a": 0.5, "b": 1.0, "c": None}
    assert metrics.confusion == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_rare_classes_do_not_count_among_the_common() -> None:
    targets = np.array([0] * 100 + [1] * 100 + [2])  # c is less than 1% of the samples
    probabilities = np.eye(3)[np.array([0] * 90 + [1] * 10 + [1] * 100 + [0])]
    metrics = classification_metrics(targets, probabilities, LABELS)
    expected = f1_score(targets, probabilities.argmax(1), labels=[0, 1, 2], average=None)
    assert metrics.macro_f1_common == pytest.approx(expected[:2].mean())
    assert metrics.macro_f1 == pytest.approx(expected.mean())


def test_auroc_of_one_class_is_not_defined() -> None:
    assert classification_metrics(np.zeros(3, int), np.full((3, 3), 1 / 3), LABELS).auroc is None


def test_calibration_error_of_two_bins() -> None:
    # Eight predictions at 0.9, six of them right; two at 0.55, both wrong.
    probabilities = np.array([[0.9, 0.1]] * 8 + [[0.55, 0.45]] * 2)
    targets = np.array([0] * 6 + [1] * 4)
    assert expected_calibration_error(targets, probabilities) == pytest.approx(0.8 * (0.9 - 0.75) + 0.2 * 0.55)
    bins = reliability(targets, probabilities)
    assert bins.count == [0] * 8 + [2] + [0] * 4 + [8, 0]
    assert bins.confidence[13] == pytest.approx(0.9)
    assert bins.accuracy[13] == 0.75
    assert bins.accuracy[0] is None


def test_certain_predictions_fall_into_the_last_bin() -> None:
    probabilities = np.array([[1.0000001, 0.0], [1.0, 0.0]], np.float32)
    assert reliability(np.array([0, 0]), probabilities).count[-1] == 2
    assert expected_calibration_error(np.array([0, 0]), probabilities) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(np.array([1, 1]), probabilities) == pytest.approx(1.0, abs=1e-6)


def test_intervals_are_those_of_resampled_samples() -> None:
    targets, predictions = (np.repeat(index, np.ravel(CONFUSION)) for index in np.indices((3, 3)).reshape(2, -1))
    rng = np.random.default_rng(1)
    resamples = rng.integers(0, 100, (2000, 100))
    accuracies = [accuracy_score(targets[r], predictions[r]) for r in resamples]
    f1 = [f1_score(targets[r], predictions[r], average="macro") for r in resamples[:500]]
    found = bootstrap_intervals(CONFUSION, resamples=20_000)
    np.testing.assert_allclose(found["accuracy"], np.percentile(accuracies, (2.5, 97.5)), atol=0.011)
    np.testing.assert_allclose(found["macro_f1"], np.percentile(f1, (2.5, 97.5)), atol=0.03)
    # The normal approximation of a fraction.
    np.testing.assert_allclose(
        found["accuracy"], 0.77 + np.array([-1.96, 1.96]) * np.sqrt(0.77 * 0.23 / 100), atol=0.011
    )


def test_intervals_hold_the_estimate_shrink_and_repeat() -> None:
    widths = []
    for times in (1, 4, 36):
        low, high = bootstrap_intervals(np.multiply(CONFUSION, times).tolist())["accuracy"]
        assert low < 0.77 < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)  # with the square root of n
    assert widths[1] / widths[2] == pytest.approx(3, rel=0.15)
    assert bootstrap_intervals(CONFUSION) == bootstrap_intervals(CONFUSION)
    assert bootstrap_intervals(CONFUSION) != bootstrap_intervals(CONFUSION, seed=1)


def test_intervals_of_a_class_that_may_be_missing_in_a_resample() -> None:
    assert bootstrap_intervals([[50, 0, 0], [0, 1, 0], [0, 0, 0]]) == {"accuracy": (1.0, 1.0), "macro_f1": (1.0, 1.0)}


def test_scores_are_those_of_scikit_learn() -> None:
    targets, predictions = RNG.integers(0, 3, 200), RNG.integers(0, 4, 200)
    matrix = np.zeros((1, 4, 4), np.int64)
    np.add.at(matrix[0], (targets, predictions), 1)
    found = scores(matrix)
    assert found["accuracy"][0] == pytest.approx(accuracy_score(targets, predictions))
    expected = f1_score(targets, predictions, labels=[0, 1, 2], average="macro")
    assert found["macro_f1"][0] == pytest.approx(expected)


def test_samples_that_resemble_each_other_widen_the_interval() -> None:
    alone = RNG.random((400, 1)) < 0.7
    together = np.repeat(alone[:40], 10, axis=1)  # as many samples, but only 40 different ones
    narrow = interval(scores(resampled_confusions(units_of(alone)))["accuracy"])
    wide = interval(scores(resampled_confusions(units_of(together)))["accuracy"])
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_units_of_one_sample_are_the_plain_bootstrap() -> None:
    units = units_of(RNG.random((300, 1)) < 0.6)
    plain = bootstrap_intervals(units.sum(axis=0).tolist())["accuracy"]
    assert interval(scores(resampled_confusions(units))["accuracy"]) == pytest.approx(plain, abs=0.02)


def test_the_same_seed_draws_the_same_units() -> None:
    right = RNG.random((50, 4)) < 0.5
    both = [scores(resampled_confusions(units_of(hits)))["accuracy"] for hits in (right, ~right)]
    np.testing.assert_allclose(both[0] + both[1], 1)  # where A is right, B is wrong, in every resample
