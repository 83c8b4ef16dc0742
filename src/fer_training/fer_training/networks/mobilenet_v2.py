"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381) with the state-dict keys of torchvision.

So weights saved by ``torchvision.models.mobilenet_v2`` load here where the shapes agree, and the other way round.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from fer_training.networks.layers import Backbone, DepthwiseConv2d, initialise, round_channels

# expansion, channels, blocks, stride of the first block: table 2 of the paper
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
LAST_CHANNELS = 1280


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution of each pixel by itself."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation, ReLU6."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expand by a 1 x 1 convolution, filter depthwise, project linearly; add the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [ConvBlock(pointwise(inputs, hidden))] if expansion != 1 else []
        layers += [
            ConvBlock(DepthwiseConv2d(hidden, kernel=3, stride=stride, padding=1)),
            pointwise(hidden, outputs),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_residual = stride == 1 and inputs == outputs

    @property
    def depthwise(self) -> nn.Sequential:
        """The depthwise convolution, its batch normalisation and activation."""
        return cast(nn.Sequential, self.conv[-3])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_residual else self.conv(x)


class MobileNetV2(Backbone):
    """MobileNetV2.

    :param num_classes: number of logits.
    :param in_channels: 1 for grey, 3 for RGB.
    :param width: multiplier of all channel counts.
    :param stem_stride: 2 as in the paper for large inputs, 1 for inputs of 48 to 64 pixels.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: float = 1.0,
        stem_stride: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = round_channels(STEM_CHANNELS * width)
        features: list[nn.Module] = [ConvBlock(nn.Conv2d(in_channels, channels, 3, stem_stride, padding=1, bias=False))]
        stages = []
        for expansion, stage_channels, blocks, stride in STAGES:
            outputs = round_channels(stage_channels * width)
            for block in range(blocks):
                features.append(InvertedResidual(channels, outputs, stride if block == 0 else 1, expansion))
                channels = outputs
            stages.append((len(features) - 1, channels))
        self.stages = tuple(stages)
        self.out_channels = round_channels(LAST_CHANNELS * max(1.0, width))
        features.append(ConvBlock(pointwise(channels, self.out_channels)))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.out_channels, num_classes))
        self.apply(initialise)
