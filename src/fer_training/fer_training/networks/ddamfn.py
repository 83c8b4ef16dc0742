"""DDAMFN (Zhang et al., 2023, Electronics 12(17):3595), our reimplementation from the paper's text, to compare.

The text says: the backbone ("mixed feature network") is MobileFaceNets (Chen et al., 2018, arXiv:1804.07573) with
depthwise kernels of mixed sizes (MixConv; Tan and Le, 2019, arXiv:1907.09595) and coordinate attention. Its last map is
pooled by heads of dual-direction attention, of which the larger weight counts; a loss keeps the heads apart. Images are
of 112 x 112 pixels in colour, and the backbone is trained on faces' identities (MS-Celeb-1M) first.

Ours, where we had no more of the text or chose a size that two CPU cores can train: channels and blocks are those of
MobileFaceNets' own table, where the paper has more (4.1 M parameters, 551 M operations); kernels are mixed in the
strided blocks; ReLU in place of PReLU, which INT8 has no fused form of; 48 x 48 pixels, of which the heads see 6 x 6
places (7 x 7 in the paper); no training before. The loss has the weight 0.1, and a bound (see
:func:`fer_training.networks.attention.head_separation_loss`).
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from fer_training.networks.attention import CoordinateAttention, DualDirectionPooling
from fer_training.networks.layers import DepthwiseConv2d, initialise, start_at_identity

# expansion, channels, blocks, stride of the first block: MobileFaceNets' table, but for the last stride, which is 2
STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 1), (2, 128, 2, 1))
STEM_CHANNELS, LAST_CHANNELS = 64, 512
MIXED, PLAIN = (3, 5, 7), (3,)  # kernels


class MixedConv(nn.Module):
    """Depthwise convolutions with one kernel for each part of the channels, batch normalisation, ReLU."""

    def __init__(self, channels: int, stride: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        part = channels // len(kernels) // 8 * 8
        self.sizes = [channels - part * (len(kernels) - 1), *[part] * (len(kernels) - 1)]
        self.parts = nn.ModuleList(
            nn.Sequential(DepthwiseConv2d(size, kernel, stride, kernel // 2), nn.BatchNorm2d(size), nn.ReLU())
            for size, kernel in zip(self.sizes, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        if len(self.parts) == 1:
            return cast(Tensor, self.parts[0](x))
        return torch.cat([part(channels) for part, channels in zip(self.parts, x.split(self.sizes, 1), strict=True)], 1)


class Bottleneck(nn.Module):
    """Expand, filter depthwise, weigh rows and columns, project linearly; add the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, is_mixed: bool) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            *_pointwise(inputs, hidden),
            MixedConv(hidden, stride, MIXED if is_mixed else PLAIN),
            CoordinateAttention(hidden),
            *_pointwise(hidden, outputs)[:-1],
        )
        self.use_residual = stride == 1 and inputs == outputs
        if self.use_residual:
            start_at_identity(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.use_residual else self.layers(x)


class DDAMFN(nn.Module):
    """MobileFaceNets with mixed kernels and coordinate attention, pooled by two heads of dual-direction attention.

    :param num_classes: number of logits.
    :param in_channels: 1 for grey, 3 for RGB.
    :param size: rows and columns of the last feature map, an eighth of the input's: 6 for 48 pixels, 8 for 64.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, size: int = 6, dropout: float = 0.2) -> None:
        super().__init__()
        channels = STEM_CHANNELS
        features: list[nn.Module] = [
            nn.Sequential(
                nn.Conv2d(in_channels, channels, 3, 2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
            ),
            MixedConv(channels, 1, PLAIN),
        ]
        for number, (expansion, outputs, blocks, stride) in enumerate(STAGES):
            for block in range(blocks):
                is_first = block == 0
                is_mixed = is_first and (stride == 2 or number == len(STAGES) - 2)
                features.append(Bottleneck(channels, outputs, stride if is_first else 1, expansion, is_mixed))
                channels = outputs
        features.append(nn.Sequential(*_pointwise(channels, LAST_CHANNELS)))
        self.features = nn.Sequential(*features)
        self.pool = DualDirectionPooling(LAST_CHANNELS, size)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(LAST_CHANNELS, num_classes))
        self.apply(partial(initialise, by_group=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_heads(x)[0]

    def forward_with_heads(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (N, labels), and the weights that each head gives: (N, C, size, size) in 0..1."""
        pooled, heads = self.pool.forward_with_heads(self.features(x))
        return self.classifier(torch.flatten(pooled, 1)), heads


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
