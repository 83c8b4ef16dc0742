"""The verb ``calibrate``: what turns a bundle's logits into probabilities that can be trusted.

Temperature scaling (Guo et al., *On Calibration of Modern Neural Networks*, 2017): one number that makes a network's
confidence match its accuracy. How much of the training data's prior balanced predictions take out, see
:mod:`fer_perception.emotions.class_prior`. And the confidence below which it abstains, see :mod:`.risk_coverage`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import classification_metrics, expected_calibration_error, mean_recall
from fer_perception.models.bundle import MANIFEST, Abstention, Bundle, Precision, write_manifest
from fer_training.datasets import load_dataset
from fer_training.evaluation.predictions import Predictions, load_model, predict_samples
from fer_training.evaluation.risk_coverage import measure_risk_coverage
from fer_training.evaluation.text import percent

# Far beyond what networks need (0.5 to 3).
LOWEST, HIGHEST = 0.02, 50.0
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the prior that is taken out
ACCURACY_COST = 0.015  # what balanced predictions may cost on data that have the prior


class Fit(NamedTuple):
    """How well a temperature fits: negative log-likelihood in nats, and expected calibration error."""

    temperature: float
    nll: float
    ece: float


class Balance(NamedTuple):
    """How predictions are balanced; ``accuracy`` and ``recall``, the mean over labels, on the validation split."""

    strength: float
    accuracy: dict[float, float]
    recall: dict[float, float]
    abstention: Abstention


class Calibration(NamedTuple):
    """What :func:`calibrate` found; ``balance``: of a bundle that has label frequencies."""

    before: Fit
    after: Fit
    abstention: Abstention
    balance: Balance | None


def calibrate(bundle: Path, dataset: str, precision: Precision = "fp32", threads: int = 1) -> Calibration:
    """Fit the temperature and choose prior strength and abstention thresholds on a dataset's validation split; write
    them into the bundle's manifest.

    They are of the bundle, thus of all its precisions. The temperature is that of predictions with the training data's
    prior, which the validation split has as well: only from calibrated probabilities a prior can be taken out. The
    strength is then the one with the highest mean recall among those that cost at most 1.5 points of accuracy, the
    least of several.

    :raises FerError: bundle or dataset cannot be used, or the data do not determine a temperature.
    """
    if not (bundle / MANIFEST).exists():
        raise FerError(f"{bundle}: is no bundle, it has no {MANIFEST}. Make one with export")
    model = load_model(bundle, precision, threads)
    samples = load_dataset(dataset, "val", model.alignment)
    predictions = predict_samples(model, samples)
    temperature = round(fit_temperature(predictions.logits, predictions.targets), 4)
    abstention = _abstention(samples.dataset, predictions, temperature)
    changes: dict[str, Any] = {"temperature": temperature, "abstention": abstention}
    balance = None
    if predictions.bias is not None:
        balance = _balance(samples.dataset, predictions, temperature)
        changes |= {"prior_strength": balance.strength, "balanced_abstention": balance.abstention}
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update=changes))
    return Calibration(_fit(predictions, model.temperature), _fit(predictions, temperature), abstention, balance)


def _abstention(dataset: str, predictions: Predictions, temperature: float, strength: float = 0.0) -> Abstention:
    probabilities = predictions.probabilities(temperature, strength)
    measured = measure_risk_coverage(predictions.targets, probabilities).at_80
    # Rounded down, so that rounding refuses nothing more.
    threshold = int(measured.threshold * 10_000) / 10_000
    return Abstention(threshold=threshold, coverage=round(measured.coverage, 4), dataset=dataset)


def _balance(dataset: str, predictions: Predictions, temperature: float) -> Balance:
    accuracy, recall = {}, {}
    for strength in STRENGTHS:
        probabilities = predictions.probabilities(temperature, strength)
        metrics = classification_metrics(predictions.targets, probabilities, predictions.labels)
        accuracy[strength], recall[strength] = metrics.accuracy, mean_recall(metrics)
    affordable = [strength for strength in STRENGTHS if accuracy[strength] >= accuracy[0.0] - ACCURACY_COST]
    chosen = max(affordable, key=lambda strength: recall[strength])
    return Balance(chosen, accuracy, recall, _abstention(dataset, predictions, temperature, chosen))


def _fit(predictions: Predictions, temperature: float) -> Fit:
    return Fit(
        temperature,
        negative_log_likelihood(predictions.logits, predictions.targets, temperature),
        expected_calibration_error(predictions.targets, predictions.probabilities(temperature)),
    )


def format_calibration(found: Calibration) -> str:
    """What :func:`calibrate` found, as text for a terminal."""
    before, after, abstention, balance = found
    text = (
        f"temperature {after.temperature:.4f} is now in the manifest: on the validation split NLL {before.nll:.4f} "
        f"became {after.nll:.4f}, ECE {percent(before.ece)} became {percent(after.ece)}\n"
        f"abstention threshold {abstention.threshold:.4f} is now in the manifest: it keeps "
        f"{percent(abstention.coverage, digits=1)} of the predictions on the validation split"
    )
    if balance is None:
        return f"{text}\nthe manifest has no label_frequencies, so predictions are not balanced"
    tried = ", ".join(
        f"{percent(recall)} and {percent(balance.accuracy[strength])} at {strength:g}"
        for strength, recall in balance.recall.items()
    )
    return (
        f"{text}\nprior strength {balance.strength:g} is now in the manifest: on the validation split mean recall and "
        f"accuracy are {tried}\nabstention threshold of balanced predictions {balance.abstention.threshold:.4f} is now "
        f"in the manifest: it keeps {percent(balance.abstention.coverage, digits=1)}"
    )


def negative_log_likelihood(
    logits: npt.NDArray[np.floating], targets: npt.NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Mean of -log softmax(logits / temperature) at the targets, in nats.

    :param logits: (N, labels).
    :param targets: (N,), indices of labels.
    """
    log_probabilities = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-log_probabilities[np.arange(len(targets)), targets].mean())


def fit_temperature(logits: npt.NDArray[np.floating], targets: npt.NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood; above 1 where the network is too confident.

    :raises FerError: there is no minimum.
    """
    own = logits[np.arange(len(targets)), targets]
    if (logits.argmax(axis=1) == targets).all():  # the lower the temperature the better
        raise FerError(f"all {len(targets)} predictions are right, which leaves the temperature open: take more data")
    if (own - logits.mean(axis=1)).mean() <= 0:  # the higher the temperature the better
        raise FerError(f"the network tells nothing about these {len(targets)} samples, so no temperature fits them")
    # The loss is convex in 1 / temperature: it has one minimum, over the logarithm as well.
    found = minimize_scalar(
        lambda log_temperature: negative_log_likelihood(logits, targets, np.exp(log_temperature)),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
    )
    return float(np.exp(found.x))
