"""Which channels depend on each other, what removing them saves, and which are removed.

Torch-Pruning's dependency graph (DepGraph, Fang et al., 2023, arXiv:2301.12900) says which channels of which layers
must go together: a group. How many of each group go is chosen here: its own pruners take a fraction of the
channels, while here the multiply-accumulate operations (MACs) are to meet a target, in numbers of channels that suit
INT8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.preprocessing.normalization import InputSpec
from fer_training.networks.attention import SpatialAttention
from fer_training.networks.dual_adaptive import RegionPooling

LEAST = 1 / 8  # of a group's channels stay

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together, one by one.

    ``members``: Torch-Pruning's, with all channels. ``uses``: how many inputs and outputs of a layer go with a channel.
    """

    members: Any
    channels: int
    uses: dict[Layer, tuple[int, int]]

    def without(self, channels: list[int]) -> None:
        """Remove these channels from all layers, in place."""
        if channels:
            self.members.prune(channels)


def find_groups(network: nn.Module, spec: InputSpec) -> list[Group]:
    """All groups of a network, but for those of its logits. The network must be on the CPU."""
    graph = tp.DependencyGraph().build_dependency(
        network, torch.zeros(1, spec.channels, spec.height, spec.width), forward_fn=_trace
    )
    groups = []
    for members in graph.get_all_groups(root_module_types=[nn.Conv2d]):
        channels, is_output = len(members[0].idxs), False
        uses: dict[Layer, tuple[int, int]] = {}
        for dependency, indices in members:
            layer, per_channel = dependency.target.module, len(indices) // channels
            is_output |= dependency.target.type == tp.ops.OPTYPE.OUTPUT
            if isinstance(layer, nn.Conv2d | nn.Linear):
                inputs, outputs = uses.get(layer, (0, 0))
                if takes_inputs(dependency):
                    inputs = per_channel
                if gives_outputs(dependency):
                    outputs = per_channel
                uses[layer] = (inputs, outputs)
        if not is_output:
            groups.append(Group(members, channels, uses))
    return groups


def takes_inputs(dependency: Any) -> bool:
    """Whether a dependency of a group removes inputs of a convolution or linear layer."""
    return dependency.handler in (
        tp.prune_conv_in_channels,
        tp.prune_linear_in_channels,
        tp.prune_depthwise_conv_in_channels,
        tp.prune_depthwise_conv_out_channels,
    )


def gives_outputs(dependency: Any) -> bool:
    """Whether a dependency of a group removes outputs of a convolution or linear layer."""
    return dependency.handler in (
        tp.prune_conv_out_channels,
        tp.prune_linear_out_channels,
        tp.prune_depthwise_conv_in_channels,
        tp.prune_depthwise_conv_out_channels,
    )


class Macs:
    """The MACs of a network, while channels are removed. They are those of convolutions and linear layers."""

    def __init__(self, network: nn.Module, spec: InputSpec) -> None:
        self._places: dict[Layer, int] = {}  # for each pair of input and output
        self._channels: dict[Layer, tuple[int, int]] = {}
        hooks = [
            module.register_forward_hook(self._see)
            for module in network.modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        with torch.inference_mode():
            network.eval()(torch.zeros(1, spec.channels, spec.height, spec.width))
        for hook in hooks:
            hook.remove()
        self.total = sum(self._of(layer, *channels) for layer, channels in self._channels.items())

    def saved(self, group: Group, channels: int) -> int:
        """What removing so many channels of a group saves."""
        return sum(
            self._of(layer, *self._channels[layer]) - self._of(layer, *self._left(group, layer, channels))
            for layer in group.uses
        )

    def remove(self, group: Group, channels: int) -> None:
        """Count without so many channels of a group from now on."""
        self.total -= self.saved(group, channels)
        self._channels.update({layer: self._left(group, layer, channels) for layer in group.uses})

    def _left(self, group: Group, layer: Layer, channels: int) -> tuple[int, int]:
        (inputs, outputs), (per_input, per_output) = self._channels[layer], group.uses[layer]
        return inputs - channels * per_input, outputs - channels * per_output

    def _of(self, layer: Layer, inputs: int, outputs: int) -> int:
        is_depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
        return self._places[layer] * outputs * (1 if is_depthwise else inputs)

    def _see(self, layer: Layer, inputs: tuple[Tensor], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            self._places[layer] = math.prod(output.shape[2:]) * math.prod(layer.kernel_size)
            self._channels[layer] = layer.in_channels, layer.out_channels
        else:
            self._places[layer] = 1
            self._channels[layer] = layer.in_features, layer.out_features


def choose(groups: list[Group], scores: list[Tensor], macs: Macs, target: int, round_to: int) -> list[list[int]]:
    """Of each group the channels to remove, so that at most ``target`` MACs are left.

    Again and again the least important channels of one group go, as many as leave it a multiple of ``round_to``: of the
    group where that loses the least importance for the MACs it saves.

    :param scores: of each group the importance of its channels, float32 (channels,). They are added up, within a group
        and across groups.
    :raises FerError: the target is out of reach.
    """
    orders = [score.argsort(stable=True) for score in scores]
    removed = [0] * len(groups)
    while macs.total > target:
        best: tuple[float, int, int] | None = None
        for number, (group, order, done) in enumerate(zip(groups, orders, removed, strict=True)):
            left = group.channels - done
            count = left % round_to or round_to
            if left - count < max(round_to, LEAST * group.channels):
                continue
            lost = float(scores[number][order[done : done + count]].sum()) / macs.saved(group, count)
            if best is None or lost < best[0]:
                best = lost, number, count
        if best is None:
            raise FerError(
                f"{target:,} MACs are out of reach: {macs.total:,} are left where every layer has its least number of "
                "channels. Raise pruning.macs, or lower pruning.round_to"
            )
        _, number, count = best
        macs.remove(groups[number], count)
        removed[number] += count
    return [order[:done].tolist() for order, done in zip(orders, removed, strict=True)]


def _trace(network: nn.Module, images: Tensor) -> list[Tensor]:
    with _plain_paths(network) as ends:
        return [network(images), *ends]


@contextmanager
def _plain_paths(network: nn.Module) -> Iterator[list[Tensor]]:
    """Modules whose operators the graph cannot follow are replaced by what they mean for channels.

    Spatial attention multiplies every channel by the same map, which depends on means and maxima over channels. Region
    pooling multiplies every channel by the maps of three regions; each gives one feature for each channel.

    :return: ends of the graph beside the logits, filled while the network runs.
    """
    ends: list[Tensor] = []

    def pool(module: RegionPooling, x: Tensor) -> Tensor:
        ends.append(module.attention(x))
        return torch.cat([x.mean((2, 3)) for _ in range(module.regions.shape[1])], 1)

    replaced = [module for module in network.modules() if isinstance(module, SpatialAttention | RegionPooling)]
    for module in replaced:
        if isinstance(module, SpatialAttention):
            module.forward = lambda x: (x, x)  # type: ignore[method-assign]
        else:
            module.forward = partial(pool, module)  # type: ignore[method-assign]
    try:
        yield ends
    finally:
        for module in replaced:
            del module.forward
