"""Curves of a stress test, and a sheet of what its corruptions look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_perception.types import UInt8Image
from fer_training.datasets import Samples
from fer_training.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from fer_training.evaluation.robustness.stress import ALL, StressResult

COLUMNS = 5
SHEET_FACES = 2
TILE = 96  # pixels on the sheet


def plot_stress(result: StressResult, folder: Path) -> Path:
    """Draw accuracy by severity, one panel per corruption, and each model's mean corruption error.

    :param result: from :func:`fer_training.evaluation.robustness.stress.evaluate_stress`.
    :return: the written PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(result.corruptions)
    rows = -(-(len(names) + 1) // COLUMNS)
    figure = Figure(figsize=(2.9 * COLUMNS, 2.6 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        _curves(axes, result, name)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    facts = [f"{model}: clean {result.clean[model].accuracy * 100:.1f}%" for model in result.models]
    if ALL in result.families:
        errors = [result.families[ALL][model].corruption_error for model in result.models]
        facts = [f"{text}, mCE {error:.2f}" if error else text for text, error in zip(facts, errors, strict=True)]
    grid[len(names)].legend(handles, [*facts, *labels[len(facts) :]], loc="center left", fontsize=8, frameon=False)
    figure.suptitle(
        f"Accuracy on {result.dataset}, {result.split} split ({result.n} faces), by severity of the "
        "corruption; 0: clean"
    )
    figure.supxlabel("severity")
    figure.supylabel("accuracy, %")
    file = folder / f"{result.dataset}_{result.split}_stress.png"
    figure.savefig(file, dpi=100)
    return file


def _curves(axes: Axes, result: StressResult, name: str) -> None:
    for number, model in enumerate(result.models):
        values = [result.clean[model].accuracy, *result.corruptions[name][model].accuracies]
        axes.plot(
            (0, *SEVERITIES), [100 * value for value in values], "o-", markersize=3, label=model, zorder=3 + number
        )
    axes.axhline(100 / len(result.labels), color="0.5", linestyle=":", linewidth=1, label="guessing among all labels")
    axes.set(title=name.replace("_", " "), ylim=(0, 100), xticks=(0, *SEVERITIES))
    axes.grid(alpha=0.3)


def plot_examples(result: StressResult, samples: Samples, folder: Path) -> Path:
    """Draw two faces of a dataset under every corruption at every severity.

    :param result: of the same samples.
    :return: the written PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.unique(np.linspace(0, len(samples) - 1, SHEET_FACES).round().astype(int))
    faces = [samples.images[index] for index in chosen]
    titles = [title for _ in faces for title in ("clean", *map(str, SEVERITIES))]
    figure = Figure(figsize=(len(titles) * TILE / 100 + 1.4, len(CORRUPTIONS) * TILE / 100 + 0.5), layout="constrained")
    grid = figure.subplots(len(CORRUPTIONS), len(titles), squeeze=False)
    for row, name in zip(grid, CORRUPTIONS, strict=True):
        stages = [faces, *(corrupt(faces, name, severity, result.template, result.seed) for severity in SEVERITIES)]
        for axes, image in zip(row, [stage[face] for face in range(len(faces)) for stage in stages], strict=True):
            _show(axes, image)
        row[0].set_ylabel(name.replace("_", "\n"), rotation=0, ha="right", va="center", fontsize=9)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    file = folder / f"{samples.dataset}_{samples.split}_corruptions.png"
    figure.savefig(file, dpi=100)
    return file


def _show(axes: Axes, image: UInt8Image) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
