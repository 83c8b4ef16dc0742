"""All variants on all data sets: a table for each metric."""

from __future__ import annotations

from fer_perception.emotions.class_prior import BALANCED, TRAINING
from fer_training.evaluation.evaluate import EvaluationResult
from fer_training.reporting.entries import NOT_MEASURED
from fer_training.reporting.markdown import bullets, table, wrapped
from fer_training.reporting.paper.cells import results
from fer_training.reporting.paper.folder import Folder, NotMeasured
from fer_training.reporting.paper.measurements import ELSEWHERE, OTHERS, VARIANTS
from fer_training.reporting.paper.readings import TITLES

TITLE = "Our matrix of domains"
INTRODUCTION = (
    "All variants on all data sets, test splits, in percent: as they were trained, and, after the stroke, with "
    "balanced predictions (docs/training.md, *Prior*). *By camera* is the camera model."
)
METRICS = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "mean_recall": "Mean recall"}


def format_matrix(folder: Folder) -> list[str]:
    """The section's lines."""
    variants = VARIANTS | OTHERS
    lines = [f"## {TITLE}", "", *wrapped(INTRODUCTION), ""]
    for metric, title in METRICS.items():
        rows = [
            (title_here, *(_cell(folder, v, "domains", name, metric) for v in variants))
            for name, title_here in TITLES.items()
        ]
        rows += [
            (title_there, *(_cell(folder, v, key, "", metric) for v in variants))
            for key, (title_there, _, _) in ELSEWHERE.items()
        ]
        if metric == "accuracy":
            rows.append(("by", *(f"[domains_{v}](#domains_{v})" for v in variants)))
        lines += [*table((title, *(v.title for v in variants.values())), rows), ""]
    return [*lines, *bullets(_elsewhere(folder)), ""]


def _cell(folder: Folder, variant: str, source: str, dataset: str, metric: str) -> str:
    """A variant's metric with both priors; ``dataset``: empty for the mean over all of a source, by image."""
    if source != "domains" and variant not in VARIANTS:
        return "-"
    try:
        (evaluation,) = results(folder, (f"{source}_{variant}",))
    except NotMeasured:
        return NOT_MEASURED
    names = [dataset] if dataset else [*evaluation.datasets]
    values = [_mean(evaluation, names, metric, prior) for prior in (TRAINING, BALANCED)]
    return " / ".join(f"{value * 100:.1f}" for value in values if value is not None) or NOT_MEASURED


def _mean(evaluation: EvaluationResult, names: list[str], metric: str, prior: str) -> float | None:
    """Over datasets, by image; None where one lacks the metrics of the prior."""
    found = [evaluation.datasets.get(name) for name in names]
    parts = [(result.n, getattr(result.priors[prior], metric)) for result in found if result and result.priors]
    if len(parts) < len(names):
        return None
    return float(sum(n * value for n, value in parts) / sum(n for n, _ in parts))


def _elsewhere(folder: Folder) -> list[str]:
    """Of each data set that not everyone has: the measurements, and why one is not there."""
    lines = []
    for key, (title, _, _) in ELSEWHERE.items():
        reasons: dict[str, None] = {}
        for variant in VARIANTS:
            try:
                results(folder, (f"{key}_{variant}",))
            except NotMeasured as reason:
                reasons[str(reason)] = None
        links = ", ".join(f"[{key}_{variant}](#{key}_{variant})" for variant in VARIANTS)
        lines.append(f"{title}: by {links}" + "".join(f"; {NOT_MEASURED}: {reason}" for reason in reasons))
    return lines
