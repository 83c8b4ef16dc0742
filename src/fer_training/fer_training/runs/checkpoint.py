"""Checkpoints: tensors as safetensors, plain values as JSON in the same file's header. No pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.files import written_atomically


def save_checkpoint(file: Path, groups: dict[str, dict[str, Tensor]], values: dict[str, Any]) -> None:
    """Write named groups of tensors and JSON-able values, atomically: a killed process leaves the old file whole."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    with written_atomically(file) as temporary:
        save_file(tensors, temporary, metadata={"values": json.dumps(values)})


def load_checkpoint(file: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote.

    :raises FerError: the file is missing or damaged.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(file, framework="pt") as stream:
            values = json.loads(stream.metadata()["values"])
            for key in stream.keys():  # noqa: SIM118 - safe_open is no mapping
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = stream.get_tensor(key)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FerError(f"{file}: not a readable checkpoint ({error}). Delete it, or train again") from error
    return groups, values


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The momentum buffers of SGD, by the number of their parameter."""
    state = optimizer.state_dict()["state"]
    return {str(number): entry["momentum_buffer"] for number, entry in state.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave."""
    state = optimizer.state_dict()
    state["state"] = {int(number): {"momentum_buffer": tensor} for number, tensor in tensors.items()}
    optimizer.load_state_dict(state)


def load_weights(network: nn.Module, weights: dict[str, Tensor], file: Path) -> None:
    """Load weights strictly.

    :raises FerError: they do not fit the network.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise FerError(f"{file}: does not fit the configured network ({error})") from error
