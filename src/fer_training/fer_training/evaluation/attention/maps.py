"""Grad-CAM of our networks, and the maps that know nothing of the network and are compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from fer_perception.types import Float32Array
from fer_training.networks.hybrid_attention import ATTENDED_STAGES, HybridAttentionNetwork
from fer_training.networks.layers import Backbone

GRAD_CAM = "grad_cam"
RANDOM, CENTRE, LANDMARKS = "random", "centre", "landmarks"
CENTRE_DEVIATION = 0.25  # of the centre's Gaussian, in widths and heights of the crop


def grad_cam_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers whose responses Grad-CAM weighs, by the map's name, finest first.

    ``grad_cam_last`` is that of the last feature map, as usual. At 48 pixels it has 3 x 3 places, so networks with
    stages have the maps ``grad_cam_stageK`` as well, at the sizes at which hybrid attention has its own.
    """
    features: Any = network.features
    blocks: dict[int, int] = {}  # by stage
    if isinstance(network, HybridAttentionNetwork):
        blocks = dict(zip(network.attended_stages, map(int, network.attention), strict=True))
    elif isinstance(network, Backbone) and hasattr(network, "stages"):
        blocks = {stage: network.stages[stage - 1][0] for stage in ATTENDED_STAGES}
    stages = {f"{GRAD_CAM}_stage{stage}": features[block] for stage, block in blocks.items()}
    return {**stages, f"{GRAD_CAM}_last": features[-1]}


def grad_cam(network: nn.Module, layers: Mapping[str, nn.Module], batch: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391) of one class of each image, by Captum.

    For a network that ends in a mean over places and one linear layer, that of the last feature map is the positive
    part of the class activation map, divided by the number of places.

    :param layers: from :func:`grad_cam_layers`, of the same network.
    :param batch: prepared and normalised images, float32, (N, C, H, W).
    :param classes: int64, (N,), columns of the logits.
    :return: by name the maps, (N, 1, h, w), at least 0, at the sizes of the layers' responses.
    """
    return {
        name: LayerGradCam(network, layer).attribute(batch, target=classes, relu_attributions=True).detach()
        for name, layer in layers.items()
    }


def random_maps(count: int, rows: int, columns: int) -> Tensor:
    """Maps of independent uniform values, always the same: (count, 1, rows, columns).

    They are compared with maps of the same size: what changes scattered pixels disturbs a network more than what
    changes as many in one place.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, rows, columns, generator=generator)


def centre_map(height: int, width: int) -> Float32Array:
    """A Gaussian around the crop's middle, where an aligned face has its nose: float32, (height, width), 0..1."""
    across, down = ((np.arange(size) - (size - 1) / 2) / (CENTRE_DEVIATION * size) for size in (width, height))
    return np.exp(-0.5 * (across[None] ** 2 + down[:, None] ** 2)).astype(np.float32)
