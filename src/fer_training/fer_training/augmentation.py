"""Random changes to training images, on whole batches of normalised tensors."""

from __future__ import annotations

import torch
from kornia import augmentation as kornia_augmentation
from torch import Tensor, nn

from fer_training.config import AugmentationConfig


class PhotometricJitter(nn.Module):
    """Contrast and brightness, one draw per image, on normalised pixels: x (1 + c) + b."""

    def __init__(self, contrast: float, brightness: float) -> None:
        super().__init__()
        self.contrast, self.brightness = contrast, brightness

    def forward(self, x: Tensor) -> Tensor:
        draws = torch.rand(2, len(x), 1, 1, 1, device=x.device) * 2 - 1
        return x * (1 + self.contrast * draws[0]) + self.brightness * draws[1]


def build_augmentation(config: AugmentationConfig) -> nn.Module:
    """A module from float32 (N, C, H, W), normalised, to the same; it draws from torch's global generator."""
    steps: list[nn.Module] = []
    if config.flip:
        steps.append(kornia_augmentation.RandomHorizontalFlip(p=0.5))
    if config.rotation_deg or config.translation or config.scale:
        steps.append(
            kornia_augmentation.RandomAffine(
                degrees=config.rotation_deg,
                translate=(config.translation, config.translation),
                scale=(1 - config.scale, 1 + config.scale),
                padding_mode="border",
                p=1.0,
            )
        )
    if config.contrast or config.brightness:
        steps.append(PhotometricJitter(config.contrast, config.brightness))
    if config.erasing_probability:
        # Zero is the mean grey of normalised pixels.
        steps.append(kornia_augmentation.RandomErasing(scale=(0.02, 0.2), value=0.0, p=config.erasing_probability))
    return nn.Sequential(*steps)
