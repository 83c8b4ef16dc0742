"""Pictures of trainings and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fer_perception.evaluation.metrics import CALIBRATION_BINS


def plot_result(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw confusion matrix and reliability diagram of each dataset of an evaluation.

    :param result: from :func:`fer_training.evaluation.evaluate.evaluate`.
    :return: the written PNG files, one per dataset.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for dataset, metrics in result["datasets"].items():
        figure = Figure(figsize=(13, 6), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_confusion(left, metrics)
        draw_reliability(right, metrics)
        model = f"{result['precision']}, temperature {result['temperature']:g}"
        figure.suptitle(f"{dataset}, {result['split']} split, {metrics['n']} images, {model}")
        file = folder / f"{dataset.replace(':', '_')}_{result['split']}.png"
        figure.savefig(file, dpi=100)
        files.append(file)
    return files


def plot_history(history: list[dict[str, float]], file: Path) -> None:
    """Draw a training's loss and everything that was measured after each epoch into a PNG."""
    epochs = [int(row["epoch"]) for row in history]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["train_loss"] for row in history], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss")
    for key in (key for key in history[0] if key not in ("epoch", "learning_rate", "train_loss")):
        right.plot(epochs, [100 * row[key] for row in history], label=key.replace("_", " "))
    right.set(xlabel="epoch", ylabel="%")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(file, dpi=120)


def draw_confusion(axes: Axes, metrics: dict[str, Any]) -> None:
    """The confusion matrix: colours and percentages are shares of the row, so that rare emotions show, too."""
    counts = np.asarray(metrics["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(len(counts))
    axes.set_xticks(ticks, metrics["labels"], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, metrics["labels"])
    axes.set(xlabel="predicted", ylabel="shown", title=f"accuracy {metrics['accuracy'] * 100:.2f}%")
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        color = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{count}\n{share * 100:.0f}%", ha="center", va="center", fontsize=8, color=color)


def draw_reliability(axes: Axes, metrics: dict[str, Any]) -> None:
    """Accuracy by confidence, and how many predictions have that confidence."""
    bins = metrics["reliability"]
    width = 1 / CALIBRATION_BINS
    lefts = np.arange(CALIBRATION_BINS) * width
    shares = np.asarray(bins["count"]) / metrics["n"]
    full = np.flatnonzero(bins["count"])
    accuracies, confidences = ([bins[key][b] for b in full] for key in ("accuracy", "confidence"))
    axes.bar(
        lefts[full], accuracies, width, align="edge", color="tab:blue", alpha=0.6, edgecolor="white", label="accuracy"
    )
    axes.bar(lefts + width / 2, shares, width / 3, color="0.35", label="share of the images")
    axes.plot(confidences, accuracies, "o", color="tab:blue", markersize=4, label="at the mean confidence")
    axes.plot((0, 1), (0, 1), "--", color="black", linewidth=1, label="calibrated")
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="confidence",
        ylabel="accuracy",
        title=f"expected calibration error {metrics['ece'] * 100:.2f}%",
    )
    axes.legend(loc="upper left")
