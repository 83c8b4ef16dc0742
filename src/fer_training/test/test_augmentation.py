"""Regions are moved with the faces they lie on."""

import pytest
import torch

from fer_perception.preprocessing.normalization import InputSpec
from fer_training.runs.config import AugmentationConfig
from fer_training.training.augmentation import Augmentation

STILL = {"contrast": 0.0, "brightness": 0.0, "erasing_probability": 0.0}
ASLEEP = {"flip": False, "rotation_deg": 0.0, "translation": 0.0, "scale": 0.0, **STILL}
SPEC = InputSpec(width=48, height=48, color="grey", mean=[0.4], std=[0.2])


@pytest.mark.parametrize("flip", [True, False])
def test_regions_move_with_the_images(flip: bool) -> None:
    torch.manual_seed(0)
    images = torch.zeros(16, 1, 48, 48)
    images[:, :, 10:18, 8:14] = 1  # not symmetric
    moved, regions = Augmentation(AugmentationConfig(flip=flip, **STILL), SPEC)(images, images.clone())
    assert (moved != images).any()
    torch.testing.assert_close(moved, regions, atol=1e-5, rtol=0)


def test_what_comes_in_from_outside_is_no_region() -> None:
    torch.manual_seed(0)
    images = torch.ones(16, 1, 48, 48)
    config = AugmentationConfig(flip=False, translation=0.3, rotation_deg=0.0, scale=0.0, **STILL)
    moved, regions = Augmentation(config, SPEC)(images, images.clone())
    assert moved.min() > 0.999  # the border is repeated
    assert regions is not None
    assert (regions == 0).any()


def test_the_same_seed_gives_the_same_images_with_and_without_regions() -> None:
    images = torch.rand(8, 1, 48, 48)
    augment = Augmentation(AugmentationConfig(), SPEC)
    torch.manual_seed(3)
    alone, nothing = augment(images)
    torch.manual_seed(3)
    together, _ = augment(images, torch.ones(8, 1, 48, 48))
    assert nothing is None
    torch.testing.assert_close(alone, together)


def test_everything_can_be_switched_off() -> None:
    images = torch.rand(4, 1, 48, 48)
    config = AugmentationConfig(**ASLEEP)
    unchanged, _ = Augmentation(config, SPEC)(images)
    assert unchanged is images


def test_half_of_the_images_are_in_bad_light() -> None:
    torch.manual_seed(0)
    pixels = torch.linspace(0.1, 0.9, 48).expand(400, 1, 48, 48)
    images = (pixels - 0.4) / 0.2
    changed, _ = Augmentation(AugmentationConfig(**ASLEEP, exposure_stops=2.2), SPEC)(images)
    light = (changed * 0.2 + 0.4) / pixels
    affected = (light - 1).abs().amax((1, 2, 3)) > 1e-3
    assert 150 < affected.sum() < 250
    darkest = light[:, 0, 0, 0]  # below white whatever the exposure
    assert 0.5 <= darkest.min() < 0.6 < 1.8 < darkest.max() <= 2  # a stop less, a stop more
    assert (changed * 0.2 + 0.4).max() == pytest.approx(1)  # cut off at white


def test_noise_is_drawn_up_to_its_largest_strength() -> None:
    torch.manual_seed(0)
    images = torch.full((400, 1, 48, 48), 0.5)  # white is at 3, black at -2
    changed, _ = Augmentation(AugmentationConfig(**ASLEEP, noise=0.1), SPEC)(images)
    noise = (changed - images).std((1, 2, 3)) * 0.2
    assert 150 < (noise > 1e-6).sum() < 250
    assert 0.09 < noise.max() < 0.105
    assert changed.mean() == pytest.approx(0.5, abs=0.01)


def test_half_of_the_images_are_blurred() -> None:
    torch.manual_seed(0)
    images = torch.zeros(400, 1, 48, 48)
    images[..., 24:] = 1
    changed, _ = Augmentation(AugmentationConfig(**ASLEEP, blur=1.5), SPEC)(images)
    step = changed[:, 0, 24, 24] - changed[:, 0, 24, 23]
    assert 150 < (step < 0.999).sum() < 250
    assert 0.2 < step.min() < 0.35  # 0.26 at the largest deviation
    assert changed.mean() == pytest.approx(0.5, abs=0.01)
