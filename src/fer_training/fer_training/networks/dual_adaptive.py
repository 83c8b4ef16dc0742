"""Hybrid attention with a second, local branch that looks at eyes, brows and mouth, for domain adaptation."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.networks.attention import HybridAttention
from fer_training.networks.hybrid_attention import HybridAttentionNetwork
from fer_training.networks.landmark_regions import region_maps

LOCAL_FEATURES = 128


class Branches(NamedTuple):
    """What both branches give: logits (N, labels) of both together, features (N, C) and (N, 128)."""

    logits: Tensor
    global_features: Tensor
    local_features: Tensor


class RegionPooling(nn.Module):
    """Pool a feature map inside each landmark region, by attention: (N, C, size, size) to (N, 3 C).

    The regions are where eyes, brows and mouth lie in an aligned crop. Inside, a 1 x 1 convolution weighs the places.
    """

    regions: Tensor

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        maps = region_maps(FER2013_TEMPLATE, 8 * size, 8 * size)
        self.register_buffer("regions", nn.functional.avg_pool2d(torch.from_numpy(maps)[None], 8), persistent=False)
        self.attention = nn.Conv2d(channels, len(maps), 1)
        nn.init.normal_(self.attention.weight, 0, 1e-3)
        assert self.attention.bias is not None
        nn.init.zeros_(self.attention.bias)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.attention(x)) * self.regions
        weights = weights / weights.sum((2, 3), keepdim=True)
        return torch.cat([(x * region).sum((2, 3)) for region in weights.split(1, 1)], 1)


class DualAdaptiveNetwork(HybridAttentionNetwork):
    """Hybrid attention (the global branch) and a local branch on the fifth stage's map. Their logits are summed.

    The local branch's logits start at zero, so the network starts as the hybrid attention whose weights it is given.

    :param region_size: rows and columns of the last attended stage's map; of the fifth's 6 for inputs of 48 pixels at a
        stem stride of 1, 8 for 64.
    :param options: those of :class:`HybridAttentionNetwork`.
    :raises FerError: as that, or no stage is attended.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, region_size: int = 6, **options: Any) -> None:
        super().__init__(num_classes, in_channels, **options)
        if not self.attention:
            raise FerError("dual_adaptive: attended_stages must name a stage, whose map the local branch looks at")
        channels = cast(HybridAttention, self.attention[max(self.attention, key=int)]).channels
        self.local_branch = nn.Sequential(
            RegionPooling(channels, region_size), nn.Linear(3 * channels, LOCAL_FEATURES), nn.ReLU(inplace=True)
        )
        self.local_classifier = nn.Linear(LOCAL_FEATURES, num_classes)
        nn.init.zeros_(self.local_classifier.weight)
        nn.init.zeros_(self.local_classifier.bias)

    def forward_with_attention(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See :class:`HybridAttentionNetwork`."""
        branches, maps = self._run(x)
        return branches.logits, maps

    def forward_branches(self, x: Tensor) -> Branches:
        """Logits and both branches' features, which are what is to look alike in both domains."""
        return self._run(x)[0]

    def _run(self, x: Tensor) -> tuple[Branches, list[Tensor]]:
        last, inner, maps = self.forward_features(x)
        global_features = torch.flatten(self.pool(last), 1)
        local_features = self.local_branch(inner)
        logits = self.classifier(global_features) + self.local_classifier(local_features)
        return Branches(logits, global_features, local_features), maps


def local_widths(widths: dict[str, list[int]], **options: Any) -> dict[str, list[int]]:
    """What a local branch needs beside the widths of a pruned hybrid attention.

    :param widths: see :data:`fer_training.networks.pruned.Widths`; ``options`` are the network's.
    """
    with torch.device("meta"):
        attention = DualAdaptiveNetwork(1, **options).attention
    last = f"attention.{max(attention, key=int)}.channel.excite"
    if last not in widths:
        return {}
    channels, regions = widths[last][1], 3
    return {"local_branch.0.attention": [channels, regions, 1], "local_branch.1": [regions * channels, LOCAL_FEATURES]}
