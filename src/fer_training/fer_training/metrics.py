"""Classification metrics, all from scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score


def classification_metrics(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], labels: Sequence[str]
) -> dict[str, Any]:
    """Metrics of one evaluation, as plain Python values ready for JSON. Shares are between 0 and 1.

    :param targets: (N,), indices into ``labels``.
    :param probabilities: (N, labels).
    :return: ``n``, ``accuracy``, ``macro_f1``, ``auroc`` (macro, one class against the rest, over the classes that
        occur; None where fewer than two occur), ``recall`` per label (None where a class does not occur),
        ``confusion`` (rows are targets, columns predictions).
    """
    indices = np.arange(len(labels))
    predictions = probabilities.argmax(axis=1)
    counts = np.bincount(targets, minlength=len(labels))
    recalls = recall_score(targets, predictions, labels=indices, average=None, zero_division=0)
    present = np.flatnonzero(counts)
    scores = [roc_auc_score(targets == label, probabilities[:, label]) for label in present] if len(present) > 1 else []
    return {
        "n": len(targets),
        "accuracy": float(accuracy_score(targets, predictions)),
        "macro_f1": float(f1_score(targets, predictions, labels=present, average="macro", zero_division=0)),
        "auroc": float(np.mean(scores)) if scores else None,
        "recall": {
            label: float(recall) if count else None
            for label, recall, count in zip(labels, recalls, counts, strict=True)
        },
        "confusion": confusion_matrix(targets, predictions, labels=indices).tolist(),
    }
