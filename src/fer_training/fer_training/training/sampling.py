"""Draw training images so that groups are treated alike, or labels are equally frequent, and what that teaches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fer_perception.errors import FerError
from fer_training.datasets import Samples
from fer_training.runs.config import SamplingConfig

RAREST = 1e-6  # frequency


def sampling_weights(config: SamplingConfig, samples: Samples) -> Tensor | None:
    """How often to draw each training image, float64, (N,), summing to 1; None if no group column is configured.

    By ``reweighing`` label and group become independent, each as frequent as it is: an image's weight is P(group)
    P(label) / P(group, label) (Kamiran and Calders, *Data preprocessing techniques for classification without
    discrimination*, 2012; drawing by these weights is their uniform sampling). By ``balanced`` groups become equally
    frequent, too. Images whose group is not known form a group of their own.

    Without a group, ``label_balance`` makes labels more equally frequent: a label of frequency f is drawn as if it had
    f ** (1 - label_balance).

    :raises FerError: the data have no such column.
    """
    if not config.group and not config.label_balance:
        return None
    if not config.group:
        frequencies = np.bincount(samples.targets, minlength=len(samples.labels)) / len(samples)
        weights = frequencies[samples.targets] ** -config.label_balance
        return torch.from_numpy(weights / weights.sum())
    if config.group not in samples.groups:
        known = ", ".join(samples.groups) or "none"
        raise FerError(f"sampling.group: {samples.dataset} has no column '{config.group}' (it has: {known})")
    names, groups = np.unique(samples.groups[config.group], return_inverse=True)
    joint = np.zeros((len(names), len(samples.labels)))
    np.add.at(joint, (groups, samples.targets), 1 / len(samples))
    of_group = joint.sum(axis=1) if config.method == "reweighing" else np.full(len(names), 1 / len(names))
    wanted = np.outer(of_group, joint.sum(axis=0))
    weights = (wanted / np.maximum(joint, np.finfo(float).tiny))[groups, samples.targets]
    return torch.from_numpy(weights / weights.sum())


def learnt_frequencies(samples: Samples, weights: Tensor | None = None, logit_adjustment: float = 0.0) -> list[float]:
    """The label frequencies that a network's probabilities carry: of all labels of all sets, each set summing to 1.

    They are those of the images that it is shown, over those in the images to the power of ``logit_adjustment``, which
    the loss takes out: with 1, and images drawn as they are, all are equal.

    :param weights: how often each image is drawn, (N,), see :func:`sampling_weights`; None: all alike.
    """
    targets = samples.distributions().astype(np.float64)
    drawn = targets if weights is None else targets * weights.numpy()[:, None]
    found: list[float] = []
    column = 0
    for labels in samples.heads.values():
        columns = slice(column, column := column + len(labels))
        shown, plain = (_frequencies(rows[:, columns]) for rows in (drawn, targets))
        learnt = shown / plain**logit_adjustment
        found += (learnt / learnt.sum()).round(6).tolist()
    return found


def _frequencies(targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = targets.sum(axis=0)
    return (sums / sums.sum()).clip(RAREST)  # a label that no image has
