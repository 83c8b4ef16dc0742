"""A torch network's probabilities for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fer_perception.preprocessing.normalization import InputSpec, prepare_crop
from fer_perception.types import UInt8Image
from fer_training.datasets import Samples


def prepare_images(samples: Samples, spec: InputSpec) -> UInt8Image:
    """All images at the network's colour and size: uint8, (N, H, W, C)."""
    return np.stack([prepare_crop(image, spec) for image in samples.images])


def normalized(images: Tensor, spec: InputSpec) -> Tensor:
    """What :func:`fer_perception.preprocessing.normalization.normalize` does, on any device.

    :param images: uint8, (N, H, W, C), from :func:`prepare_images`.
    :return: float32, (N, C, H, W).
    """
    mean, std = (torch.tensor(values, device=images.device) for values in (spec.mean, spec.std))
    return (images * (1 / 255 / std) - mean / std).permute(0, 3, 1, 2).contiguous()


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: UInt8Image,
    spec: InputSpec,
    device: str = "cpu",
    heads: Sequence[int] = (),
    batch_size: int = 256,
) -> npt.NDArray[np.float32]:
    """Probabilities in single precision: uint8 (N, H, W, C) to float32 (N, labels).

    :param heads: sizes of the label sets, each of which has probabilities that sum to 1; empty: there is one.
    """
    network.eval()
    parts = []
    for i in range(0, len(images), batch_size):
        logits = network(normalized(torch.from_numpy(images[i : i + batch_size]).to(device), spec))
        parts.append(by_head(torch.softmax, logits, heads).cpu())
    return torch.cat(parts).numpy()


def by_head(function: Callable[[Tensor, int], Tensor], logits: Tensor, heads: Sequence[int]) -> Tensor:
    """Apply softmax or the like to each label set's logits.

    :param logits: (N, labels of all sets), in which ``heads``, their sizes, follow one after the other; empty: one set.
    """
    return torch.cat([function(part, 1) for part in logits.split(list(heads) or logits.shape[1], 1)], 1)
