"""Knowledge distillation (Hinton et al., 2015) from the cached soft targets of an ensemble of teachers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fer_perception.errors import FerError
from fer_training.datasets import Samples
from fer_training.evaluation.inference import by_head
from fer_training.runs.checkpoint import load_checkpoint, save_checkpoint


def save_soft_targets(file: Path, samples: Samples, probabilities: Tensor, teachers: list[str]) -> None:
    """Write the teachers' probabilities, (N, labels), for the samples."""
    values = {"labels": list(samples.labels), "samples": _identity(samples), "teachers": teachers}
    save_checkpoint(file, {"teacher": {"probabilities": probabilities}}, values)


def load_soft_targets(file: Path, samples: Samples, temperature: float) -> Tensor:
    """The teachers' probabilities at a temperature: float32, (N, labels of all sets), in the order of the samples.

    :raises FerError: the file is not readable, or is about other samples.
    """
    groups, values = load_checkpoint(file)
    if values.get("samples") != _identity(samples) or tuple(values["labels"]) != samples.labels:
        raise FerError(
            f"{file}: is about other training data than {samples.dataset}. Make it again with the verb soft_targets"
        )
    logits = groups["teacher"]["probabilities"].clamp_min(1e-8).log() / temperature
    return by_head(torch.softmax, logits, [*map(len, samples.heads.values())])


def distillation_loss(logits: Tensor, soft_targets: Tensor, sizes: Sequence[int], temperature: float) -> Tensor:
    """Cross entropy at a temperature, times its square, so that gradients keep their size; the mean over label sets.

    :param logits: (N, labels of all sets), the student's.
    :param soft_targets: (N, labels of all sets), the teachers' probabilities at the same temperature.
    :param sizes: how many labels each set has.
    """
    log_probabilities = by_head(torch.log_softmax, logits / temperature, sizes)
    return -(soft_targets * log_probabilities).sum(1).mean() / len(sizes) * temperature**2


def _identity(samples: Samples) -> str:
    """Hash of names and targets: the same images in the same order, at whatever size they were cut out."""
    text = "\n".join([*samples.names, *map(str, samples.targets.tolist())])
    return hashlib.sha256(text.encode()).hexdigest()
