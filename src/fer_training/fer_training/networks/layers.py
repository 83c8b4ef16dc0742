"""What the networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """A network whose ``features`` run in stages: features, mean over the picture, classifier."""

    features: nn.Sequential
    classifier: nn.Sequential
    stages: tuple[tuple[int, int], ...]  # of each stage: index in ``features`` of its last block, channels
    out_channels: int  # of the last feature map

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


def initialise(module: nn.Module) -> None:
    """Random weights for one layer, for ``Module.apply``."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)
