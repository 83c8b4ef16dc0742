"""Draw training images so that groups are treated alike, or labels are equally frequent."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fer_perception.errors import FerError
from fer_training.datasets import Samples
from fer_training.runs.config import SamplingConfig


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
