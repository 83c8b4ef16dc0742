"""Training by several processes, started by ``torchrun``: each works on its shard of every global batch.

Random changes of images are drawn for the global batch in every process, and batch normalisation uses the global
batch's statistics, so the number of processes does not change the result (but for dropout's draws and rounding).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fer_perception.errors import FerError


@dataclass(frozen=True)
class Processes:
    """Who takes part: ``rank`` of ``count``; this one computes on ``device``."""

    rank: int
    count: int
    device: str

    @property
    def is_first(self) -> bool:
        """The one that writes files."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """The samples of a global batch that are this process's."""
        return batch[self.rank :: self.count]

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Make gradients the mean over the processes'."""
        if self.count == 1:
            return objective
        for module in objective.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = GlobalBatchNorm2d
        # Statistics are the same everywhere; adversarial and pseudo-label terms may not touch all weights.
        return DistributedDataParallel(objective, broadcast_buffers=False)


@contextmanager
def processes(device: str, batch_size: int) -> Iterator[Processes]:
    """The group that torchrun has started, or this process alone.

    :param device: ``cpu``, ``cuda`` (with torchrun: of the process's local rank) or ``cuda:N``.
    :raises FerError: the batch cannot be shared out evenly.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, device)
        return
    if batch_size % count:
        raise FerError(f"batch_size {batch_size} cannot be shared out to {count} processes: take a multiple of it")
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(dist.get_rank(), count, device)
    finally:
        dist.destroy_process_group()


def global_mean(values: Tensor) -> Tensor:
    """Mean over the processes, without gradient."""
    if not dist.is_initialized():
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes' samples; ``nn.SyncBatchNorm`` needs a GPU.

    Every process must have as many samples.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        if not self.training:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        mean = _mean_over_processes(wide.mean((0, 2, 3)))
        centred = wide - mean[:, None, None]
        variance = _mean_over_processes(centred.square().mean((0, 2, 3)))
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            count = x.numel() / x.shape[1] * dist.get_world_size()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over the processes; so is its gradient's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def _mean_over_processes(x: Tensor) -> Tensor:
    return cast(Tensor, _Sum.apply(x)) / dist.get_world_size()
