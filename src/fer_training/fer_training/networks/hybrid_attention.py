"""A backbone with channel and spatial attention between its stages, whose attention maps can be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_training.networks.attention import BLOCK_ATTENTION, DualDirectionPooling, HybridAttention
from fer_training.networks.efficientnet_lite import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2, MBConv
from fer_training.networks.layers import Backbone, initialise
from fer_training.networks.mobilenet_v2 import InvertedResidual, MobileNetV2

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "mobilenet_v2": MobileNetV2,
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "efficientnet_lite2": EfficientNetLite2,
}
# Counted from 1. Their maps are a quarter and an eighth of the input with a stem stride of 1: 12 and 6 of 48 pixels.
ATTENDED_STAGES = (3, 5)


class HybridAttentionNetwork(nn.Module):
    """MobileNetV2 or EfficientNet-Lite with attention between stages, inside blocks, and where maps are pooled.

    Names in the state dict are the backbone's, and ``attention.*`` and ``pool.*``.

    :param num_classes: number of logits.
    :param in_channels: 1 for grey, 3 for RGB.
    :param backbone: a key of ``BACKBONES``.
    :param dual_direction_size: pool the last feature map, which must have this many rows and columns (3 for inputs of
        48 pixels at a stem stride of 1, 4 for 64), by :class:`DualDirectionPooling`; 0: by its mean.
    :param attended_stages: counted from 1: after which :class:`HybridAttention` follows, whose maps can be had.
    :param block_attention: a key of ``BLOCK_ATTENTION``: attention inside every block; empty: none.
    :param options: the backbone's, such as ``stem_stride``.
    :raises FerError: unknown backbone, stage or attention.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        backbone: str = "mobilenet_v2",
        dual_direction_size: int = 0,
        attended_stages: Sequence[int] = ATTENDED_STAGES,
        block_attention: str = "",
        **options: Any,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise FerError(f"backbone '{backbone}' is unknown, known are {', '.join(sorted(BACKBONES))}")
        base = BACKBONES[backbone](num_classes, in_channels, **options)
        self.features = base.features
        if block_attention:
            _add_block_attention(base, block_attention)
        self.attended_stages = tuple(sorted(set(attended_stages)))
        if not set(self.attended_stages) <= set(range(1, len(base.stages) + 1)):
            raise FerError(f"attended_stages {self.attended_stages}: must be of 1 to {len(base.stages)}")
        attended = [base.stages[stage - 1] for stage in self.attended_stages]
        self.attention = nn.ModuleDict({str(index): HybridAttention(channels) for index, channels in attended})
        self.pool: nn.Module = nn.AdaptiveAvgPool2d(1)
        if dual_direction_size:
            self.pool = DualDirectionPooling(base.out_channels, dual_direction_size).apply(initialise)
        self.classifier = base.classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_attention(x)[0]

    def forward_with_attention(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (N, labels), and of each attended stage the map of places: (N, 1, h, w) in 0..1, finest first."""
        last, _, maps = self.forward_features(x)
        return self.classifier(torch.flatten(self.pool(last), 1)), maps

    def forward_features(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The last feature map, that of the last attended stage, and the maps of places."""
        maps = []
        attended = x
        for index, block in enumerate(self.features):
            x = block(x)
            if str(index) in self.attention:
                attended, attention = self.attention[str(index)](x)
                maps.append(attention)
                x = attended
        return x, attended, maps


def _add_block_attention(backbone: Backbone, name: str) -> None:
    """Attention after every block's depthwise convolution, in place.

    :raises FerError: unknown attention.
    """
    if name not in BLOCK_ATTENTION:
        raise FerError(f"block_attention '{name}' is unknown, known are {', '.join(BLOCK_ATTENTION)}")
    for block in backbone.features:
        if isinstance(block, InvertedResidual | MBConv):
            channels = next(layer.num_features for layer in block.depthwise if isinstance(layer, nn.BatchNorm2d))
            block.depthwise.add_module("attention", BLOCK_ATTENTION[name](channels))


class AttentionOutputs(nn.Module):
    """A view of a network that gives its maps, too, for export: (N, C, H, W) to logits, map, map."""

    def __init__(self, network: HybridAttentionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        logits, maps = self.network.forward_with_attention(x)
        return (logits, *maps)
