"""Random changes to training images, on whole batches of normalised tensors."""

from __future__ import annotations

import torch
from kornia import augmentation as kornia_augmentation
from kornia.constants import SamplePadding
from torch import Tensor, nn

from fer_perception.preprocessing.normalization import InputSpec
from fer_training.runs.config import AugmentationConfig

GAMMA = 2.2  # of the pixels; a stop is a factor of two in light


class PhotometricJitter(nn.Module):
    """Contrast and brightness, one draw per image, on normalised pixels: x (1 + c) + b."""

    def __init__(self, contrast: float, brightness: float) -> None:
        super().__init__()
        self.contrast, self.brightness = contrast, brightness

    def forward(self, x: Tensor) -> Tensor:
        draws = torch.rand(2, len(x), 1, 1, 1, device=x.device) * 2 - 1
        return x * (1 + self.contrast * draws[0]) + self.brightness * draws[1]


class BadLight(nn.Module):
    """Half of the images as from a camera in bad light: too little or too much of it, cut off at white, then noise.

    :param stops: the exposure of each is drawn between so many less and so many more.
    :param noise: the noise's standard deviation, a fraction of white, is drawn between 0 and this.
    :param spec: how the images are normalised.
    """

    def __init__(self, stops: float, noise: float, spec: InputSpec) -> None:
        super().__init__()
        self.stops, self.noise = stops, noise
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (spec.mean, spec.std))

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.mean.to(x.device), self.std.to(x.device)
        chosen, exposure, strength = torch.rand(3, len(x), 1, 1, 1, device=x.device)
        light = torch.exp2(self.stops * (2 * exposure - 1) / GAMMA)
        exposed = ((x * std + mean) * light).clamp(0, 1)
        seen = (exposed + torch.randn_like(x) * (self.noise * strength)).clamp(0, 1)
        return torch.where(chosen < 0.5, (seen - mean) / std, x)


def mix_up(alpha: float, batch: Tensor, *targets: Tensor) -> list[Tensor]:
    """Mixup (Zhang et al., 2018): each image and its targets with those of another of the batch, in one proportion.

    :param batch: float32, (N, C, H, W).
    :param targets: float32, (N, labels) each.
    :return: batch and targets.
    """
    fraction = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(batch))
    return [torch.lerp(tensor[partner], tensor, fraction) for tensor in (batch, *targets)]


class Augmentation(nn.Module):
    """Random changes of normalised images, drawn from torch's global generator.

    ``forward``: float32 (N, C, H, W) to the same. With ``regions``, float32 (N, 1, H, W), what lies in the images is
    moved along with them, and what comes in from outside is zero; returns both.
    """

    def __init__(self, config: AugmentationConfig, spec: InputSpec) -> None:
        super().__init__()
        moves: list[nn.Module] = []
        if config.flip:
            moves.append(kornia_augmentation.RandomHorizontalFlip(p=0.5))
        if config.rotation_deg or config.translation or config.scale:
            moves.append(
                kornia_augmentation.RandomAffine(
                    degrees=config.rotation_deg,
                    translate=(config.translation, config.translation),
                    scale=(1 - config.scale, 1 + config.scale),
                    padding_mode="border",
                    p=1.0,
                )
            )
        looks: list[nn.Module] = []
        if config.contrast or config.brightness:
            looks.append(PhotometricJitter(config.contrast, config.brightness))
        if config.erasing_probability:
            # Zero is the mean grey of normalised pixels.
            looks.append(kornia_augmentation.RandomErasing(scale=(0.02, 0.2), value=0.0, p=config.erasing_probability))
        if config.blur:
            looks.append(kornia_augmentation.RandomGaussianBlur((7, 7), (config.blur / 10, config.blur), p=0.5))
        if config.exposure_stops or config.noise:
            looks.append(BadLight(config.exposure_stops, config.noise, spec))
        self.moves, self.looks = nn.ModuleList(moves), nn.Sequential(*looks)

    def forward(self, x: Tensor, regions: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        for move in self.moves:
            x = move(x)
            if regions is not None:
                regions = move(regions, params=move._params, padding_mode=SamplePadding.ZEROS)  # same draw
        return self.looks(x), regions
