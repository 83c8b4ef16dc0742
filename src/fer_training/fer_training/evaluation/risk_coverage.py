"""What abstaining buys: the accuracy when only the more confident predictions are kept.

Risk-coverage curve and its area (AURC) as in Geifman and El-Yaniv, *Selective Classification for Deep Neural Networks*
(2017), with the largest probability as the confidence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fer_perception.evaluation.results import RESAMPLES, Interval, Result, interval
from fer_perception.types import Float32Array
from fer_training.evaluation.text import percent, points

COVERAGE = 0.8
CURVE_POINTS = 100

BoolArray = npt.NDArray[np.bool_]


class AtCoverage(Result):
    """The predictions that are kept at a coverage of 80%.

    ``threshold``: the confidence that gives it here. ``gain``: in accuracy over all predictions. ``intervals``: of
    ``accuracy`` and ``gain``, over resamples of the samples, each with a threshold of its own.
    """

    coverage: float
    threshold: float
    accuracy: float
    gain: float
    intervals: dict[str, Interval]


class AtThreshold(Result):
    """The predictions that a threshold keeps; ``accuracy`` is None where it keeps none."""

    threshold: float
    coverage: float
    accuracy: float | None


class Curve(Result):
    """Accuracy of the most confident predictions, at every hundredth of coverage."""

    coverage: list[float]
    accuracy: list[float]


class RiskCoverage(Result):
    """What abstaining buys. ``aurc``: mean risk over all coverages. ``accuracy``: of all ``n`` predictions.

    ``at_threshold``: with a threshold that was chosen before, on other data.
    """

    n: int
    aurc: float
    accuracy: float
    at_80: AtCoverage
    at_threshold: AtThreshold | None
    curve: Curve


def measure_risk_coverage(
    targets: npt.NDArray[np.int64], probabilities: Float32Array, threshold: float | None = None, seed: int = 0
) -> RiskCoverage:
    """Accuracy of the most confident predictions.

    :param targets: (N,), indices of labels.
    :param probabilities: (N, labels), rows summing to 1.
    :param threshold: one that was chosen before, on other data.
    """
    confidences = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    chosen = threshold_for(confidences, COVERAGE)
    accepted = confidences >= chosen
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(right), len(right)) for _ in range(RESAMPLES)]
    resampled = np.asarray([_accuracies(confidences[draw], right[draw]) for draw in draws])
    accuracy = float(right.mean())
    accuracies = accuracy_by_coverage(confidences, right)
    counts = np.ceil(np.arange(1, CURVE_POINTS + 1) / CURVE_POINTS * len(right) - 1e-9).astype(int)
    return RiskCoverage(
        n=len(right),
        aurc=float((1 - accuracies).mean()),
        accuracy=accuracy,
        at_80=AtCoverage(
            coverage=accepted.mean(),
            threshold=chosen,
            accuracy=right[accepted].mean(),
            gain=right[accepted].mean() - accuracy,
            intervals={"accuracy": interval(resampled[:, 1]), "gain": interval(resampled[:, 1] - resampled[:, 0])},
        ),
        at_threshold=None if threshold is None else _at(threshold, confidences, right),
        curve=Curve(
            coverage=[round(float(count) / len(right), 4) for count in counts],
            accuracy=[round(float(accuracies[count - 1]), 4) for count in counts],
        ),
    )


def accuracy_by_coverage(confidences: npt.NDArray[np.floating], right: BoolArray) -> npt.NDArray[np.float64]:
    """Accuracy of the 1, 2, ... N most confident predictions: float64, (N,)."""
    order = np.argsort(-confidences, kind="stable")
    return np.cumsum(right[order]) / np.arange(1, len(right) + 1)


def threshold_for(confidences: npt.NDArray[np.floating], coverage: float) -> float:
    """The highest confidence such that at least this fraction of the predictions reaches it."""
    count = int(np.ceil(coverage * len(confidences) - 1e-9))
    return float(np.sort(confidences)[len(confidences) - count])


def plot_risk_coverage(measured: RiskCoverage, title: str, file: Path) -> Path:
    """Draw accuracy over coverage into a PNG, with the point at 80% and, where there is one, the chosen threshold's."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    curve, at_80, at_threshold = measured.curve, measured.at_80, measured.at_threshold
    axes.plot(np.multiply(curve.coverage, 100), np.multiply(curve.accuracy, 100), color="tab:blue")
    axes.axhline(measured.accuracy * 100, color="#bbb", linestyle=":", label="all predictions kept")
    low, high = (end * 100 for end in at_80.intervals["accuracy"])
    axes.errorbar(
        [at_80.coverage * 100],
        [at_80.accuracy * 100],
        yerr=[[at_80.accuracy * 100 - low], [high - at_80.accuracy * 100]],
        fmt="o",
        color="tab:orange",
        capsize=4,
        label=f"80% kept: {at_80.accuracy:.1%}, {at_80.gain * 100:+.1f} points",
    )
    if at_threshold and at_threshold.accuracy is not None:
        point = at_threshold.coverage * 100, at_threshold.accuracy * 100
        label = f"the bundle's threshold {at_threshold.threshold:.2f}: {at_threshold.coverage:.0%} kept"
        axes.plot(*point, "D", color="tab:green", label=label)
    axes.set(
        xlabel="coverage: predictions kept, the most confident first, %",
        ylabel="accuracy of these, %",
        xlim=(0, 101),
        title=title,
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    return file


def format_risk_coverage(measured: RiskCoverage) -> str:
    """One line for a terminal."""
    at_80, at_threshold = measured.at_80, measured.at_threshold
    line = (
        f"abstention: AURC {measured.aurc:.4f}; accuracy {percent(at_80.accuracy, at_80.intervals['accuracy'])} at "
        f"{percent(at_80.coverage, digits=1)} coverage, {points(at_80.gain, at_80.intervals['gain'], 2)} points; "
        f"threshold {at_80.threshold:.4f}"
    )
    if at_threshold:
        accuracy = "-" if at_threshold.accuracy is None else percent(at_threshold.accuracy)
        line += (
            f"; the bundle's threshold {at_threshold.threshold:.4f} covers {percent(at_threshold.coverage, digits=1)}, "
            f"accuracy {accuracy}"
        )
    return line


def _accuracies(confidences: npt.NDArray[np.floating], right: BoolArray) -> tuple[float, float]:
    """Of all predictions, and at 80% coverage."""
    return float(right.mean()), float(right[confidences >= threshold_for(confidences, COVERAGE)].mean())


def _at(threshold: float, confidences: npt.NDArray[np.floating], right: BoolArray) -> AtThreshold:
    accepted = confidences >= threshold
    accuracy = right[accepted].mean() if accepted.any() else None
    return AtThreshold(threshold=threshold, coverage=accepted.mean(), accuracy=accuracy)
