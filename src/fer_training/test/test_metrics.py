import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from fer_perception.errors import FerError
from fer_training.calibration import fit_temperature, negative_log_likelihood
from fer_training.metrics import bootstrap_intervals, classification_metrics, expected_calibration_error, reliability

LABELS = ("a", "b", "c")
CONFUSION = [[40, 10, 0], [5, 30, 5], [1, 2, 7]]  # accuracy 0.77


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_values_worked_out_by_hand() -> None:
    targets = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.7, 0.2], [0.3, 0.6, 0.1]])
    metrics = classification_metrics(targets, probabilities, LABELS)
    assert metrics["n"] == 4
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)  # over the two classes that occur
    assert metrics["auroc"] == pytest.approx(1.0)
    assert metrics["ece"] == pytest.approx((0.2 + 0.5 + 0.3 + 0.4) / 4)  # each in a bin of its own
    assert metrics["recall"] == {"a": 0.5, "b": 1.0, "c": None}
    assert metrics["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_rare_classes_do_not_count_among_the_common() -> None:
    targets = np.array([0] * 100 + [1] * 100 + [2])  # c is less than 1% of the samples
    probabilities = np.eye(3)[np.array([0] * 90 + [1] * 10 + [1] * 100 + [0])]
    metrics = classification_metrics(targets, probabilities, LABELS)
    scores = f1_score(targets, probabilities.argmax(1), labels=[0, 1, 2], average=None)
    assert metrics["macro_f1_common"] == pytest.approx(scores[:2].mean())
    assert metrics["macro_f1"] == pytest.approx(scores.mean())


def test_auroc_of_one_class_is_not_defined() -> None:
    assert classification_metrics(np.zeros(3, int), np.full((3, 3), 1 / 3), LABELS)["auroc"] is None


def test_calibration_error_of_two_bins() -> None:
    # Eight predictions at 0.9, six of them right; two at 0.55, both wrong.
    probabilities = np.array([[0.9, 0.1]] * 8 + [[0.55, 0.45]] * 2)
    targets = np.array([0] * 6 + [1] * 4)
    assert expected_calibration_error(targets, probabilities) == pytest.approx(0.8 * (0.9 - 0.75) + 0.2 * 0.55)
    bins = reliability(targets, probabilities)
    assert bins["count"] == [0] * 8 + [2] + [0] * 4 + [8, 0]
    assert bins["confidence"][13] == pytest.approx(0.9)
    assert bins["accuracy"][13] == 0.75
    assert bins["accuracy"][0] is None


def test_certain_predictions_fall_into_the_last_bin() -> None:
    probabilities = np.array([[1.0000001, 0.0], [1.0, 0.0]], np.float32)
    assert reliability(np.array([0, 0]), probabilities)["count"][-1] == 2
    assert expected_calibration_error(np.array([0, 0]), probabilities) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(np.array([1, 1]), probabilities) == pytest.approx(1.0, abs=1e-6)


def test_intervals_are_those_of_resampled_samples() -> None:
    targets, predictions = (np.repeat(index, np.ravel(CONFUSION)) for index in np.indices((3, 3)).reshape(2, -1))
    rng = np.random.default_rng(1)
    resamples = rng.integers(0, 100, (2000, 100))
    accuracies = [accuracy_score(targets[r], predictions[r]) for r in resamples]
    scores = [f1_score(targets[r], predictions[r], average="macro") for r in resamples[:500]]
    found = bootstrap_intervals(CONFUSION, resamples=20_000)
    np.testing.assert_allclose(found["accuracy"], np.percentile(accuracies, (2.5, 97.5)), atol=0.011)
    np.testing.assert_allclose(found["macro_f1"], np.percentile(scores, (2.5, 97.5)), atol=0.03)
    # The normal approximation of a share.
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
    assert bootstrap_intervals([[50, 0, 0], [0, 1, 0], [0, 0, 0]]) == {"accuracy": [1.0, 1.0], "macro_f1": [1.0, 1.0]}


def test_likelihood_worked_out_by_hand() -> None:
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    assert negative_log_likelihood(logits, np.array([0, 2])) == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)
    assert negative_log_likelihood(logits[:1], np.array([1]), 0.5) == pytest.approx(np.log(6))  # 4 : 1 : 1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_temperature_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 7))
    cumulated = softmax(logits).cumsum(axis=1)
    targets = (rng.random((20_000, 1)) > cumulated).sum(axis=1)
    assert fit_temperature(temperature * logits, targets) == pytest.approx(temperature, rel=0.03)


def test_temperature_leaves_labels_and_lowers_the_calibration_error() -> None:
    # Right in 70 of 100 at logits 4 and 0 six times: the likelihood is best where the top probability is 0.7.
    logits = np.zeros((100, 7))
    logits[:, 2] = 4
    targets = np.array([2] * 70 + [3] * 30)
    temperature = fit_temperature(logits, targets)
    assert temperature == pytest.approx(4 / np.log(0.7 * 6 / 0.3), rel=1e-4)
    before, after = softmax(logits), softmax(logits / temperature)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert expected_calibration_error(targets, before) == pytest.approx(np.exp(4) / (np.exp(4) + 6) - 0.7)
    assert expected_calibration_error(targets, after) == pytest.approx(0, abs=1e-4)


def test_data_that_leave_the_temperature_open() -> None:
    with pytest.raises(FerError, match="all 3 predictions are right"):
        fit_temperature(100 * np.eye(3), np.arange(3))
    with pytest.raises(FerError, match="tells nothing about these 3"):
        fit_temperature(np.eye(3), np.array([1, 2, 0]))
    with pytest.raises(FerError, match="tells nothing"):
        fit_temperature(np.zeros((3, 3)), np.arange(3))
