"""EGT (Frontiers in Psychology 15:1459446, 2024), our reimplementation from the paper's text, to compare.

The text says: "Enhanced GhostNet with Transformer Encoder": GhostNet (Han et al., 2020, arXiv:1911.11907) extracts
features, a transformer encoder relates the places of its last map, and a dual attention mechanism strengthens what
matters. Images are of RAF-DB and AffectNet; it has no figure on FER2013.

Ours, where the text leaves it open or we had no more of it: GhostNet's table of blocks is its paper's, with channels
rounded up to multiples of 16, so that both halves of a ghost module suit INT8, and our channel attention in place of
its squeeze-and-excite; the encoder has two layers of four heads, normalises first, and learns the places' positions;
dual attention is channel and spatial attention (CBAM; Woo et al., 2018, arXiv:1807.06521) behind the encoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fer_training.networks.attention import ChannelAttention, HybridAttention
from fer_training.networks.layers import DepthwiseConv2d, initialise

# kernel, expanded channels, channels, attention, stride: table 1 of GhostNet's paper, rounded
BLOCKS = (
    (3, 16, 16, False, 1),
    (3, 48, 32, False, 2),
    (3, 80, 32, False, 1),
    (5, 80, 48, True, 2),
    (5, 128, 48, True, 1),
    (3, 240, 80, False, 2),
    (3, 208, 80, False, 1),
    (3, 192, 80, False, 1),
    (3, 192, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)
STEM_CHANNELS, LAST_CHANNELS = 16, 960
LAYERS, HEADS, EXPANSION = 2, 4, 2  # of the encoder


class GhostModule(nn.Module):
    """Half of the channels by a 1 x 1 convolution, and of each of them another by a cheap depthwise one."""

    def __init__(self, inputs: int, outputs: int, is_linear: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.primary = _normalised(nn.Conv2d(inputs, half, 1, bias=False), is_linear)
        self.cheap = _normalised(DepthwiseConv2d(half, 3, padding=1), is_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)


class GhostBottleneck(nn.Module):
    """Expand by a ghost module, shrink the map and weigh channels where wanted, project by another; add the input."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int, has_attention: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [GhostModule(inputs, hidden)]
        if stride > 1:
            layers.append(_normalised(DepthwiseConv2d(hidden, kernel, stride, kernel // 2), is_linear=True))
        if has_attention:
            layers.append(ChannelAttention(hidden))
        self.layers = nn.Sequential(*layers, GhostModule(hidden, outputs, is_linear=True))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _normalised(DepthwiseConv2d(inputs, kernel, stride, kernel // 2), is_linear=True),
                _normalised(nn.Conv2d(inputs, outputs, 1, bias=False), is_linear=True),
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.layers(x)


class SelfAttention(nn.Module):
    """Multi-head self-attention: (N, places, width) to the same.

    As ``torch.nn.MultiheadAttention``, which the ONNX exporter turns into operators that compute sizes; here all sizes
    but the batch's are constants in the file, as TensorRT wants them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        places, width = int(x.shape[1]), int(x.shape[2])
        size = width // self.heads
        rows = self.inputs(x).reshape(-1, places, 3 * self.heads, size).transpose(1, 2)
        queries, keys, values = rows.split(self.heads, 1)
        weights = torch.softmax(queries @ keys.transpose(2, 3) / math.sqrt(size), -1)
        return self.output((weights @ values).transpose(1, 2).reshape(-1, places, width))


class EncoderLayer(nn.Module):
    """Self-attention and a small network on each place, each normalised first and added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), SelfAttention(width, heads), nn.Dropout(dropout))
        self.transform = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, EXPANSION * width),
            nn.ReLU(),
            nn.Linear(EXPANSION * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.transform(x)


class Encoder(nn.Module):
    """A transformer encoder over the places of a map: (N, C, size, size) to the same."""

    def __init__(self, channels: int, size: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.positions = nn.Parameter(torch.randn(1, size * size, channels) * 0.02)
        self.layers = nn.Sequential(*(EncoderLayer(channels, HEADS, dropout) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        places = x.reshape(-1, self.channels, self.size * self.size).transpose(1, 2) + self.positions
        places = self.norm(self.layers(places)).transpose(1, 2)
        return places.reshape(-1, self.channels, self.size, self.size)


class EGT(nn.Module):
    """GhostNet, a transformer encoder over its last map, channel and spatial attention, mean, classifier.

    :param num_classes: number of logits.
    :param in_channels: 1 for grey, 3 for RGB.
    :param size: rows and columns of the last map: 3 for inputs of 48 pixels at a stem stride of 1, 4 for 64; 7 for 224
        at 2.
    :param stem_stride: 2 as in the paper for large inputs, 1 for inputs of 48 to 64 pixels.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, size: int = 3, stem_stride: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__()
        channels = STEM_CHANNELS
        features: list[nn.Module] = [
            _normalised(nn.Conv2d(in_channels, channels, 3, stem_stride, padding=1, bias=False))
        ]
        for kernel, hidden, outputs, has_attention, stride in BLOCKS:
            features.append(GhostBottleneck(channels, hidden, outputs, kernel, stride, has_attention))
            channels = outputs
        self.features = nn.Sequential(*features)
        self.last = _normalised(nn.Conv2d(channels, LAST_CHANNELS, 1, bias=False))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(LAST_CHANNELS, num_classes))
        self.apply(initialise)
        # These have starts of their own.
        self.encoder = Encoder(channels, size, dropout)
        self.attention = HybridAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.attention(self.encoder(self.features(x)))
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(self.last(x), (1, 1)), 1))


def _normalised(conv: nn.Conv2d, is_linear: bool = False) -> nn.Sequential:
    """A convolution, its batch normalisation and, unless it is linear, ReLU."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), *([] if is_linear else [nn.ReLU()]))
