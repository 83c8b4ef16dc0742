"""The plot of ``benchmark range``. Needs matplotlib, see requirements/replay.txt."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from fer_perception.evaluation.range import FACE_WIDTH_M, IMAGE_WIDTH_PX, VIEW_DEG, RangeResult

MIN_GAP_M = 0.25  # between the widths that the upper axis names


def plot_range(result: RangeResult, file: Path) -> None:
    """Draw how many faces are found and read rightly, by distance, into a PNG."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for detector in result.detectors:
        rows = [scene for scene in detector.scenes if not scene.hard_edge and not scene.roll_deg]
        distances = [row.distance_m for row in rows]
        axes.plot(distances, [100 * row.found_and_right for row in rows], "o-", markersize=4, label=detector.name)
    axes.set(
        xlabel=f"distance in m: a face of {FACE_WIDTH_M:g} m, a camera of {VIEW_DEG:g}°, {IMAGE_WIDTH_PX} pixels wide",
        ylabel="found, and the emotion right, in %",
        xlim=(0, None),
        ylim=(0, 100),
    )
    named: list[tuple[float, int]] = []
    for distance, width in sorted((row.distance_m, row.width_px) for row in rows):
        if not named or distance - named[-1][0] >= MIN_GAP_M:
            named.append((distance, width))
    upper = axes.secondary_xaxis("top")
    upper.set_xticks([distance for distance, _ in named], [str(width) for _, width in named])
    upper.set_xlabel("width of the face in pixels")
    axes.grid(alpha=0.3)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
