"""EfficientNet-Lite0 to 2: EfficientNet (Tan and Le, 2019, arXiv:1905.11946) with ReLU6, without squeeze-and-excite.

The layers are those of the TensorFlow original, so that its ImageNet weights load
(:mod:`fer_training.networks.pretrained`): batch normalisation's epsilon is 1e-3, and strided convolutions are padded
by one more row and column at the end than at the start, as TensorFlow's "SAME" does at even sizes. So sides of the
input should be multiples of 16 times the stem's stride; at others, strided convolutions miss the last row or column.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from typing import cast

from torch import Tensor, nn

from fer_training.networks.layers import Backbone, DepthwiseConv2d, initialise, padded, round_channels

# expansion, channels, blocks, stride of the first block, kernel
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# width, depth
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))
STEM_CHANNELS = 32
LAST_CHANNELS = 1280


class SamePad(nn.Module):
    """TensorFlow's padding for a stride of 2 at even sizes: (N, C, H, W) to (N, C, H + kernel - 2, W + kernel - 2)."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.before, self.after = (kernel - 2) // 2, (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return padded(x, (self.before, self.after, self.before, self.after))


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation and, if wanted, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        activation: bool = True,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if stride == 2:
            layers["pad"] = SamePad(kernel)
        padding = (kernel - 1) // 2 if stride == 1 else 0
        if depthwise:
            layers["conv"] = DepthwiseConv2d(outputs, kernel, stride, padding)
        else:
            layers["conv"] = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        layers["norm"] = nn.BatchNorm2d(outputs, eps=1e-3)
        if activation:
            layers["act"] = nn.ReLU6(inplace=True)
        super().__init__(layers)


class MBConv(nn.Module):
    """Expand by a 1 x 1 convolution, filter depthwise, project linearly; add the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion != 1:
            layers["expand"] = ConvBlock(inputs, hidden)
        layers["depthwise"] = ConvBlock(hidden, hidden, kernel, stride, depthwise=True)
        layers["project"] = ConvBlock(hidden, outputs, activation=False)
        self.layers = nn.Sequential(layers)
        self.use_residual = stride == 1 and inputs == outputs

    @property
    def depthwise(self) -> nn.Sequential:
        """The depthwise convolution, its batch normalisation and activation."""
        return cast(nn.Sequential, self.layers.depthwise)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.use_residual else self.layers(x)


class EfficientNetLite(Backbone):
    """EfficientNet-Lite.

    :param num_classes: number of logits.
    :param in_channels: 1 for grey, 3 for RGB.
    :param scale: 0 to 2, which of the family.
    :param stem_stride: 2 as in the original for large inputs, 1 for inputs of 48 to 64 pixels.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, scale: int = 0, stem_stride: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__()
        width, depth = SCALES[scale]
        channels = STEM_CHANNELS
        features: list[nn.Module] = [ConvBlock(in_channels, channels, kernel=3, stride=stem_stride)]
        stages = []
        for number, (expansion, base, blocks, stride, kernel) in enumerate(STAGES):
            outputs = round_channels(base * width)
            is_repeated = 0 < number < len(STAGES) - 1  # the first and the last stage are the same in all of the family
            for block in range(math.ceil(blocks * depth) if is_repeated else blocks):
                features.append(MBConv(channels, outputs, stride if block == 0 else 1, expansion, kernel))
                channels = outputs
            stages.append((len(features) - 1, channels))
        self.stages = tuple(stages)
        self.out_channels = LAST_CHANNELS
        features.append(ConvBlock(channels, LAST_CHANNELS))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(LAST_CHANNELS, num_classes))
        self.apply(initialise)


EfficientNetLite0, EfficientNetLite1, EfficientNetLite2 = (
    partial(EfficientNetLite, scale=scale) for scale in range(len(SCALES))
)
