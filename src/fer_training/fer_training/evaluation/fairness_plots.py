"""Pictures of a comparison of groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")


def plot_groups(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw accuracy, recall and selection rate of every group, one picture for each dataset and column.

    :param result: from :func:`fer_training.evaluation.evaluate.evaluate`, with groups.
    :return: the written PNG files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for dataset, metrics in result["datasets"].items():
        for column, found in metrics["groups"].items():
            figure = Figure(figsize=(13, 4.2), layout="constrained")
            left, *others = figure.subplots(1, 3, width_ratios=(1, 1.6, 1.6))
            _overall(left, found)
            for axes, key in zip(others, ("recall", "selection_rate"), strict=True):
                _by_label(axes, found, key)
            others[0].legend(fontsize=8)
            figure.suptitle(
                f"{Path(result['model']).name} on {dataset}, {result['split']} split, groups by {column}; lines: 95%; "
                f"hatched: fewer than {found['minimum']} images, not conclusive"
            )
            file = folder / f"{dataset.replace(':', '_')}_{result['split']}_groups_{column}.png"
            figure.savefig(file, dpi=100)
            files.append(file)
    return files


def _overall(axes: Axes, found: dict[str, Any]) -> None:
    groups = found["by_group"]
    for place, entry in enumerate(groups.values()):
        low, high = entry["intervals"]["accuracy"]
        value = entry["accuracy"]
        axes.bar(place, 100 * value, 0.6, **_look(place, entry["conclusive"]))
        axes.errorbar(
            place,
            100 * value,
            100 * np.array([[value - low], [high - value]]).clip(0),
            color="0.2",
            capsize=4,
            zorder=4,
        )
    labels = [f"{name}\n{entry['n']} images" for name, entry in groups.items()]
    axes.set_xticks(range(len(groups)), labels)
    axes.set(ylabel="%", ylim=(0, 100), title="accuracy")
    axes.grid(axis="y", alpha=0.3)


def _by_label(axes: Axes, found: dict[str, Any], key: str) -> None:
    groups = found["by_group"]
    labels = list(next(iter(groups.values()))[key]) if groups else []
    width = 0.8 / max(1, len(groups))
    for number, (name, entry) in enumerate(groups.items()):
        places = np.arange(len(labels)) - 0.4 + width * (number + 0.5)
        values = [100 * (entry[key][label] or 0) for label in labels]
        axes.bar(places, values, width, label=name, **_look(number, entry["conclusive"]))
    shown = [label if label in found["compared_labels"] else f"({label})" for label in labels]
    axes.set_xticks(range(len(labels)), shown, rotation=30, ha="right", rotation_mode="anchor")
    title = key.replace("_", " ")
    axes.set(ylim=(0, 100), title=f"{title} (in brackets: fewer than {found['label_minimum']} images in a group)")
    axes.title.set_fontsize(9)
    axes.grid(axis="y", alpha=0.3)


def _look(number: int, is_conclusive: bool) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "alpha": 0.8 if is_conclusive else 0.4,
        "hatch": "" if is_conclusive else "//",
        "zorder": 3,
    }
