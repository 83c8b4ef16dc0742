"""Xception (Chollet, 2017, arXiv:1610.02357) and mini-Xception (Arriaga et al., 2017, arXiv:1710.07557), to compare.

Both for training from scratch: pooling is padded alike on all sides, where the Keras originals pad by the input's size.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from fer_training.networks.layers import initialise, start_at_identity

MIDDLE_BLOCKS = 8


class SeparableConv(nn.Sequential):
    """Depthwise 3 x 3 convolution, 1 x 1 convolution, batch normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )


def _conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """Convolution without padding, batch normalisation, ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, stride, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class DownBlock(nn.Module):
    """Two separable convolutions and pooling to half the size, added to a strided 1 x 1 convolution of the input."""

    def __init__(self, inputs: int, hidden: int, outputs: int, first_activation: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReLU()] if first_activation else []
        layers += [
            SeparableConv(inputs, hidden),
            nn.ReLU(inplace=True),
            SeparableConv(hidden, outputs),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


class MiddleBlock(nn.Module):
    """Three separable convolutions, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.ReLU(), SeparableConv(channels, channels)]
        self.layers = nn.Sequential(*layers)
        start_at_identity(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Xception(nn.Module):
    """Xception, the network that Light-FER (Pascual et al., 2022, Sensors 22(23):9524) prunes and halves in precision.

    :param num_classes: number of logits.
    :param in_channels: 1 for grey, 3 for RGB.
    :param stem_stride: 2 as in the paper for large inputs, 1 for inputs of 48 to 64 pixels.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, stem_stride: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_conv(in_channels, 32, stem_stride),
            *_conv(32, 64),
            DownBlock(64, 128, 128, first_activation=False),
            DownBlock(128, 256, 256),
            DownBlock(256, 728, 728),
            *(MiddleBlock(728) for _ in range(MIDDLE_BLOCKS)),
            DownBlock(728, 728, 1024),
            SeparableConv(1024, 1536),
            nn.ReLU(inplace=True),
            SeparableConv(1536, 2048),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(2048, num_classes))
        self.apply(partial(initialise, by_group=True))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class MiniXception(nn.Module):
    """mini-Xception: four small blocks, and a convolution to one map for each label, whose mean is the logit.

    :param num_classes: number of logits.
    :param in_channels: 1 for grey as in the paper, 3 for RGB.
    """

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        widths = (8, 16, 32, 64, 128)
        self.features = nn.Sequential(
            *_conv(in_channels, widths[0]),
            *_conv(widths[0], widths[0]),
            *(DownBlock(inputs, outputs, outputs, first_activation=False) for inputs, outputs in pairwise(widths)),
        )
        self.classifier = nn.Conv2d(widths[-1], num_classes, 3, padding=1)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = self.classifier(self.features(x))
        return torch.flatten(nn.functional.adaptive_avg_pool2d(x, (1, 1)), 1)
