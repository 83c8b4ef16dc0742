"""What abstaining buys: how often answers are right when only the more confident ones are given.

Risk-coverage curve and its area (AURC) as in Geifman and El-Yaniv, *Selective Classification for Deep Neural Networks*
(2017), with the largest probability as the confidence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fer_perception.evaluation.metrics import RESAMPLES, interval
from fer_perception.models.bundle import Abstention, Bundle, write_manifest
from fer_perception.types import Float32Array

COVERAGE = 0.8
CURVE_POINTS = 100

BoolArray = npt.NDArray[np.bool_]


def measure_risk_coverage(
    targets: npt.NDArray[np.int64], probabilities: Float32Array, threshold: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Accuracy of the most confident answers.

    :param targets: (N,), indices of labels.
    :param probabilities: (N, labels), rows summing to 1.
    :param threshold: one that was chosen before, on other data.
    :return: ``aurc`` (mean risk over all coverages, 0 to 1); ``accuracy`` (of all answers); ``at_80`` (``coverage``,
        ``threshold`` that gives it here, ``accuracy``, ``gain`` over all answers, and ``intervals`` of these two: 95%,
        over resamples of the samples, each with a threshold of its own); ``at_threshold`` (``threshold``,
        ``coverage`` and ``accuracy``, None without a threshold or without an answer); and ``curve`` (``coverage``
        and ``accuracy`` at every hundredth).
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
    return {
        "n": len(right),
        "aurc": float((1 - accuracies).mean()),
        "accuracy": accuracy,
        "at_80": {
            "coverage": float(accepted.mean()),
            "threshold": chosen,
            "accuracy": float(right[accepted].mean()),
            "gain": float(right[accepted].mean()) - accuracy,
            "intervals": {"accuracy": interval(resampled[:, 1]), "gain": interval(resampled[:, 1] - resampled[:, 0])},
        },
        "at_threshold": _at(threshold, confidences, right) if threshold is not None else None,
        "curve": {
            "coverage": [round(float(count) / len(right), 4) for count in counts],
            "accuracy": [round(float(accuracies[count - 1]), 4) for count in counts],
        },
    }


def accuracy_by_coverage(confidences: npt.NDArray[np.floating], right: BoolArray) -> npt.NDArray[np.float64]:
    """Accuracy of the 1, 2, ... N most confident answers: float64, (N,)."""
    order = np.argsort(-confidences, kind="stable")
    return np.cumsum(right[order]) / np.arange(1, len(right) + 1)


def threshold_for(confidences: npt.NDArray[np.floating], coverage: float) -> float:
    """The highest confidence such that at least this share of the answers reaches it."""
    count = int(np.ceil(coverage * len(confidences) - 1e-9))
    return float(np.sort(confidences)[len(confidences) - count])


def choose_threshold(bundle: Path, dataset: str, measured: dict[str, Any]) -> Abstention:
    """Write the threshold that gives 80% coverage into the bundle's manifest, for its precisions all.

    :param dataset: of which it is measured, the validation split.
    :param measured: of :func:`measure_risk_coverage`.
    """
    # Rounded down, so that rounding refuses nothing more.
    threshold = int(measured["at_80"]["threshold"] * 10_000) / 10_000
    abstention = Abstention(threshold=threshold, coverage=round(measured["at_80"]["coverage"], 4), dataset=dataset)
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update={"abstention": abstention}))
    return abstention


def plot_risk_coverage(measured: dict[str, Any], title: str, file: Path) -> Path:
    """Draw accuracy over coverage into a PNG, with the point at 80% and, where there is one, the chosen threshold's."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    curve, at_80, at_threshold = (measured[key] for key in ("curve", "at_80", "at_threshold"))
    axes.plot(np.multiply(curve["coverage"], 100), np.multiply(curve["accuracy"], 100), color="tab:blue")
    axes.axhline(measured["accuracy"] * 100, color="#bbb", linestyle=":", label="all faces answered")
    low, high = (end * 100 for end in at_80["intervals"]["accuracy"])
    axes.errorbar(
        [at_80["coverage"] * 100],
        [at_80["accuracy"] * 100],
        yerr=[[at_80["accuracy"] * 100 - low], [high - at_80["accuracy"] * 100]],
        fmt="o",
        color="tab:orange",
        capsize=4,
        label=f"80% answered: {at_80['accuracy']:.1%}, {at_80['gain'] * 100:+.1f} points",
    )
    if at_threshold and at_threshold["accuracy"] is not None:
        point = at_threshold["coverage"] * 100, at_threshold["accuracy"] * 100
        label = f"the bundle's threshold {at_threshold['threshold']:.2f}: {at_threshold['coverage']:.0%} answered"
        axes.plot(*point, "D", color="tab:green", label=label)
    axes.set(
        xlabel="faces answered, the most confident first, %", ylabel="of these right, %", xlim=(0, 101), title=title
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    return file


def format_risk_coverage(dataset: str, measured: dict[str, Any]) -> str:
    """One line for a terminal."""
    at_80, at_threshold = measured["at_80"], measured["at_threshold"]
    low, high = at_80["intervals"]["accuracy"]
    gain_low, gain_high = at_80["intervals"]["gain"]
    line = (
        f"{dataset}: AURC {measured['aurc']:.4f}; accuracy {at_80['accuracy']:.2%} [{low:.2%}, {high:.2%}] at "
        f"{at_80['coverage']:.1%} coverage, {measured['accuracy']:.2%} at 100%: {at_80['gain'] * 100:+.2f} points "
        f"[{gain_low * 100:+.2f}, {gain_high * 100:+.2f}]; threshold {at_80['threshold']:.4f}"
    )
    if at_threshold:
        accuracy = "-" if at_threshold["accuracy"] is None else f"{at_threshold['accuracy']:.2%}"
        line += (
            f"; the bundle's threshold {at_threshold['threshold']:.4f} covers {at_threshold['coverage']:.1%}, "
            f"accuracy {accuracy}"
        )
    return line


def _accuracies(confidences: npt.NDArray[np.floating], right: BoolArray) -> tuple[float, float]:
    """Of all answers, and at 80% coverage."""
    return float(right.mean()), float(right[confidences >= threshold_for(confidences, COVERAGE)].mean())


def _at(threshold: float, confidences: npt.NDArray[np.floating], right: BoolArray) -> dict[str, float | None]:
    accepted = confidences >= threshold
    return {
        "threshold": threshold,
        "coverage": float(accepted.mean()),
        "accuracy": float(right[accepted].mean()) if accepted.any() else None,
    }
