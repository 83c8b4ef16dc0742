"""Temperature scaling (Guo et al., 2017): one number that makes a network's confidence match its accuracy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from fer_perception.errors import FerError

# Far beyond what networks need (0.5 to 3).
LOWEST, HIGHEST = 0.02, 50.0


def negative_log_likelihood(
    logits: npt.NDArray[np.floating], targets: npt.NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Mean of -log softmax(logits / temperature) at the targets, in nats.

    :param logits: (N, labels).
    :param targets: (N,), indices of labels.
    """
    scores = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-scores[np.arange(len(targets)), targets].mean())


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
