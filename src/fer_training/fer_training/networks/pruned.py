"""Pruned networks, rebuilt from their configuration: a network by name with other numbers of channels.

The verb ``prune`` writes the numbers into the run's configuration, so weights need no pickled module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from fer_perception.errors import FerError

NAME = "landmark_compressed"

# By name of a layer: of a convolution inputs, outputs and groups, of a linear layer inputs and outputs, of batch
# normalisation its channels.
Widths = dict[str, list[int]]


def widths_of(network: nn.Module) -> Widths:
    """The channels of all layers that have some."""
    return {name: width for name, module in network.named_modules() if (width := _width(module))}


def changed_widths(network: nn.Module, original: nn.Module) -> Widths:
    """The channels of those layers of a network whose numbers differ from the original's."""
    before = widths_of(original)
    return {name: width for name, width in widths_of(network).items() if width != before[name]}


def with_widths(network: nn.Module, widths: Widths) -> nn.Module:
    """Give layers other numbers of channels, in place. Of their weights the first channels stay.

    :raises FerError: there is no such layer, or a number does not fit it.
    """
    for name, width in widths.items():
        try:
            layer = network.get_submodule(name)
        except AttributeError:
            layer = nn.Identity()
        before = _width(layer)
        fits = len(before) == len(width) and all(0 < new <= old for new, old in zip(width, before, strict=True))
        if not fits:
            raise FerError(f"network.options.widths: '{name}: {width}' does not fit the network. Prune it again")
        _resize(layer, width)
    return network


def without_pruning(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of what a network was before any pruning: those of a network that was not pruned are its own."""
    if name != NAME:
        return name, options
    return options["network"], {key: value for key, value in options.items() if key not in ("network", "widths")}


def pruned(registry: dict[str, Callable[..., nn.Module]]) -> Callable[..., nn.Module]:
    """The entry ``landmark_compressed`` of a registry of networks."""

    def build(
        num_classes: int, in_channels: int = 3, network: str = "", widths: Widths | None = None, **options: Any
    ) -> nn.Module:
        """A pruned network, of the original's class.

        :param network: the original's name in the registry, and ``options``: its options.
        :param widths: see :data:`Widths`; layers that are not named keep the original's.
        :raises FerError: the original is unknown, or the widths do not fit it.
        """
        if network not in registry or network == NAME:
            raise FerError(f"network '{NAME}': network.options.network is '{network}'. The verb prune writes it")
        return with_widths(registry[network](num_classes, in_channels, **options), widths or {})

    return build


def _width(module: nn.Module) -> list[int]:
    if isinstance(module, nn.Conv2d):
        return [module.in_channels, module.out_channels, module.groups]
    if isinstance(module, nn.Linear):
        return [module.in_features, module.out_features]
    return [module.num_features] if isinstance(module, nn.BatchNorm2d) else []


def _resize(module: nn.Module, width: list[int]) -> None:
    inputs, outputs = (width[0], width[-1]) if len(width) < 3 else (width[0] // width[2], width[1])
    if isinstance(module, nn.Conv2d):
        module.in_channels, module.out_channels, module.groups = width
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = width
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = outputs
    for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if tensor.ndim:  # batch normalisation's count of batches has none
            kept = tensor.detach()[:outputs, :inputs] if tensor.ndim > 1 else tensor.detach()[:outputs]
            setattr(module, name, nn.Parameter(kept.clone()) if isinstance(tensor, nn.Parameter) else kept.clone())
