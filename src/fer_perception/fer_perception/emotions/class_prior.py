"""The class prior of predictions: how frequent each emotion is taken to be before a face is seen.

A network's probabilities carry the label frequencies of its training data: of an emotion that was rare there it is
rarely sure. Adding strength x (log wanted - log trained frequency) to the calibrated logits replaces that prior: logit
adjustment, Menon et al., *Long-tail learning via logit adjustment* (ICLR 2021), arXiv:2007.07314.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from fer_perception.errors import FerError
from fer_perception.models.bundle import FREQUENCY_TOLERANCE, Bundle, Manifest
from fer_perception.types import Float32Array

TRAINING, BALANCED = "training", "balanced"

log = logging.getLogger(__name__)


def prior_bias(bundle: Bundle, prior: str) -> Float32Array | None:
    """What to add to a bundle's logits after they were divided by its temperature: float32, (labels,), mean 0.

    :param prior: ``training``: nothing. ``balanced``: towards equal frequencies, by the strength of the manifest; a
        bundle without frequencies stays as it is, which is logged. Or the wanted frequencies, in the order of the
        bundle's labels, with commas between them.
    :return: None where there is nothing to add.
    :raises FerError: ``prior`` is none of these, or the bundle lacks the frequencies that a list needs.
    """
    manifest = bundle.manifest
    if prior == TRAINING:
        return None
    if prior == BALANCED:
        if manifest.label_frequencies is None:
            log.warning(
                "%s: the manifest has no label_frequencies, so predictions are not balanced but carry the label "
                "frequencies of the training data. Export the model again from its run, or set prior to training",
                bundle.path,
            )
        return balancing_bias(manifest)
    wanted = parse_frequencies(prior, manifest.labels)
    if manifest.label_frequencies is None:
        raise FerError(
            f"prior is '{prior}', but the manifest of {bundle.path} has no label_frequencies to replace. Export the "
            "model again from its run, or set prior to training"
        )
    return _centred(np.log(wanted) - np.log(manifest.label_frequencies))


def balancing_bias(manifest: Manifest, strength: float | None = None) -> Float32Array | None:
    """The bias towards equal frequencies; None where the manifest has no frequencies.

    :param strength: in place of the manifest's own.
    """
    if manifest.label_frequencies is None:
        return None
    strength = manifest.prior_strength if strength is None else strength
    return _centred(-strength * np.log(manifest.label_frequencies))


def parse_frequencies(text: str, labels: Sequence[str]) -> list[float]:
    """Frequencies from a text such as ``0.2,0.5,0.3``.

    :raises FerError: there is not one positive number for each label, or they do not sum to 1.
    """
    usage = f"prior is '{text}': use {BALANCED}, {TRAINING} or one frequency for each of {', '.join(labels)}"
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise FerError(f"{usage}, as numbers with commas between them") from error
    if len(values) != len(labels):
        raise FerError(f"{usage}: these are {len(labels)}, not {len(values)}")
    if not all(value > 0 for value in values):
        raise FerError(f"{usage}, each above 0")
    if not abs(sum(values) - 1) <= FREQUENCY_TOLERANCE:
        raise FerError(f"{usage}, which sum to 1, not to {sum(values):g}")
    return values


def _centred(bias: np.ndarray) -> Float32Array:
    """A constant added to all logits changes no probability."""
    return (bias - bias.mean()).astype(np.float32)
