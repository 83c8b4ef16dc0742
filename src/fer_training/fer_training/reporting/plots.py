"""Plots of evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_perception.evaluation.metrics import CALIBRATION_BINS
from fer_training.evaluation.evaluate import DatasetResult, EvaluationResult
from fer_training.evaluation.risk_coverage import plot_risk_coverage


def plot_result(result: EvaluationResult, folder: Path) -> list[Path]:
    """Draw confusion matrix and reliability diagram, and risk and coverage, of each dataset of an evaluation.

    :return: the written PNG files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for dataset, metrics in result.datasets.items():
        figure = Figure(figsize=(13, 6), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_confusion(left, metrics)
        draw_reliability(right, metrics)
        model = f"{result.precision}, temperature {result.temperature:g}"
        figure.suptitle(f"{dataset}, {result.split} split, {metrics.n} images, {model}")
        stem = f"{dataset.replace(':', '_')}_{result.split}"
        files.append(folder / f"{stem}.png")
        figure.savefig(files[-1], dpi=100)
        if metrics.risk_coverage:
            title = f"{Path(result.model).name} on {dataset}, {result.split} split"
            files.append(plot_risk_coverage(metrics.risk_coverage, title, folder / f"{stem}_risk_coverage.png"))
    return files


def draw_confusion(axes: Axes, metrics: DatasetResult) -> None:
    """The confusion matrix: colours and percentages are fractions of the row, so that rare emotions show, too."""
    counts = np.asarray(metrics.confusion)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(len(counts))
    axes.set_xticks(ticks, metrics.labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, metrics.labels)
    axes.set(xlabel="predicted", ylabel="shown", title=f"accuracy {metrics.accuracy * 100:.2f}%")
    for (row, column), count in np.ndenumerate(counts):
        fraction = fractions[row, column]
        color = "white" if fraction > 0.6 else "black"
        axes.text(column, row, f"{count}\n{fraction * 100:.0f}%", ha="center", va="center", fontsize=8, color=color)


def draw_reliability(axes: Axes, metrics: DatasetResult) -> None:
    """Accuracy by confidence, and how many predictions have that confidence."""
    bins = metrics.reliability
    width = 1 / CALIBRATION_BINS
    lefts = np.arange(CALIBRATION_BINS) * width
    fractions = np.asarray(bins.count) / metrics.n
    full = np.flatnonzero(bins.count)
    accuracies, confidences = ([means[b] or 0.0 for b in full] for means in (bins.accuracy, bins.confidence))
    axes.bar(
        lefts[full], accuracies, width, align="edge", color="tab:blue", alpha=0.6, edgecolor="white", label="accuracy"
    )
    axes.bar(lefts + width / 2, fractions, width / 3, color="0.35", label="fraction of the images")
    axes.plot(confidences, accuracies, "o", color="tab:blue", markersize=4, label="at the mean confidence")
    axes.plot((0, 1), (0, 1), "--", color="black", linewidth=1, label="calibrated")
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="confidence",
        ylabel="accuracy",
        title=f"expected calibration error {metrics.ece * 100:.2f}%",
    )
    axes.legend(loc="upper left")
