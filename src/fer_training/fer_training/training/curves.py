"""The plot of a training."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


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
