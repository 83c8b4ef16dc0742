"""Whether a map depends on what was learnt: a check by randomised weights (Adebayo et al., 2018, arXiv:1810.03292).

A map that stays the same when the weights become random shows the image's edges, or the network's architecture, and
not what the network learnt.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from fer_training.evaluation.attention.maps import grad_cam, grad_cam_layers

DRAWS = 5
# Shares of the feature layers, counted from the last one, that are randomised in addition to all behind them.
DEPTHS = (0.0, 1 / 3, 2 / 3, 1.0)
BATCH_SIZE = 64


def randomised_correlations(network: nn.Module, batch: Tensor, classes: Tensor) -> dict[str, npt.NDArray[np.float64]]:
    """How alike Grad-CAM stays when the weights are shuffled, layer by layer from the output to the input.

    :param batch: prepared and normalised images, float32, (N, C, H, W).
    :param classes: int64, (N,), the same for the trained and the randomised networks.
    :return: by the map's name the mean over images of the rank correlation with the trained network's map, float64,
        (DRAWS, DEPTHS), of as many independent randomisations; NaN where no image's maps have different values.
    """
    before = _maps(network, batch, classes)
    found = {name: np.full((DRAWS, len(DEPTHS)), np.nan) for name in before}
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(draw)
        changed = deepcopy(network)
        layers = layers_from_output(changed)
        done = 0
        for depth, fraction in enumerate(DEPTHS):
            until = 1 + round(fraction * (len(layers) - 1))
            for modules in layers[done:until]:
                for module in modules:
                    shuffle_weights(module, generator)
            done = until
            for name, maps in _maps(changed, batch, classes).items():
                correlations = rank_correlations(before[name], maps)
                if np.isfinite(correlations).any():
                    found[name][draw, depth] = np.nanmean(correlations)
    return found


def layers_from_output(network: nn.Module) -> list[list[nn.Module]]:
    """The network's modules from output to input: all behind the features, then the feature layers backwards.

    An attention module goes with the layer that it follows.
    """
    features: Any = network.features
    attention: Any = getattr(network, "attention", {})
    head = [module for name, module in network.named_children() if name not in ("features", "attention")]
    return [
        head,
        *(
            [features[index], *([attention[str(index)]] if str(index) in attention else [])]
            for index in reversed(range(len(features)))
        ),
    ]


def shuffle_weights(layer: nn.Module, generator: torch.Generator) -> None:
    """Permute each tensor's values in place, which keeps their distribution and so the responses' scale.

    The four vectors of a batch normalisation are permuted alike: a variance belongs to its mean.
    """
    for module in layer.modules():
        statistics = module.buffers(recurse=False) if isinstance(module, nn.BatchNorm2d) else ()
        orders: dict[int, Tensor] = {}
        for tensor in (*module.parameters(recurse=False), *statistics):
            size = tensor.numel()
            if size not in orders:
                orders[size] = torch.randperm(size, generator=generator)
            tensor.data.copy_(tensor.data.reshape(-1)[orders[size]].view_as(tensor))


def rank_correlations(first: Tensor, second: Tensor) -> npt.NDArray[np.float64]:
    """Spearman's rank correlation of each pair of maps, both (N, 1, h, w): (N,), NaN where a map is constant."""
    centred = []
    for maps in (first, second):
        places = rankdata(maps.flatten(1).numpy(), axis=1)
        centred.append(places - places.mean(1, keepdims=True))
    a, b = centred
    norms = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / norms


def _maps(network: nn.Module, batch: Tensor, classes: Tensor) -> dict[str, Tensor]:
    layers = grad_cam_layers(network)
    parts = [
        grad_cam(network, layers, part, wanted)
        for part, wanted in zip(batch.split(BATCH_SIZE), classes.split(BATCH_SIZE), strict=True)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in layers}
