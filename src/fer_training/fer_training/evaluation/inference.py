"""A torch network's probabilities for images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fer_perception.preprocessing.normalization import InputSpec, normalize, prepare_crop
from fer_perception.types import UInt8Image
from fer_training.datasets import Samples


def prepare_images(samples: Samples, spec: InputSpec) -> UInt8Image:
    """All images at the network's colour and size: uint8, (N, H, W, C)."""
    return np.stack([prepare_crop(image, spec) for image in samples.images])


@torch.inference_mode()
def predict(
    network: nn.Module, images: UInt8Image, spec: InputSpec, device: str = "cpu", batch_size: int = 256
) -> npt.NDArray[np.float32]:
    """Probabilities in single precision: uint8 (N, H, W, C) to float32 (N, labels)."""
    network.eval()
    parts = [
        torch.softmax(network(torch.from_numpy(normalize(images[i : i + batch_size], spec)).to(device)), 1).cpu()
        for i in range(0, len(images), batch_size)
    ]
    return torch.cat(parts).numpy()
