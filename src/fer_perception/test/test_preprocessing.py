import numpy as np
import pytest
from pydantic import ValidationError

from fer_perception.errors import ImageError
from fer_perception.preprocessing.normalization import InputSpec, normalize, prepare_crop, to_batch

GREY = InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25])
RGB = InputSpec(width=32, height=40, color="rgb", mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])


def test_normalised_values_follow_the_formula() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (40, 32, 3), np.uint8)
    batch = to_batch([crop], RGB)
    expected = ((crop / 255 - RGB.mean) / RGB.std).transpose(2, 0, 1)
    assert batch.dtype == np.float32
    assert batch.shape == (1, 3, 40, 32)
    assert batch.flags.c_contiguous
    np.testing.assert_allclose(batch[0], expected, atol=1e-5)


def test_colour_order_is_rgb() -> None:
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 255
    assert prepare_crop(red, GREY)[0, 0, 0] == 76  # 0.299 x 255: blue would give 29


def test_grey_and_colour_of_the_same_grey_picture_agree() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (48, 48), np.uint8)
    np.testing.assert_array_equal(to_batch([grey], GREY), to_batch([np.dstack([grey] * 3)], GREY))


def test_crops_of_different_sizes_make_one_batch() -> None:
    batch = to_batch([np.full((96, 96, 3), 255, np.uint8), np.zeros((20, 30), np.uint8)], GREY)
    assert batch.shape == (2, 1, 48, 48)
    np.testing.assert_allclose(batch[0], 2.0, atol=1e-5)
    np.testing.assert_allclose(batch[1], -2.0, atol=1e-5)


def test_no_crop_makes_an_empty_batch() -> None:
    assert to_batch([], GREY).shape == (0, 1, 48, 48)


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((48, 48, 4), np.uint8),
        np.zeros((48, 48), np.float32),
        np.zeros((0, 48), np.uint8),
        np.zeros(48, np.uint8),
    ],
)
def test_other_arrays_are_refused(crop: np.ndarray) -> None:
    with pytest.raises(ImageError, match="face crop must be uint8"):
        prepare_crop(crop, GREY)


def test_spec_needs_one_mean_and_positive_std_per_channel() -> None:
    with pytest.raises(ValidationError, match="need 3 value"):
        InputSpec(width=48, height=48, color="rgb", mean=[0.5], std=[0.25])
    with pytest.raises(ValidationError, match="positive"):
        InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.0])


def test_normalize_keeps_the_order_of_the_batch() -> None:
    crops = np.stack([np.full((48, 48, 1), value, np.uint8) for value in (0, 128, 255)])
    assert (np.diff(normalize(crops, GREY)[:, 0, 0, 0]) > 0).all()
