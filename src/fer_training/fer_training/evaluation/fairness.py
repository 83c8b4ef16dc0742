"""The verb ``fairness``: how a model's predictions differ between groups of images; measures are Fairlearn's.

Fairlearn: Weerts et al., *Assessing and Improving Fairness of AI Systems*, JMLR 24 (2023). Equalized odds: Hardt,
Price and Srebro, *Equality of Opportunity in Supervised Learning*, NIPS 2016. Groups are what a dataset's columns
say; nothing here guesses to which group a person belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fairlearn.metrics import MetricFrame, count, equalized_odds_difference, selection_rate
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from fer_perception.errors import FerError
from fer_perception.evaluation.results import RESAMPLES, Interval, Result, ResultFile, interval
from fer_perception.models.bundle import Precision
from fer_training.datasets import Samples, Split, dataset_name, load_dataset
from fer_training.evaluation.predictions import load_model, predict_samples
from fer_training.evaluation.text import percent, points

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Below these nothing is concluded: at 50 images accuracy has an interval of up to 14 points to each side, at 10 of a
# label its recall one of up to 31.
MINIMUM, LABEL_MINIMUM = 50, 10


class GroupResult(Result):
    """One group. ``macro_f1`` is over the compared labels, None without any; ``intervals`` of it and ``accuracy``.

    ``recall``: by label, None where it does not occur. ``selection_rate``: by label, the fraction of the group that is
    predicted to show it.
    """

    n: int
    conclusive: bool
    accuracy: float
    macro_f1: float | None
    intervals: dict[str, Interval]
    recall: dict[str, float | None]
    selection_rate: dict[str, float]


class Gap(Result):
    """Between the best and the worst group; the interval is of these two groups' difference."""

    difference: float
    interval: Interval
    best: str
    worst: str


class EqualizedOdds(Result):
    """Differences by label, one against the rest; ``worst`` of these labels, with the interval of its difference.

    ``by_chance``: 95% of random groups of these sizes stay below it.
    """

    differences: dict[str, float]
    worst: str
    interval: Interval
    by_chance: float


class GroupComparison(Result):
    """The groups of one column.

    A group with fewer than ``minimum`` images is not conclusive: it is reported, but no gap is taken over it. A label
    of which a conclusive group has fewer than ``label_minimum`` images is not compared: macro-F1 and equalized odds are
    over the others. ``unknown``: images whose group is not known, which are left out. ``gaps``: of accuracy and
    macro-F1; empty, and ``equalized_odds`` None, where there is nothing to compare.
    """

    minimum: int = MINIMUM
    label_minimum: int = LABEL_MINIMUM
    unknown: int
    compared_labels: list[str]
    by_group: dict[str, GroupResult]
    gaps: dict[str, Gap]
    equalized_odds: EqualizedOdds | None


class FairnessResult(ResultFile):
    """What ``fairness`` writes. ``columns``: the comparison by each column of groups."""

    written_by = "python -m fer_training fairness --json"
    model: str
    precision: Precision
    dataset: str
    split: Split
    sha256: str
    n: int
    accuracy: float
    columns: dict[str, GroupComparison]


def evaluate_fairness(
    model: Path, dataset: str, split: Split, columns: Sequence[str], precision: Precision = "fp32", threads: int = 1
) -> FairnessResult:
    """Compare a model's predictions between the groups that columns of a dataset name.

    :param dataset: ``NAME:PATH``.
    :raises FerError: the model or dataset cannot be used, or the dataset lacks a column.
    """
    loaded = load_model(model, precision, threads, dataset_name(dataset))
    samples = load_dataset(dataset, split, loaded.alignment)
    found = predict_samples(loaded, samples)
    predicted = found.logits.argmax(axis=1)
    return FairnessResult(
        model=str(model),
        precision=precision,
        dataset=samples.dataset,
        split=split,
        sha256=samples.fingerprint(),
        n=len(found.targets),
        accuracy=(predicted == found.targets).mean(),
        columns={
            column: compare_groups(found.targets, predicted, found.labels, column_values(samples, found.kept, column))
            for column in columns
        },
    )


def column_values(samples: Samples, kept: Labels, column: str) -> npt.NDArray[np.str_]:
    """A group column's values of the samples in ``kept``.

    :raises FerError: the dataset has no such column.
    """
    if column not in samples.groups:
        known = ", ".join(samples.groups) or "none"
        raise FerError(
            f"--columns {column}: {samples.dataset} has no such column (it has: {known}). Add it to the manifest's CSV"
        )
    return np.array([samples.groups[column][index] for index in kept], np.str_)


def compare_groups(
    targets: Labels, predictions: Labels, labels: Sequence[str], values: npt.NDArray[np.str_]
) -> GroupComparison:
    """Compare the groups of one column.

    :param targets: int64, (n,), indices into ``labels``; so are ``predictions``.
    :param values: (n,), each sample's group, empty where it is not known; these samples are left out.
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
    odds, drawn = None, _drawn(confusions, compared)
    if len(conclusive) > 1 and len(compared):
        kept = np.isin(members, conclusive)
        pairs = [(int(index), labels[index]) for index in compared]
        odds = _equalized_odds(targets[kept], predictions[kept], values[kept], pairs)
    return GroupComparison(
        unknown=int((~known).sum()),
        compared_labels=[labels[index] for index in compared],
        by_group=_by_group(targets, predictions, labels, values, compared, drawn),
        gaps=_gaps(confusions, names, conclusive, compared, drawn),
        equalized_odds=odds,
    )


def _drawn(confusions: Labels, compared: Labels) -> dict[str, Floats]:
    """Accuracy and, with labels to compare, macro-F1 of resamples of each group: (resamples, groups)."""
    if not len(confusions):
        return {}
    draws = _resampled(confusions)
    return {"accuracy": _accuracy(draws), **({"macro_f1": _macro_f1(draws, compared)} if len(compared) else {})}


def _by_group(
    targets: Labels,
    predictions: Labels,
    labels: Sequence[str],
    values: npt.NDArray[np.str_],
    compared: Labels,
    drawn: dict[str, Floats],
) -> dict[str, GroupResult]:
    if not len(targets):
        return {}
    frame = MetricFrame(metrics=_metrics(compared), y_true=targets, y_pred=predictions, sensitive_features=values)
    metrics = {"recall": partial(recall_score, zero_division=0), "selection_rate": selection_rate}
    tables = {
        label: MetricFrame(
            metrics=metrics, y_true=targets == index, y_pred=predictions == index, sensitive_features=values
        ).by_group
        for index, label in enumerate(labels)
    }
    results = {}
    for group, name in enumerate(np.unique(values)):
        found, occurring = frame.by_group.loc[name], set(targets[values == name])
        results[str(name)] = GroupResult(
            n=int(found["n"]),
            conclusive=found["n"] >= MINIMUM,
            accuracy=found["accuracy"],
            macro_f1=found["macro_f1"] if len(compared) else None,
            intervals={key: interval(resampled[:, group]) for key, resampled in drawn.items()},
            recall={
                label: float(table.loc[name, "recall"]) if index in occurring else None
                for index, (label, table) in enumerate(tables.items())
            },
            selection_rate={label: float(table.loc[name, "selection_rate"]) for label, table in tables.items()},
        )
    return results


def _gaps(
    confusions: Labels, names: npt.NDArray[np.str_], conclusive: Labels, compared: Labels, drawn: dict[str, Floats]
) -> dict[str, Gap]:
    """Of accuracy and macro-F1, between the best and the worst conclusive group."""
    if len(conclusive) < 2:
        return {}
    found = {"accuracy": _accuracy(confusions), "macro_f1": _macro_f1(confusions, compared)}
    gaps = {}
    for key, resampled in drawn.items():
        column = found[key][conclusive]
        best, worst = conclusive[column.argmax()], conclusive[column.argmin()]
        gaps[key] = Gap(
            difference=column.max() - column.min(),
            interval=interval(resampled[:, best] - resampled[:, worst]),
            best=str(names[best]),
            worst=str(names[worst]),
        )
    return gaps


def format_fairness(result: FairnessResult) -> str:
    """The result as text for a terminal."""
    lines = [
        f"{result.model} ({result.precision}), {result.dataset}, split {result.split}: {result.n} images, accuracy "
        f"{percent(result.accuracy)}"
    ]
    for column, found in result.columns.items():
        lines.append(f"groups by {column} ({found.unknown} images without a value)")
        for name, entry in found.by_group.items():
            lines += [f"  {line}" for line in _group_lines(name, entry)]
        for key, gap in found.gaps.items():
            lines.append(
                f"  largest gap of {key.replace('_f1', '-F1')}: {points(gap.difference, gap.interval)} points, "
                f"{gap.best} above {gap.worst}"
            )
        odds = found.equalized_odds
        if odds is None:
            lines.append("  equalized odds: not conclusive, no label is frequent enough in two groups")
        else:
            lines.append(
                f"  equalized-odds difference: {points(odds.differences[odds.worst], odds.interval)} points, of "
                f"{odds.worst}; random groups stay below {odds.by_chance * 100:.1f}"
            )
        lines.append(f"  labels compared: {', '.join(found.compared_labels) or 'none'}")
    return "\n".join(lines)


def _group_lines(name: str, entry: GroupResult) -> list[str]:
    accuracy, macro_f1 = (percent(getattr(entry, key), entry.intervals.get(key), 1) for key in ("accuracy", "macro_f1"))
    line = f"{name}: {entry.n} images, accuracy {accuracy}, macro-F1 {macro_f1}"
    lines = [line if entry.conclusive else f"{line}; not conclusive, fewer than {MINIMUM} images"]
    for key in ("recall", "selection_rate"):
        by_label = getattr(entry, key)
        values = (f"{label} {'-' if v is None else format(v * 100, '.1f')}" for label, v in by_label.items())
        lines.append(f"  {key.replace('_', ' ')} in %: {', '.join(values)}")
    return lines


def _metrics(compared: Labels) -> dict[str, Any]:
    metrics: dict[str, Any] = {"n": count, "accuracy": accuracy_score}
    if len(compared):
        metrics["macro_f1"] = partial(f1_score, labels=compared, average="macro", zero_division=0)
    return metrics


def _equalized_odds(
    targets: Labels, predictions: Labels, values: npt.NDArray[np.str_], compared: Sequence[tuple[int, str]]
) -> EqualizedOdds:
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
    return EqualizedOdds(
        differences=differences,
        worst=worst,
        interval=interval(np.array(resampled)),
        by_chance=np.nanpercentile(by_chance, 95),
    )


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
