"""Batch normalisation's statistics, estimated anew."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

BATCH_SIZE, BATCHES = 128, 30


@torch.no_grad()
def estimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Batch normalisation's running statistics become the means over these batches; the network is then in evaluation.

    Those that training leaves behind are of changed images and of weights that moved on ("precise BatchNorm", Wu and
    Johnson, 2021, arXiv:2105.07576). Of another domain's images they adapt the network to it (Li et al., 2016,
    arXiv:1603.04779).

    :param batches: normalised images, float32 (N, C, H, W) each.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()  # dropout is off; only the statistics are in training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    for batch in batches:
        network(batch.contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def drawn(count: int, device: torch.device) -> tuple[Tensor, ...]:
    """Batches for it, drawn from so many images: their indices, int64, at most (``BATCH_SIZE``,) each."""
    return torch.randperm(count, device=device)[: BATCHES * BATCH_SIZE].split(BATCH_SIZE)
