"""Regions are moved with the faces they lie on."""

import pytest
import torch

from fer_training.augmentation import Augmentation
from fer_training.config import AugmentationConfig

STILL = {"contrast": 0.0, "brightness": 0.0, "erasing_probability": 0.0}


@pytest.mark.parametrize("flip", [True, False])
def test_regions_move_with_the_images(flip: bool) -> None:
    torch.manual_seed(0)
    images = torch.zeros(16, 1, 48, 48)
    images[:, :, 10:18, 8:14] = 1  # not symmetric
    moved, regions = Augmentation(AugmentationConfig(flip=flip, **STILL))(images, images.clone())
    assert (moved != images).any()
    torch.testing.assert_close(moved, regions, atol=1e-5, rtol=0)


def test_what_comes_in_from_outside_is_no_region() -> None:
    torch.manual_seed(0)
    images = torch.ones(16, 1, 48, 48)
    config = AugmentationConfig(flip=False, translation=0.3, rotation_deg=0.0, scale=0.0, **STILL)
    moved, regions = Augmentation(config)(images, images.clone())
    assert moved.min() > 0.999  # the border is repeated
    assert regions is not None
    assert (regions == 0).any()


def test_the_same_seed_gives_the_same_images_with_and_without_regions() -> None:
    images = torch.rand(8, 1, 48, 48)
    augment = Augmentation(AugmentationConfig())
    torch.manual_seed(3)
    alone, nothing = augment(images)
    torch.manual_seed(3)
    together, _ = augment(images, torch.ones(8, 1, 48, 48))
    assert nothing is None
    torch.testing.assert_close(alone, together)


def test_everything_can_be_switched_off() -> None:
    images = torch.rand(4, 1, 48, 48)
    config = AugmentationConfig(flip=False, rotation_deg=0.0, translation=0.0, scale=0.0, **STILL)
    unchanged, _ = Augmentation(config)(images)
    assert unchanged is images
