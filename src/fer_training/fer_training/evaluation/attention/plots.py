"""Plots of maps over faces, and of the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_perception.types import Float32Array
from fer_training.evaluation.attention.results import Checks, Randomisation

SHOWN_MAXIMUM = 3.0  # of the images' colours, in multiples of uniform attention
CONTROL_STYLES = {"random": ":", "centre": "--", "landmarks": "-."}


class MapColumn(NamedTuple):
    """One crop with its maps. ``crop``: (H, W, C) in 0..1. ``densities``: by row (H, W), of sum 1, or all NaN."""

    title: str
    crop: Float32Array
    densities: Mapping[str, Float32Array]


def draw_maps(
    file: Path, heading: str, columns: Sequence[MapColumn], rows: Mapping[str, str], regions: Float32Array
) -> None:
    """Crops, one column each, with the maps over them and the regions' outlines, into a PNG.

    :param rows: the maps to draw, by name what stands beside the row.
    :param regions: (H, W) in 0..1; over each map stands its fraction there.
    """
    figure = Figure(figsize=(1.5 * len(columns) + 1.2, 1.65 * (len(rows) + 1) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows) + 1, len(columns), squeeze=False)
    shown = None
    for axes_of, (title, crop, densities) in zip(grid.T, columns, strict=True):
        for axes, key in zip(axes_of, (None, *rows), strict=True):
            axes.imshow(crop if crop.shape[2] == 3 else crop[..., 0], cmap="gray", vmin=0, vmax=1)
            caption = title
            if key is not None:
                density = densities[key]
                known = bool(np.isfinite(density).all())
                caption = f"{(density * regions).sum() * 100:.1f}%" if known else "zero everywhere"
                if known:
                    multiples = density * density.size
                    shown = axes.imshow(multiples, cmap="inferno", vmin=0, vmax=SHOWN_MAXIMUM, alpha=0.6)
            axes.contour(regions, levels=[0.5], colors="tab:cyan", linewidths=0.9)
            axes.set_title(caption, fontsize=9)
            axes.set(xticks=[], yticks=[])
    for axes, label in zip(grid[:, 0], ("crop, regions", *rows.values()), strict=True):
        axes.set_ylabel(label, fontsize=8)
    if shown is not None:
        figure.colorbar(shown, ax=grid, extend="max", shrink=0.9, aspect=40, label="times uniform attention")
    figure.suptitle(heading, fontsize=11)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def draw_checks(file: Path, heading: str, checks: Checks) -> None:
    """Deletion and insertion curves, gains over the controls, and Grad-CAM under randomised weights, into a PNG."""
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    grid = figure.subplots(2, 2)
    colours = {key: f"C{number}" for number, key in enumerate(checks.maps)}
    for axes, kind, better in ((grid[0, 0], "deletion", "lower"), (grid[0, 1], "insertion", "higher")):
        _draw_curves(axes, kind, better, checks, colours)
    _draw_gains(grid[1, 0], checks, colours)
    _draw_randomised(grid[1, 1], checks.randomised, colours)
    figure.suptitle(heading)
    figure.savefig(file, dpi=100)


def _draw_curves(axes: Axes, kind: str, better: str, checks: Checks, colours: dict[str, str]) -> None:
    fractions = np.linspace(0, 100, checks.steps + 1)
    greys = dict(zip(checks.controls, np.linspace(0.75, 0.2, len(checks.controls)), strict=True))
    for key, entry in {**checks.maps, **checks.controls}.items():
        found = getattr(entry, kind)
        if found.mean is None:
            continue
        axes.plot(
            fractions,
            found.curve,
            color=colours.get(key) or f"{greys[key]:.2f}",
            linestyle=CONTROL_STYLES.get(key.partition("_")[0], "-"),
            label=f"{_words(key)}: {found.mean:.3f}",
        )
    axes.set(
        xlabel="changed pixels, those of the map's largest values first (%)",
        ylabel="probability of the predicted label",
        title=f"{kind}: {better} is better; beside the name, the area",
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_gains(axes: Axes, checks: Checks, colours: dict[str, str]) -> None:
    """Points with intervals: a row for each map and control, deletion filled and insertion hollow."""
    ticks: list[str] = []
    for key, entry in checks.maps.items():
        for control, gains in entry.gain.items():
            row = len(ticks)
            ticks.append(f"{_words(key)}, over {control}")
            for kind, offset, fill in (("deletion", -0.16, "full"), ("insertion", 0.16, "none")):
                gain = getattr(gains, kind)
                if gain.interval is None:
                    continue
                axes.plot(gain.interval, [row + offset] * 2, color=colours[key])
                label = kind if row == 0 else None
                axes.plot(gain.mean, row + offset, "o", color=colours[key], fillstyle=fill, label=label)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(ticks)), ticks, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="gain in area, with 95% bootstrap interval", title="right of 0: the map is better than the control")
    axes.grid(alpha=0.3, axis="x")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _draw_randomised(axes: Axes, randomised: Randomisation, colours: dict[str, str]) -> None:
    depths = np.asarray(randomised.depths) * 100
    for number, (key, entries) in enumerate(randomised.maps.items()):
        means, lowest, highest = (
            np.array([np.nan if (value := getattr(entry, name)) is None else value for entry in entries])
            for name in ("mean", "lowest", "highest")
        )
        places = depths + (number - (len(randomised.maps) - 1) / 2) * 1.5
        errors = [means - lowest, highest - means]
        axes.errorbar(places, means, errors, fmt="o-", capsize=3, color=colours[key], label=_words(key))
    axes.axhline(0, color="black", linewidth=1)
    axes.axhline(1, color="black", linewidth=1, linestyle=":")
    axes.set_xticks(depths, [f"+ {depth:.0f}%" for depth in depths])
    axes.set(
        xlabel="weights shuffled: the classifier, and of the feature layers the last",
        ylabel="rank correlation with the trained network's map",
        title=f"Grad-CAM, weights shuffled: mean, range of {randomised.draws} draws",
        ylim=(-0.5, 1.1),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _words(key: str) -> str:
    return key.replace("_", " ")
