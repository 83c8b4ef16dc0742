"""Images that cannot show a face are told, and 16-bit images are brought to 8 bits by the sensor's range."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.images.sources import open_source
from fer_perception.images.visibility import SensorRange, flaw_of

RNG = np.random.default_rng(0)
GREY = np.tile(np.arange(256, dtype=np.uint16), (100, 1))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_range_is_found(bits: int) -> None:
    sensor = SensorRange()
    np.testing.assert_array_equal(sensor.to_8_bits(GREY << (bits - 8)), GREY)
    assert sensor.bits == bits


def test_the_range_does_not_flicker() -> None:
    sensor = SensorRange()
    bright, dark = GREY << 4, GREY << 1
    assert sensor.to_8_bits(bright).max() == 255
    np.testing.assert_array_equal(sensor.to_8_bits(dark), GREY >> 3)  # by the 12 bits that are known
    assert sensor.bits == 12


def test_a_hot_pixel_does_not_darken_the_image() -> None:
    image = GREY << 2
    image[5, 5] = 65535
    eight = SensorRange().to_8_bits(image)
    assert eight[5, 5] == 255
    eight[5, 5] = 5
    np.testing.assert_array_equal(eight, GREY)


def test_a_range_that_is_given_stays() -> None:
    sensor = SensorRange(10)
    np.testing.assert_array_equal(sensor.to_8_bits(GREY << 4), np.minimum(GREY << 2, 255))
    assert sensor.bits == 10


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_files_of_16_bits_keep_one_range(tmp_path: Path, suffix: str) -> None:
    """A folder of a camera with 12 bits: the second image is darker, and stays so."""
    for name, shift in (("a", 4), ("b", 3)):
        cv2.imwrite(str(tmp_path / f"{name}{suffix}"), GREY << shift)
    first, second = open_source(str(tmp_path), fps=1.0, still_s=1.0).frames()
    np.testing.assert_array_equal(first[..., 0], GREY)
    np.testing.assert_array_equal(second[..., 0], GREY >> 1)


@pytest.mark.parametrize(
    ("low", "high", "flaw"),
    [
        (0, 4, "nearly black"),
        (250, 256, "nearly white"),
        (120, 130, "without contrast"),
        (0, 40, ""),
        (200, 256, ""),
        (0, 256, ""),
    ],
)
def test_flaws(low: int, high: int, flaw: str) -> None:
    assert flaw_of(RNG.integers(low, high, (12, 16, 3), np.uint8).repeat(40, 0).repeat(40, 1)) == flaw
    assert flaw_of(np.full((1, 1, 3), low, np.uint8)) != ""


def test_a_bright_face_in_the_dark_is_no_flaw() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[100:300, 200:350] = RNG.integers(50, 200, (200, 150, 3), np.uint8)
    assert flaw_of(image) == ""


def test_an_image_of_one_value_tells_no_range() -> None:
    sensor = SensorRange()
    sensor.to_8_bits(GREY << 4)
    assert sensor.to_8_bits(np.full((100, 256), 65535, np.uint16)).min() == 255
    assert sensor.bits == 12


@pytest.mark.parametrize(("mean", "flaw"), [(8, "nearly black"), (128, "without contrast"), (250, "nearly white")])
def test_noise_is_no_contrast(mean: int, flaw: str) -> None:
    noisy = np.clip(RNG.normal(mean, 8, (480, 640, 3)), 0, 255).astype(np.uint8)
    assert flaw_of(noisy) == flaw
