"""How a model's answers differ between groups of pictures, for ``evaluate --groups``; measures are Fairlearn's.

Fairlearn: Weerts et al., *Assessing and Improving Fairness of AI Systems*, JMLR 24 (2023). Equalized odds: Hardt,
Price and Srebro, *Equality of Opportunity in Supervised Learning*, NIPS 2016. Groups are what a dataset's columns
say; nothing here guesses to which group a person belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from fairlearn.metrics import MetricFrame, count, equalized_odds_difference, selection_rate
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import RESAMPLES, interval
from fer_training.datasets import Samples

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Below these nothing is concluded: at 50 pictures accuracy has an interval of up to 14 points to each side, at 10 of a
# label its recall one of up to 31.
MINIMUM, LABEL_MINIMUM = 50, 10


def column_values(samples: Samples, kept: Labels, column: str) -> npt.NDArray[np.str_]:
    """A group column's values of the samples in ``kept``.

    :raises FerError: the dataset has no such column.
    """
    if column not in samples.groups:
        known = ", ".join(samples.groups) or "none"
        raise FerError(
            f"--groups {column}: {samples.dataset} has no such column (it has: {known}). Add it to the manifest's CSV"
        )
    return np.array([samples.groups[column][index] for index in kept], np.str_)


def measure_groups(
    targets: Labels, predictions: Labels, labels: Sequence[str], values: npt.NDArray[np.str_]
) -> dict[str, Any]:
    """Compare the groups of one column.

    A group with fewer than 50 pictures is not conclusive: it is reported, but no gap is taken over it. A label of
    which a conclusive group has fewer than 10 pictures is not compared: macro-F1 and equalized odds are over the
    others.

    :param targets: int64, (n,), indices into ``labels``; so are ``predictions``.
    :param values: (n,), each sample's group, empty where it is not known; these samples are left out.
    :return: ``minimum``, ``label_minimum``, ``unknown`` (samples left out), ``compared_labels``; ``by_group``: ``n``,
        ``conclusive``, ``accuracy``, ``macro_f1`` (over the compared labels; None without any), their ``intervals``,
        and by label ``recall`` (None where it does not occur) and ``selection_rate`` (the share of the group that is
        taken for it); ``gaps`` of accuracy and macro-F1 between the best and the worst group, with the 95% interval of
        these two groups' difference; ``equalized_odds``: the differences by label, one against the rest, the ``worst``
        of them, its ``interval``, and ``by_chance``, which 95% of random groups of these sizes stay below. Gaps are
        empty and equalized odds None where there is nothing to compare.
    """
    known = values != ""
    targets, predictions, values = targets[known], predictions[known], values[known]
    names, members = np.unique(values, return_inverse=True)
    indices = np.arange(len(labels))
    confusions = np.array(
        [confusion_matrix(targets[members == g], predictions[members == g], labels=indices) for g in range(len(names))]
    ).reshape(len(names), len(labels), len(labels))
    conclusive = np.flatnonzero(confusions.sum(axis=(1, 2)) >= MINIMUM)
    shown = confusions[conclusive].sum(axis=2)
    compared = np.flatnonzero((shown >= LABEL_MINIMUM).all(axis=0)) if len(conclusive) else np.array([], np.int64)
    result: dict[str, Any] = {
        "minimum": MINIMUM,
        "label_minimum": LABEL_MINIMUM,
        "unknown": int((~known).sum()),
        "compared_labels": [labels[index] for index in compared],
        "by_group": {},
        "gaps": {},
        "equalized_odds": None,
    }
    if not len(names):
        return result
    draws = _resampled(confusions)
    drawn = {"accuracy": _accuracy(draws), "macro_f1": _macro_f1(draws, compared)}
    frame = MetricFrame(metrics=_metrics(compared), y_true=targets, y_pred=predictions, sensitive_features=values)
    by_label = [
        MetricFrame(
            metrics={"recall": partial(recall_score, zero_division=0), "selection_rate": selection_rate},
            y_true=targets == index,
            y_pred=predictions == index,
            sensitive_features=values,
        ).by_group
        for index in indices
    ]
    for group, name in enumerate(names):
        occurs = confusions[group].sum(axis=1) > 0
        found = frame.by_group.loc[name]
        result["by_group"][str(name)] = {
            "n": int(found["n"]),
            "conclusive": group in conclusive,
            "accuracy": float(found["accuracy"]),
            "macro_f1": float(found["macro_f1"]) if len(compared) else None,
            "intervals": {
                key: interval(values[:, group]) for key, values in drawn.items() if key == "accuracy" or len(compared)
            },
            "recall": {
                label: float(table.loc[name, "recall"]) if occurs[index] else None
                for index, (label, table) in enumerate(zip(labels, by_label, strict=True))
            },
            "selection_rate": {
                label: float(table.loc[name, "selection_rate"]) for label, table in zip(labels, by_label, strict=True)
            },
        }
    if len(conclusive) < 2:
        return result
    for key in drawn if len(compared) else ("accuracy",):
        column = frame.by_group[key].to_numpy(np.float64)[conclusive]
        best, worst = conclusive[column.argmax()], conclusive[column.argmin()]
        result["gaps"][key] = {
            "difference": float(column.max() - column.min()),
            "interval": interval(drawn[key][:, best] - drawn[key][:, worst]),
            "best": str(names[best]),
            "worst": str(names[worst]),
        }
    if len(compared):
        kept = np.isin(members, conclusive)
        result["equalized_odds"] = _equalized_odds(
            targets[kept], predictions[kept], values[kept], [(int(index), labels[index]) for index in compared]
        )
    return result


def format_groups(groups: dict[str, Any]) -> str:
    """The part ``groups`` of an evaluation's result as text for a terminal."""
    lines = []
    for column, found in groups.items():
        lines.append(f"  groups by {column} ({found['unknown']} images without a value)")
        for name, entry in found["by_group"].items():
            line = f"    {name}: {entry['n']} images, accuracy {_percent(entry, 'accuracy')}, macro-F1 "
            line += _percent(entry, "macro_f1")
            lines.append(
                line if entry["conclusive"] else f"{line}; not conclusive, fewer than {found['minimum']} images"
            )
            for key in ("recall", "selection_rate"):
                shares = (f"{k} {'-' if v is None else format(v * 100, '.1f')}" for k, v in entry[key].items())
                lines.append(f"      {key.replace('_', ' ')} in %: {', '.join(shares)}")
        for key, gap in found["gaps"].items():
            low, high = (end * 100 for end in gap["interval"])
            lines.append(
                f"    largest gap of {key.replace('_f1', '-F1')}: {gap['difference'] * 100:.1f} points [{low:.1f}, "
                f"{high:.1f}], {gap['best']} above {gap['worst']}"
            )
        odds = found["equalized_odds"]
        if odds is None:
            lines.append("    equalized odds: not conclusive, no label is frequent enough in two groups")
        else:
            worst, difference = odds["worst"], odds["differences"][odds["worst"]]
            low, high = (end * 100 for end in odds["interval"])
            lines.append(
                f"    equalized-odds difference: {difference * 100:.1f} points [{low:.1f}, {high:.1f}], "
                f"of {worst}; random groups stay below {odds['by_chance'] * 100:.1f}"
            )
        lines.append(f"    labels compared: {', '.join(found['compared_labels']) or 'none'}")
    return "\n".join(lines)


def _percent(entry: dict[str, Any], key: str) -> str:
    if entry[key] is None:
        return "not defined"
    low, high = (end * 100 for end in entry["intervals"][key])
    return f"{entry[key] * 100:.1f}% [{low:.1f}, {high:.1f}]"


def _metrics(compared: Labels) -> dict[str, Any]:
    metrics: dict[str, Any] = {"n": count, "accuracy": accuracy_score}
    if len(compared):
        metrics["macro_f1"] = partial(f1_score, labels=compared, average="macro", zero_division=0)
    return metrics


def _equalized_odds(
    targets: Labels, predictions: Labels, values: npt.NDArray[np.str_], compared: Sequence[tuple[int, str]]
) -> dict[str, Any]:
    """Of each label the larger of the differences, between groups, of true and false positive rate."""
    differences = {
        label: float(equalized_odds_difference(targets == index, predictions == index, sensitive_features=values))
        for index, label in compared
    }
    worst = max(differences, key=lambda label: differences[label])
    _, members = np.unique(values, return_inverse=True)
    label = next(index for index, name in compared if name == worst)
    rng = np.random.default_rng(0)
    everyone = np.arange(len(targets))
    # With random groups the worst label is whichever it is then, as it was found here.
    resampled, by_chance = [], []
    for _ in range(RESAMPLES):
        picked = rng.choice(everyone, len(everyone))
        resampled.append(_odds_differences(targets[picked], predictions[picked], members[picked], [label])[0])
        shuffled = rng.permutation(members)
        by_chance.append(max(_odds_differences(targets, predictions, shuffled, [index for index, _ in compared])))
    return {
        "differences": differences,
        "worst": worst,
        "interval": interval(np.array(resampled)),
        "by_chance": float(np.nanpercentile(by_chance, 95)),
    }


def _odds_differences(targets: Labels, predictions: Labels, members: Labels, labels: Sequence[int]) -> list[float]:
    """Fairlearn's equalized_odds_difference by label in a hundredth of its time; groups are numbers from 0."""
    groups, differences = int(members.max()) + 1, []
    for label in labels:
        cells = 4 * members + 2 * (targets == label) + (predictions == label)
        counts = np.bincount(cells, minlength=4 * groups).reshape(groups, 2, 2).astype(np.float64)
        with np.errstate(invalid="ignore"):
            rates = counts[..., 1] / counts.sum(axis=2)  # false and true positive rate
        differences.append(float((np.nanmax(rates, axis=0) - np.nanmin(rates, axis=0)).max()))
    return differences


def _resampled(confusions: Labels) -> Labels:
    """Confusion matrices of resamples of each group: (resamples, groups, labels, labels); see bootstrap_intervals."""
    rng = np.random.default_rng(0)
    flat = confusions.reshape(len(confusions), -1)
    draws = [rng.multinomial(cells.sum(), cells / cells.sum(), RESAMPLES) for cells in flat]
    return np.stack(draws, axis=1).reshape(RESAMPLES, *confusions.shape)


def _accuracy(confusions: Labels) -> Floats:
    hits = confusions.diagonal(axis1=-2, axis2=-1).sum(axis=-1)
    return np.asarray(hits / confusions.sum(axis=(-2, -1)), np.float64)


def _macro_f1(confusions: Labels, compared: Labels) -> Floats:
    """Over the compared labels, as scikit-learn's f1_score with ``labels``."""
    hits = confusions.diagonal(axis1=-2, axis2=-1)[..., compared]
    totals = (confusions.sum(axis=-1) + confusions.sum(axis=-2))[..., compared]
    return np.asarray((2 * hits / np.maximum(totals, 1)).sum(axis=-1) / max(1, len(compared)), np.float64)
