"""Plots of a comparison of groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_training.evaluation.fairness import FairnessResult, GroupComparison

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")


def plot_groups(result: FairnessResult, folder: Path) -> list[Path]:
    """Draw accuracy, recall and selection rate of every group, one PNG for each column.

    :return: the written files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for column, found in result.columns.items():
        figure = Figure(figsize=(13, 4.2), layout="constrained")
        left, *others = figure.subplots(1, 3, width_ratios=(1, 1.6, 1.6))
        _overall(left, found)
        for axes, key in zip(others, ("recall", "selection_rate"), strict=True):
            _by_label(axes, found, key)
        others[0].legend(fontsize=8)
        figure.suptitle(
            f"{Path(result.model).name} on {result.dataset}, {result.split} split, groups by {column}; lines: 95%; "
            f"hatched: fewer than {found.minimum} images, not conclusive"
        )
        files.append(folder / f"{result.dataset}_{result.split}_groups_{column}.png")
        figure.savefig(files[-1], dpi=100)
    return files


def _overall(axes: Axes, found: GroupComparison) -> None:
    groups = found.by_group
    for place, entry in enumerate(groups.values()):
        low, high = entry.intervals["accuracy"]
        error = 100 * np.array([[entry.accuracy - low], [high - entry.accuracy]]).clip(0)
        axes.bar(place, 100 * entry.accuracy, 0.6, **_look(place, entry.conclusive))
        axes.errorbar(place, 100 * entry.accuracy, error, color="0.2", capsize=4, zorder=4)
    axes.set_xticks(range(len(groups)), [f"{name}\n{entry.n} images" for name, entry in groups.items()])
    axes.set(ylabel="%", ylim=(0, 100), title="accuracy")
    axes.grid(axis="y", alpha=0.3)


def _by_label(axes: Axes, found: GroupComparison, key: str) -> None:
    groups = found.by_group
    labels = list(next(iter(groups.values())).recall) if groups else []
    width = 0.8 / max(1, len(groups))
    for number, (name, entry) in enumerate(groups.items()):
        places = np.arange(len(labels)) - 0.4 + width * (number + 0.5)
        values = [100 * (getattr(entry, key)[label] or 0) for label in labels]
        axes.bar(places, values, width, label=name, **_look(number, entry.conclusive))
    shown = [label if label in found.compared_labels else f"({label})" for label in labels]
    axes.set_xticks(range(len(labels)), shown, rotation=30, ha="right", rotation_mode="anchor")
    title = f"{key.replace('_', ' ')} (in brackets: fewer than {found.label_minimum} images in a group)"
    axes.set_title(title, fontsize=9)
    axes.set(ylim=(0, 100))
    axes.grid(axis="y", alpha=0.3)


def _look(number: int, is_conclusive: bool) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "alpha": 0.8 if is_conclusive else 0.4,
        "hatch": "" if is_conclusive else "//",
        "zorder": 3,
    }
