"""How important each channel is, by which pruning chooses: criteria for Torch-Pruning's groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from fer_training.runs.config import PruningConfig
from fer_training.training.pruning.graph import takes_inputs
from fer_training.training.supervised import cross_entropy

BATCH_SIZE = 64

# Maps a group to the importance of its channels: float32, (channels,).
Criterion = Callable[[Any], Tensor]
# Of images: float32, (N, labels of all sets), and how many labels each set has.
Labels = tuple[Tensor, Sequence[int]]


class LandmarkImportance(tp.importance.Importance):
    """How much the loss depends on a channel's response, guided by where in the face the channel responds.

    To first order an image's loss changes by the sum of response times gradient if a channel vanishes. The mean over
    the images of that sum's square is the channel's importance to a layer that takes it (Molchanov et al., 2019,
    arXiv:1906.10771), and its importance to a group the sum over these layers.

    Within each group, that is multiplied by a power of the channel's selectivity: its mean absolute response in the
    regions of eyes, brows and mouth by that anywhere, in relation to the group's mean. The group's sum stays, so how
    much is removed of which layer is left to the loss, and the landmarks decide about the channels.

    Responses are taken at the inputs of convolutions and linear layers, thus after normalisation and activation.

    :param network: in evaluation mode; its gradients are overwritten.
    :param images: float32, (N, C, H, W), normalised and aligned.
    :param labels: their labels, float32 (N, labels of all sets), and how many labels each set has.
    :param regions: float32, (1, 1, H, W) in 0..1, see :func:`fer_training.networks.landmark_regions.landmark_regions`.
    :param guidance: the power; 0 leaves Taylor's criterion alone.
    """

    def __init__(self, network: nn.Module, images: Tensor, labels: Labels, regions: Tensor, guidance: float) -> None:
        self._regions, self._guidance = regions, guidance
        # By layer, of its inputs: importance, mean response in the regions and anywhere; sums over the images.
        self._sums: dict[nn.Module, Tensor] = {}
        hooks = [
            module.register_forward_pre_hook(self._watch)
            for module in network.modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        targets, sizes = labels
        for batch, wanted in zip(images.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):
            # The images have a gradient, so that there is one at the first layer's input.
            loss = cross_entropy(network(batch.clone().requires_grad_()), wanted, sizes)
            (loss * len(batch)).backward()
        for hook in hooks:
            hook.remove()
        network.zero_grad()

    def __call__(self, group: Any) -> Tensor:
        """The importance of a group's channels: float32, (channels,)."""
        sums = torch.zeros(3, len(group[0].idxs))
        for member in group:
            if takes_inputs(member.dep) and member.dep.target.module in self._sums:
                found = self._sums[member.dep.target.module][:, member.idxs]
                sums.index_add_(1, torch.tensor(member.root_idxs), found)
        importance, inside, anywhere = sums
        selectivity = inside / anywhere.clamp_min(torch.finfo(torch.float32).tiny)
        if not selectivity.sum() > 0:  # the group's channels have no places
            return importance
        guided = importance * (selectivity / selectivity.mean()) ** self._guidance
        return guided * (importance.sum() / guided.sum()) if guided.sum() > 0 else importance

    def _watch(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """The input as a tensor of its own, whose gradient comes from this layer alone."""
        response = inputs[0].clone()
        response.register_hook(partial(self._add, module, response.detach()))
        return (response,)

    def _add(self, module: nn.Module, response: Tensor, gradient: Tensor) -> None:
        products = response * gradient
        if response.ndim == 4:
            products = products.sum((2, 3))
        inside = anywhere = torch.zeros_like(products[0])
        if response.ndim == 4 and response.shape[-2:] != (1, 1):  # a mean over the image has no places
            regions = nn.functional.interpolate(self._regions, size=response.shape[-2:], mode="area")
            inside = (response.abs() * (regions / regions.mean())).mean((2, 3)).sum(0)
            anywhere = response.abs().mean((2, 3)).sum(0)
        sums = torch.stack([products.square().sum(0), inside, anywhere])
        self._sums[module] = self._sums[module] + sums if module in self._sums else sums


def criterion(
    settings: PruningConfig, network: nn.Module, images: Tensor, labels: Labels, regions: Tensor
) -> Criterion:
    """The configured criterion for a network; the parameters are those of :class:`LandmarkImportance`.

    ``taylor`` is ``landmark`` without guidance; ``magnitude`` (of weights, in relation to the group's mean) and
    ``random`` are Torch-Pruning's.
    """
    if settings.criterion in ("landmark", "taylor"):
        guidance = settings.guidance if settings.criterion == "landmark" else 0.0
        return LandmarkImportance(network, images, labels, regions, guidance)
    if settings.criterion == "magnitude":
        return tp.importance.GroupMagnitudeImportance()
    return tp.importance.RandomImportance()
