"""The logit-adjusted loss: by the labels' frequencies among the training images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fer_perception.errors import FerError
from fer_training.runs.config import load_config
from fer_training.training.supervised import SupervisedLoss, Supervision, log_frequencies, prepared

SETS = {"a": ("x", "y", "z"), "b": ("x", "y")}


class Logits(nn.Module):
    """The image is the logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def loss_of(config_file: Path, strength: float, targets: torch.Tensor, *overrides: str) -> SupervisedLoss:
    config = load_config(config_file, [f"logit_adjustment={strength}", *overrides])
    return SupervisedLoss(config, Logits(), targets, SETS)


def test_frequencies_are_those_of_each_set() -> None:
    targets = torch.tensor([[1, 0, 0, 0.5, 0.5], [1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 1.0]])
    found = log_frequencies(targets, [3, 2]).exp()
    torch.testing.assert_close(found, torch.tensor([2 / 3, 1 / 3, 1e-6, 0.5 / 3, 2.5 / 3]))
    unlabelled = torch.cat([targets, torch.zeros(9, 5)])
    torch.testing.assert_close(log_frequencies(unlabelled, [3, 2]).exp(), found)


def test_uniform_frequencies_change_nothing(config_file: Path) -> None:
    uniform = torch.cat([torch.eye(3).repeat(2, 1), torch.eye(2).repeat(3, 1)], 1)
    batch, labels = torch.randn(6, 5, 1, 1), uniform[torch.randperm(6)]
    plain, adjusted = (loss_of(config_file, strength, uniform)(batch, labels, labels) for strength in (0.0, 1.0))
    torch.testing.assert_close(adjusted, plain)


def test_a_network_that_says_the_frequencies_alone_is_taught_balance(config_file: Path) -> None:
    """Its best constant logits are the frequencies under the plain loss, and equal ones under the adjusted loss."""
    targets = torch.cat([torch.eye(3)[[0, 0, 0, 0, 1, 2]], torch.eye(2)[[0, 0, 0, 0, 0, 1]]], 1)
    frequencies = torch.tensor([4 / 6, 1 / 6, 1 / 6, 5 / 6, 1 / 6]).log()
    for strength, best in ((0.0, frequencies), (1.0, torch.zeros(5)), (0.5, frequencies / 2)):
        logits = best.clone().requires_grad_()
        objective = loss_of(config_file, strength, targets, "label_smoothing=0")
        objective(logits.expand(6, 5)[..., None, None], targets, targets).backward()
        torch.testing.assert_close(logits.grad, torch.zeros(5), atol=1e-6, rtol=0)


def test_frequencies_are_of_the_training_images(config_file: Path, voted: Path) -> None:
    config = load_config(config_file, [f"data=ferplus+fer2013:{voted}", "logit_adjustment=0.5"])
    with prepared(config) as group:
        task = Supervision(config, group)
    targets = task.data.samples.distributions()
    of_ferplus, of_fer2013 = targets[:, :8].sum(0), targets[:, 8:].sum(0)
    assert of_ferplus[7] != of_ferplus[0]
    expected = 0.5 * np.log(np.concatenate([of_ferplus / of_ferplus.sum(), of_fer2013 / of_fer2013.sum()]))
    np.testing.assert_allclose(task.objective._shift.numpy(), expected, rtol=1e-5)
    # Only the loss knows of it: the network that is kept and validated is the plain one.
    assert not any("shift" in name for name in task.objective.state_dict())
    with pytest.raises(FerError, match="logit_adjustment cannot be -1"):
        load_config(config_file, ["logit_adjustment=-1"])
