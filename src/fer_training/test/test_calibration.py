import numpy as np
import pytest

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import expected_calibration_error
from fer_training.evaluation.calibration import fit_temperature, negative_log_likelihood


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


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
