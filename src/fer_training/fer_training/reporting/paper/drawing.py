"""The paper's figures, redrawn from our measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_training.reporting.paper.cells import Cell, Reading, Section
from fer_training.reporting.paper.figures import ACCURACY, AXES, FIGURES, PRIVACY, RADAR, SENSITIVITY
from fer_training.reporting.paper.folder import Folder, NotMeasured

OURS: dict[str, Any] = {"color": "tab:blue", "marker": "o", "linestyle": "none", "markersize": 8}
CLAIMED: dict[str, Any] = {**OURS, "color": "tab:red", "marker": "D", "fillstyle": "none"}


def image_of(section: Section) -> str:
    """The name of a figure's file."""
    return f"claims_figure{FIGURES.index(section) + 1}.png"


def draw_figures(folder: Folder, out: Path) -> list[Path]:
    """Draw the figures of which a number is measured."""
    files = []
    for section in FIGURES:
        found = measured(folder, section.cells)
        if found:
            draw = {RADAR: _radar, SENSITIVITY: _scatter}.get(section, column_plots)
            figure = draw(section, found)
            figure.suptitle(section.title)
            files.append(out / image_of(section))
            figure.savefig(files[-1], dpi=100)
    return files


def measured(folder: Folder, cells: Sequence[Cell]) -> dict[tuple[str, str], Reading]:
    """Our figures here, by row and column of the cells; those that are not measured are missing."""
    found = {}
    for cell in cells:
        if cell.ours:
            try:
                found[cell.row, cell.column] = cell.ours.measure(folder)
            except NotMeasured:
                continue
    return found


def column_plots(section: Section, found: dict[tuple[str, str], Reading]) -> Figure:
    """A plot for each column, of the paper's numbers and ours; those with a unit are relative to the first row's."""
    columns = list(dict.fromkeys(cell.column for cell in section.cells))
    figure = Figure(figsize=(1.5 + 3.5 * len(columns), 4.5), layout="constrained")
    for axes, column in zip(np.atleast_1d(figure.subplots(1, len(columns))), columns, strict=True):
        cells = [cell for cell in section.cells if cell.column == column]
        ours = {cell.row: found[cell.row, column].value for cell in cells if (cell.row, column) in found}
        claimed = {cell.row: cell.claimed for cell in cells if not isinstance(cell.claimed, str)}
        is_relative = cells[0].unit.name not in ("", "%")
        for values, style, label in ((ours, OURS, "measured here"), (claimed, CLAIMED, "the paper")):
            reference = values.get(cells[0].row) if is_relative else 1 / cells[0].unit.scale
            if values and reference:
                places = [place for place, cell in enumerate(cells) if cell.row in values]
                axes.plot(places, np.divide([*values.values()], reference), label=label, **style)
        _ticks(axes, [cell.row for cell in cells])
        axes.set(
            title=f"{column}, relative"
            if is_relative
            else column + f", {cells[0].unit.name}" * bool(cells[0].unit.name)
        )
        axes.set_ylim(0, 1.15 * axes.dataLim.y1 if np.isfinite(axes.dataLim.y1) else 1)
        axes.legend(loc="lower left", fontsize=8)
    return figure


def _ticks(axes: Axes, rows: list[str]) -> None:
    axes.set_xticks(range(len(rows)), rows, rotation=30, ha="right", fontsize=8)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.grid(alpha=0.3)


def _radar(section: Section, found: dict[tuple[str, str], Reading]) -> Figure:
    """Both networks on the axes; where one is not measured, the line has a gap."""
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots(subplot_kw={"projection": "polar"})
    angles = np.linspace(0, 2 * np.pi, len(AXES), endpoint=False)
    for row in dict.fromkeys(cell.row for cell in section.cells):
        values = [found[row, axis.name].value if (row, axis.name) in found else np.nan for axis in AXES]
        axes.plot([*angles, angles[0]], [*values, values[0]], marker="o", label=row)
    axes.set_xticks(angles, [axis.name for axis in AXES])
    axes.tick_params(axis="x", pad=18)
    axes.set(ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _scatter(section: Section, found: dict[tuple[str, str], Reading]) -> Figure:
    """Accuracy against privacy: a colour for each network, a marker for each source."""
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    claimed = {(cell.row, cell.column): float(cell.claimed) for cell in section.cells}
    for number, row in enumerate(dict.fromkeys(cell.row for cell in section.cells)):
        ours = [found[row, column].value for column in (PRIVACY, ACCURACY) if (row, column) in found]
        axes.plot([], [], color=f"C{number}", linewidth=6, label=row)
        for point, style in ((ours, OURS), ([claimed[row, PRIVACY], claimed[row, ACCURACY]], CLAIMED)):
            if len(point) == 2:
                axes.plot(*[[value] for value in point], **{**style, "color": f"C{number}"})
    for style, label in ((OURS, "measured here"), (CLAIMED, "the paper")):
        axes.plot([], [], label=label, **{**style, "color": "black"})
    axes.set(xlabel="privacy", ylabel="accuracy", xlim=(0, 1.05), ylim=(0, 1.05))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure
