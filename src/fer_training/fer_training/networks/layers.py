"""What the networks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """A network whose ``features`` run in stages: features, mean over the image, classifier."""

    features: nn.Sequential
    classifier: nn.Sequential
    stages: tuple[tuple[int, int], ...]  # of each stage: index in ``features`` of its last block, channels
    out_channels: int  # of the last feature map

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class DepthwiseConv2d(nn.Conv2d):
    """A convolution of each channel by itself: (N, C, H, W) to the same but for the stride.

    On a CPU, oneDNN's gradients in bfloat16 take several times as long as in float32 where the kernel is larger than 3
    or strided; such layers then stay in float32.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)
        self.is_slow = kernel > 3 or stride > 1

    def forward(self, x: Tensor) -> Tensor:
        if self.is_slow and self.training and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)


class ExportedPad(torch.autograd.Function):
    """Zero padding whose sizes are constants in the ONNX file; the exporter's own computes them by ten operators."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sequence[int]) -> Tensor:
        return nn.functional.pad(x, sizes)

    @staticmethod
    def symbolic(g: Any, x: Any, sizes: Sequence[int]) -> Any:
        before, after = (([*sizes[start::2], 0, 0, 0, 0][:4])[::-1] for start in (0, 1))
        return g.op("Pad", x, g.op("Constant", value_t=torch.tensor([*before, *after])), mode_s="constant")


def padded(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Zeros around (N, C, H, W); sizes as in ``torch.nn.functional.pad``: left, right, top, bottom, and so on."""
    return ExportedPad.apply(x, sizes) if torch.onnx.is_in_onnx_export() else nn.functional.pad(x, sizes)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of ``divisor`` that takes away at most a tenth of the channels."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def start_at_identity(branch: nn.Module) -> None:
    """Let a residual branch's last batch normalisation start at 0 (Goyal et al., 2017, arXiv:1706.02677)."""
    norms = [module for module in branch.modules() if isinstance(module, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)


def initialise(module: nn.Module, by_group: bool = False) -> None:
    """Random weights for one layer, for ``Module.apply``.

    :param by_group: count the outputs that one input feeds. torch counts those of all groups, so that depthwise weights
        start small.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if by_group:
            module.weight.data.mul_(math.sqrt(module.groups))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)
