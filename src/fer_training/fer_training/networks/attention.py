"""Attention modules. All start near the identity, so that they leave a pretrained backbone what it knows.

They consist of operators that TensorRT and ONNX Runtime take at opset 13. When a network is quantised, their
convolutions are too small to gain from INT8 and are better left in floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from fer_training.networks.layers import padded

REDUCTION = 16
SPATIAL_KERNEL = 7
DIRECTION_REDUCTION = 32
HEADS = 2
LEAST_DIFFERENCE = 0.01  # of heads, squared


class ChannelAttention(nn.Module):
    """Weigh channels by the image's mean of all of them: squeeze-and-excite (Hu et al., 2018, arXiv:1709.01507).

    Factors lie in 0..2 and start at 1. Maps (N, C, H, W) to the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // REDUCTION)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        _start_at_zero(self.excite)

    def forward(self, x: Tensor) -> Tensor:
        mean = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * (2 * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean)))))


class SpatialAttention(nn.Module):
    """Weigh places by the mean and maximum over channels around them: CBAM (Woo et al., 2018, arXiv:1807.06521).

    The map lies in 0..1 and starts at a half. Factors are a half more, so that no place is ever lost. Maxima over
    channels are large: without the batch normalisation before it, the sigmoid soon saturates and all places weigh the
    same for ever.

    :return: (N, C, H, W) weighed, and the map (N, 1, H, W).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, SPATIAL_KERNEL, padding=SPATIAL_KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        attention = torch.sigmoid(self.norm(self.conv(summary)))
        return x * (attention + 0.5), attention


class HybridAttention(nn.Module):
    """Channel attention, then spatial attention. Returns (N, C, H, W) weighed, and the map (N, 1, H, W)."""

    channels: int

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()
        nn.init.constant_(self.spatial.norm.weight, 0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.spatial(self.channel(x))


class EfficientChannelAttention(nn.Module):
    """Weigh channels by the means of the channels beside them: ECA (Wang et al., 2020, arXiv:1910.03151).

    Factors lie in 0..2 and start at 1. Maps (N, C, H, W) to the same shape. The convolution is written as a sum, as
    neither TensorRT nor Torch-Pruning takes the transposition that it would need.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernel = int(abs((math.log2(channels) + 1) / 2))
        kernel += 1 - kernel % 2
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        nn.init.normal_(self.conv.weight, 0, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        channels, side = int(x.shape[1]), self.conv.kernel_size[0] // 2
        means = padded(nn.functional.adaptive_avg_pool2d(x, 1), (0, 0, 0, 0, side, side))
        terms = []
        for place, weight in enumerate(self.conv.weight.split(1, 2)):
            parts = means.split([size for size in (place, channels, 2 * side - place) if size], 1)
            terms.append(weight * parts[min(place, 1)])
        return x * (2 * torch.sigmoid(sum(terms[1:], terms[0])))


class CoordinateAttention(nn.Module):
    """Weigh each channel's rows and columns by their means: coordinate attention (Hou et al., 2021, arXiv:2103.02907).

    Factors of rows and of columns lie in 0..2 and start at 1. Unlike the original, the directions share no layers, as
    in :class:`DualDirectionPooling`. Maps (N, C, H, W) to the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rows, self.columns = (self._direction(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.rows(x.mean(3, keepdim=True)), self.columns(x.mean(2, keepdim=True))
        return x * (2 * torch.sigmoid(rows)) * (2 * torch.sigmoid(columns))

    @staticmethod
    def _direction(channels: int) -> nn.Sequential:
        hidden = max(8, channels // DIRECTION_REDUCTION)
        excite = nn.Conv2d(hidden, channels, 1)
        _start_at_zero(excite)
        return nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish(inplace=True), excite
        )


def _start_at_zero(layer: nn.Conv2d) -> None:
    nn.init.normal_(layer.weight, 0, 1e-3)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


# Attention inside every block, after its depthwise convolution, by name.
BLOCK_ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "coordinate": CoordinateAttention,
    "efficient_channel": EfficientChannelAttention,
    "squeeze_excite": ChannelAttention,
}


class Direction(nn.Sequential):
    """One direction's attention: (N, C, size, size) to 0..1, (N, C, size, 1) or (N, C, 1, size)."""

    def __init__(self, channels: int, kernel: tuple[int, int]) -> None:
        hidden = max(8, channels // DIRECTION_REDUCTION)
        super().__init__(
            nn.Conv2d(channels, channels, kernel, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.Hardswish(),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )


class DualDirectionPooling(nn.Module):
    """Pool the last feature map with attention along its rows and columns: (N, C, size, size) to (N, C, 1, 1).

    After DDAMFN (Zhang et al., 2023, Electronics 12(17):3595). Two heads attend; of each, a place's weight is the
    product of its row's and its column's; the larger of both heads' weights counts. Then a linear depthwise
    convolution as large as the map ("GDConv") pools. Unlike the original, the directions share no layers, which
    saves the export transpositions. :func:`head_separation_loss` drives the heads apart where that is configured.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.rows = nn.ModuleList(Direction(channels, (1, size)) for _ in range(HEADS))
        self.columns = nn.ModuleList(Direction(channels, (size, 1)) for _ in range(HEADS))
        self.pool = nn.Sequential(
            nn.Conv2d(channels, channels, size, groups=channels, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_heads(x)[0]

    def forward_with_heads(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The pooled map, and the weights that each head gives: (N, C, size, size) in 0..1."""
        first, second = (row(x) * column(x) for row, column in zip(self.rows, self.columns, strict=True))
        return self.pool(x * torch.maximum(first, second)), [first, second]


def head_separation_loss(heads: Sequence[Tensor]) -> Tensor:
    """Small where attention heads weigh places differently: the inverse of their mean squared difference.

    After DDAMFN. Its inverse has no bound where heads are alike; here it is at most 1 / ``LEAST_DIFFERENCE``.

    :param heads: the weights of two or more heads, (N, C, H, W) in 0..1.
    """
    differences = [(one.float() - other.float()).square().mean() for one, other in combinations(heads, 2)]
    return 1 / (torch.stack(differences).mean() + LEAST_DIFFERENCE)
