"""Classification metrics: those that scikit-learn has are from there; calibration error and intervals are here.

Needs scikit-learn, which the nodes do without: see requirements/replay.txt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score

from fer_perception.evaluation.results import RESAMPLES, Interval, Result, interval

CALIBRATION_BINS = 15
COMMON = 0.01  # fraction of the samples from which on a class is not rare


class Reliability(Result):
    """How often predictions are right, by their confidence: lists by bin.

    Bin b of 15 holds the confidences from b / 15 (exclusive) to (b + 1) / 15 (inclusive). ``confidence`` and
    ``accuracy`` are means, None in an empty bin.
    """

    count: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


class Metrics(Result):
    """The metrics of one evaluation of ``n`` samples.

    ``macro_f1`` is over the classes that occur, ``macro_f1_common`` over those with at least 1% of the samples.
    ``auroc``: macro, one class against the rest, over the classes that occur; None where fewer than two occur.
    ``ece``: see :func:`expected_calibration_error`. ``recall``: by label, None where it does not occur.
    ``confusion``: rows are targets, columns predictions. ``intervals``: of ``accuracy`` and ``macro_f1``.
    """

    n: int
    accuracy: float
    macro_f1: float
    macro_f1_common: float
    auroc: float | None
    ece: float
    recall: dict[str, float | None]
    confusion: list[list[int]]
    intervals: dict[str, Interval]
    reliability: Reliability


def classification_metrics(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], labels: Sequence[str]
) -> Metrics:
    """Metrics of predictions.

    :param targets: (N,), indices into ``labels``.
    :param probabilities: (N, labels), rows summing to 1.
    """
    indices = np.arange(len(labels))
    predictions = probabilities.argmax(axis=1)
    counts = np.bincount(targets, minlength=len(labels))
    recalls = recall_score(targets, predictions, labels=indices, average=None, zero_division=0)
    present = np.flatnonzero(counts)
    common = np.flatnonzero(counts >= COMMON * len(targets))
    areas = [roc_auc_score(targets == label, probabilities[:, label]) for label in present] if len(present) > 1 else []
    confusion = confusion_matrix(targets, predictions, labels=indices).tolist()
    return Metrics(
        n=len(targets),
        accuracy=accuracy_score(targets, predictions),
        macro_f1=f1_score(targets, predictions, labels=present, average="macro", zero_division=0),
        macro_f1_common=f1_score(targets, predictions, labels=common, average="macro", zero_division=0),
        auroc=np.mean(areas) if areas else None,
        ece=expected_calibration_error(targets, probabilities),
        recall={label: recall if count else None for label, recall, count in zip(labels, recalls, counts, strict=True)},
        confusion=confusion,
        intervals=bootstrap_intervals(confusion),
        reliability=reliability(targets, probabilities),
    )


def mean_recall(metrics: Metrics) -> float:
    """Over the classes that occur: what accuracy would be if all were equally frequent."""
    recalls = [recall for recall in metrics.recall.values() if recall is not None]
    return sum(recalls) / len(recalls)


def reliability(targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> Reliability:
    """Accuracy by confidence, the largest probability of a row."""
    confidences = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    # Rounding can bring a confidence a little above 1.
    bins = np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)

    def means(values: npt.NDArray[Any]) -> list[float | None]:
        sums = np.bincount(bins, weights=values, minlength=CALIBRATION_BINS)
        return [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]

    return Reliability(count=counts.tolist(), confidence=means(confidences), accuracy=means(right))


def expected_calibration_error(targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> float:
    """Mean difference, over the samples, of confidence and accuracy of their bin: 0 (calibrated) to 1.

    The bins are those of :func:`reliability`, as in Guo et al., *On Calibration of Modern Neural Networks* (2017).
    """
    bins = reliability(targets, probabilities)
    gaps = [
        count * abs(accuracy - confidence)
        for count, accuracy, confidence in zip(bins.count, bins.accuracy, bins.confidence, strict=True)
        if accuracy is not None and confidence is not None
    ]
    return float(sum(gaps) / len(targets))


def bootstrap_intervals(
    confusion: Sequence[Sequence[int]], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """95% intervals of accuracy and macro-F1: percentiles over resamples of the evaluated samples.

    Both follow from the confusion matrix alone, and when N samples are drawn with replacement its cells are
    multinomial. So matrices are drawn instead of samples: the same distribution, in milliseconds.

    :param confusion: rows are targets, columns predictions. Macro-F1 is over the classes that occur in a resample.
    :return: ``accuracy`` and ``macro_f1``, each lower and upper end, 0 to 1.
    """
    cells = np.asarray(confusion, np.float64)
    total = int(cells.sum())
    draws = np.random.default_rng(seed).multinomial(total, cells.ravel() / total, resamples)
    return {name: interval(values) for name, values in scores(draws.reshape(resamples, *cells.shape)).items()}


def resampled_confusions(
    confusions: npt.NDArray[np.int64], resamples: int = RESAMPLES, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Confusion matrices of resamples in which units of samples that resemble each other are drawn as a whole.

    The same ``seed`` draws the same units, so that two models can be compared on the same resamples.

    :param confusions: int64, (units, labels, labels), the confusion matrix of each unit.
    :return: int64, (resamples, labels, labels).
    """
    units, labels = confusions.shape[:2]
    flat = confusions.reshape(units, -1)
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(units, np.full(units, 1 / units)) @ flat for _ in range(resamples)]
    return np.asarray(drawn, np.int64).reshape(resamples, labels, labels)


def scores(confusions: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """Accuracy and macro-F1 (over the classes that occur) of N confusion matrices: float64, (N,), NaN of empty ones.

    :param confusions: (N, labels, labels), rows are targets, columns predictions.
    """
    hits = confusions.diagonal(axis1=1, axis2=2)
    shown, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    occurs = shown > 0
    f1 = np.where(occurs, 2 * hits / np.maximum(shown + predicted, 1), 0.0)
    with np.errstate(invalid="ignore"):
        return {"accuracy": hits.sum(axis=1) / shown.sum(axis=1), "macro_f1": f1.sum(axis=1) / occurs.sum(axis=1)}
