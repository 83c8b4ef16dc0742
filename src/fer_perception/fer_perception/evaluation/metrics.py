"""Classification metrics: those that scikit-learn has are from there; calibration error and intervals are here.

Needs scikit-learn, which the nodes do without: see requirements/replay.txt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score

CALIBRATION_BINS = 15
RESAMPLES = 1000
COMMON = 0.01  # share of the samples from which on a class is not rare


def classification_metrics(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], labels: Sequence[str]
) -> dict[str, Any]:
    """Metrics of one evaluation, as plain Python values ready for JSON. Shares are between 0 and 1.

    :param targets: (N,), indices into ``labels``.
    :param probabilities: (N, labels), rows summing to 1.
    :return: ``n``, ``accuracy``, ``macro_f1``, ``auroc`` (macro, one class against the rest, over the classes that
        occur; None where fewer than two occur), ``macro_f1_common`` (over the classes with at least 1% of the
        samples), ``ece`` (see :func:`expected_calibration_error`), ``recall`` per label
        (None where a class does not occur), ``confusion`` (rows are targets, columns predictions).
    """
    indices = np.arange(len(labels))
    predictions = probabilities.argmax(axis=1)
    counts = np.bincount(targets, minlength=len(labels))
    recalls = recall_score(targets, predictions, labels=indices, average=None, zero_division=0)
    present = np.flatnonzero(counts)
    common = np.flatnonzero(counts >= COMMON * len(targets))
    scores = [roc_auc_score(targets == label, probabilities[:, label]) for label in present] if len(present) > 1 else []
    return {
        "n": len(targets),
        "accuracy": float(accuracy_score(targets, predictions)),
        "macro_f1": float(f1_score(targets, predictions, labels=present, average="macro", zero_division=0)),
        "macro_f1_common": float(f1_score(targets, predictions, labels=common, average="macro", zero_division=0)),
        "auroc": float(np.mean(scores)) if scores else None,
        "ece": expected_calibration_error(targets, probabilities),
        "recall": {
            label: float(recall) if count else None
            for label, recall, count in zip(labels, recalls, counts, strict=True)
        },
        "confusion": confusion_matrix(targets, predictions, labels=indices).tolist(),
    }


def reliability(targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> dict[str, list[Any]]:
    """How often predictions are right, by their confidence (the largest probability of a row).

    Bin b of 15 holds the confidences from b / 15 (exclusive) to (b + 1) / 15 (inclusive).

    :return: lists by bin: ``count``, and the means ``confidence`` and ``accuracy`` (None in an empty bin).
    """
    confidences = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    # Rounding can bring a confidence a little above 1.
    bins = np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)

    def means(values: npt.NDArray[Any]) -> list[float | None]:
        sums = np.bincount(bins, weights=values, minlength=CALIBRATION_BINS)
        return [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]

    return {"count": counts.tolist(), "confidence": means(confidences), "accuracy": means(right)}


def expected_calibration_error(targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> float:
    """Mean difference, over the samples, of confidence and accuracy of their bin: 0 (calibrated) to 1.

    The bins are those of :func:`reliability`, as in Guo et al., *On Calibration of Modern Neural Networks* (2017).
    """
    bins = reliability(targets, probabilities)
    gaps = [
        count * abs(accuracy - confidence)
        for count, accuracy, confidence in zip(bins["count"], bins["accuracy"], bins["confidence"], strict=True)
        if count
    ]
    return float(sum(gaps) / len(targets))


def bootstrap_intervals(
    confusion: Sequence[Sequence[int]], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, list[float]]:
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


def interval(values: npt.NDArray[np.float64]) -> list[float]:
    """The central 95% of bootstrap values: lower and upper end."""
    lower, upper = np.nanpercentile(values, (2.5, 97.5))
    return [float(lower), float(upper)]
