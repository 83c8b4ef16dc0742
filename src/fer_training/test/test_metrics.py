import numpy as np
import pytest

from fer_training.metrics import classification_metrics

LABELS = ("a", "b", "c")


def test_values_worked_out_by_hand() -> None:
    targets = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.1, 0.7, 0.2], [0.3, 0.6, 0.1]])
    metrics = classification_metrics(targets, probabilities, LABELS)
    assert metrics["n"] == 4
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)  # over the two classes that occur
    assert metrics["auroc"] == pytest.approx(1.0)
    assert metrics["recall"] == {"a": 0.5, "b": 1.0, "c": None}
    assert metrics["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_auroc_of_one_class_is_not_defined() -> None:
    assert classification_metrics(np.zeros(3, int), np.full((3, 3), 1 / 3), LABELS)["auroc"] is None
