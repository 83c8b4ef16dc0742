"""Fourteen corruptions of face crops in five severities, in the manner of ImageNet-C (Hendrycks and Dietterich, 2019).

*Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*, arXiv:1903.12261. Contrast and JPEG
have ImageNet-C's severities. The others' were chosen by eye on the sheet of examples, from a change that one hardly
notices to a face that is just recognised; lengths are fractions of the crop's width, so that a severity means the
same at every size. Blur, brightness, contrast and warping are kornia's. Its JPEG is a differentiable approximation,
so JPEG is OpenCV's codec. (albumentations and imagecorruptions have more of them, but bring an OpenCV that overwrites
mediapipe's.)
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from kornia.enhance import adjust_brightness_accumulative, adjust_contrast_with_mean_subtraction
from kornia.filters import gaussian_blur2d, motion_blur
from kornia.geometry import warp_perspective
from torch import Tensor

from fer_perception.errors import FerError
from fer_perception.preprocessing.alignment import AlignmentTemplate, similarity_transform
from fer_perception.types import UInt8Image
from fer_training.evaluation.robustness.occlusion import (
    LENS_GREY,
    MASK_GREY,
    block,
    cover,
    cover_blocks,
    face_of,
    mouth_mask,
    sunglasses,
)
from fer_training.training.augmentation import GAMMA

SEVERITIES = (1, 2, 3, 4, 5)
BATCH_SIZE = 256
CAMERA_DISTANCE = 8.0  # in distances between the eyes: half a metre
COMBINED = "combined"


@dataclass(frozen=True)
class Batch:
    """Crops of one size, what they were aligned to, and of each its own source of random numbers.

    ``images``: uint8, (N, H, W, C).
    """

    images: UInt8Image
    template: AlignmentTemplate
    rngs: Sequence[np.random.Generator]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.images.shape[2], self.images.shape[1]

    def draw(self, low: float, high: float) -> npt.NDArray[np.float64]:
        """One uniform number for each image: float64, (N,)."""
        return np.array([rng.uniform(low, high) for rng in self.rngs])

    def having(self, images: UInt8Image) -> Batch:
        """The same with changed images."""
        return Batch(images, self.template, self.rngs)


def _mouth_mask(batch: Batch, top: float, bottom: float) -> UInt8Image:
    return cover(batch.images, mouth_mask(batch.template, *batch.size, top, bottom), MASK_GREY)


def _sunglasses(batch: Batch, size: float) -> UInt8Image:
    return cover(batch.images, sunglasses(batch.template, *batch.size, size), LENS_GREY)


def _block(batch: Batch, fraction: float) -> UInt8Image:
    places = [block(batch.template, *batch.size, fraction, rng) for rng in batch.rngs]
    return cover_blocks(batch.images, places, [int(rng.integers(256)) for rng in batch.rngs])


def _exposure(batch: Batch, stops: float) -> UInt8Image:
    return _pixels(adjust_brightness_accumulative(_tensor(batch.images), 2 ** (stops / GAMMA)))


def _contrast(batch: Batch, factor: float) -> UInt8Image:
    return _pixels(adjust_contrast_with_mean_subtraction(_tensor(batch.images), factor))


def _gaussian_blur(batch: Batch, sigma: float) -> UInt8Image:
    pixels = sigma * batch.size[0]
    kernel = _odd(6 * pixels + 1, batch.size)
    return _pixels(gaussian_blur2d(_tensor(batch.images), kernel, (pixels, pixels), border_type="replicate"))


def _motion_blur(batch: Batch, length: float) -> UInt8Image:
    angles = torch.from_numpy(batch.draw(0, 180).astype(np.float32))
    kernel = _odd(length * batch.size[0], batch.size)
    straight = torch.zeros(len(angles))
    return _pixels(motion_blur(_tensor(batch.images), kernel, angles, straight, "replicate", "bilinear"))


def _sensor_noise(batch: Batch, photons: float, read: float) -> UInt8Image:
    """Shot noise of so many photons at white, and a sensor's read noise (standard deviation, of white)."""
    noisy = [
        rng.poisson(image * (photons / 255.0)) / photons + rng.normal(0, read, image.shape)
        for image, rng in zip(batch.images, batch.rngs, strict=True)
    ]
    return np.clip(np.round(np.stack(noisy) * 255), 0, 255).astype(np.uint8)


def _jpeg(batch: Batch, quality: int) -> UInt8Image:
    flag = cv2.IMREAD_GRAYSCALE if batch.images.shape[-1] == 1 else cv2.IMREAD_COLOR
    decoded = []
    for image in batch.images:
        blue_first = np.ascontiguousarray(image[..., ::-1])
        _, file = cv2.imencode(".jpg", blue_first, (cv2.IMWRITE_JPEG_QUALITY, quality))
        decoded.append(np.asarray(cv2.imdecode(file, flag), np.uint8).reshape(image.shape)[..., ::-1])
    return np.stack(decoded)


def _low_resolution(batch: Batch, fraction: float) -> UInt8Image:
    small = tuple(max(1, round(side * fraction)) for side in batch.size)
    shrunk = [cv2.resize(image, small, interpolation=cv2.INTER_AREA) for image in batch.images]
    return np.stack([cv2.resize(image, batch.size).reshape(batch.images.shape[1:]) for image in shrunk])


def _yaw(batch: Batch, degrees: float) -> UInt8Image:
    return _turn(batch, degrees, 0)


def _pitch(batch: Batch, degrees: float) -> UInt8Image:
    return _turn(batch, degrees, 1)


def _turn(batch: Batch, degrees: float, axis: int) -> UInt8Image:
    """Turn each face to one side or the other, as a flat image, and align it again as the robot does."""
    sides = np.sign(batch.draw(-1, 1))
    matrices = [turned_view(batch.template, *batch.size, float(side * degrees), axis) for side in sides]
    transforms = torch.from_numpy(np.stack(matrices).astype(np.float32))
    width, height = batch.size
    return _pixels(warp_perspective(_tensor(batch.images), transforms, (height, width), padding_mode="border"))


def turned_view(
    template: AlignmentTemplate, width: int, height: int, degrees: float, axis: int
) -> npt.NDArray[np.float64]:
    """Where a turned, flat face's pixels lie after alignment: a homography, float64, (3, 3).

    :param axis: 0: yaw, 1: pitch.
    """
    face = face_of(template, width, height)
    middle = (face.right_eye + face.left_eye + face.mouth) / 3
    angle = np.radians(degrees)
    turn = np.eye(3)
    turn[axis, axis] = np.cos(angle)
    turn[2, axis] = np.sin(angle) / (CAMERA_DISTANCE * np.hypot(*face.across))
    shift = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1]])
    view = shift @ turn @ np.linalg.inv(shift)
    points = template.points(width, height)
    seen = np.column_stack([points, np.ones(3)]) @ view.T
    align = np.vstack([similarity_transform(seen[:, :2] / seen[:, 2:], points), (0, 0, 1)])
    return align @ view


def _combined(batch: Batch, fraction: float, stops: float, photons: float, read: float) -> UInt8Image:
    """In the order of a camera: something before the face, little light, a noisy sensor."""
    hidden = batch.having(_block(batch, fraction))
    return _sensor_noise(batch.having(_exposure(hidden, stops)), photons, read)


@dataclass(frozen=True)
class Corruption:
    """``apply`` takes a batch and the parameters of a severity; ``parameters`` names them, ``severities`` has five."""

    family: str
    parameters: tuple[str, ...]
    severities: tuple[tuple[float, ...], ...]
    apply: Callable[..., UInt8Image]


CORRUPTIONS: dict[str, Corruption] = {
    "mouth_mask": Corruption(
        "occlusion",
        ("above the mouth", "below the mouth"),
        ((0.2, 0.2), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5), (0.6, 0.6)),
        _mouth_mask,
    ),
    "sunglasses": Corruption("occlusion", ("half a lens",), ((0.25,), (0.3,), (0.35,), (0.4,), (0.45,)), _sunglasses),
    "block": Corruption("occlusion", ("fraction of the crop",), ((0.05,), (0.1,), (0.2,), (0.3,), (0.4,)), _block),
    "dim_light": Corruption("light", ("stops",), ((-1,), (-2,), (-3,), (-4,), (-5,)), _exposure),
    "over_exposure": Corruption("light", ("stops",), ((0.5,), (1,), (1.5,), (2,), (2.5,)), _exposure),
    "low_contrast": Corruption("light", ("factor",), ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)), _contrast),
    "gaussian_blur": Corruption("blur", ("sigma",), ((0.0125,), (0.02,), (0.03,), (0.04,), (0.055,)), _gaussian_blur),
    "motion_blur": Corruption("blur", ("length",), ((0.06,), (0.1,), (0.15,), (0.19,), (0.23,)), _motion_blur),
    "sensor_noise": Corruption(
        "image quality",
        ("photons at white", "read noise"),
        ((500, 0.01), (250, 0.02), (120, 0.03), (80, 0.045), (50, 0.06)),
        _sensor_noise,
    ),
    "jpeg": Corruption("image quality", ("quality",), ((25,), (18,), (15,), (10,), (7,)), _jpeg),
    "low_resolution": Corruption(
        "image quality",
        ("fraction of the width",),
        ((1 / 2,), (5 / 12,), (1 / 3,), (1 / 4,), (1 / 6,)),
        _low_resolution,
    ),
    "yaw": Corruption("pose", ("degrees",), ((15,), (25,), (35,), (45,), (55,)), _yaw),
    "pitch": Corruption("pose", ("degrees",), ((10,), (20,), (30,), (40,), (50,)), _pitch),
    COMBINED: Corruption(
        COMBINED,
        ("block's fraction of the crop", "stops", "photons at white", "read noise"),
        (
            (0.04, -0.5, 1000, 0.005),
            (0.08, -1, 500, 0.01),
            (0.12, -1.5, 250, 0.015),
            (0.16, -2, 150, 0.02),
            (0.2, -2.5, 100, 0.03),
        ),
        _combined,
    ),
}


def corrupt(
    images: Sequence[UInt8Image], name: str, severity: int, template: AlignmentTemplate, seed: int = 0
) -> list[UInt8Image]:
    """Corrupt face crops.

    Chance (a block's place, a direction) depends on the seed, the corruption and an image's place in the list alone,
    so it is the same at all severities.

    :param images: uint8, (H, W) grey or (H, W, 3) RGB each, aligned to ``template``.
    :param name: a key of :data:`CORRUPTIONS`.
    :param severity: 1 to 5.
    :return: the same shapes.
    :raises FerError: there is no such corruption or severity.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise FerError(f"corruption '{name}', severity {severity}: write one of {', '.join(CORRUPTIONS)}, and 1 to 5")
    corruption = CORRUPTIONS[name]
    parameters: tuple[Any, ...] = corruption.severities[severity - 1]
    kind = zlib.crc32(name.encode())
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(index)
    corrupted = list(images)
    for shape, indices in by_shape.items():
        for start in range(0, len(indices), BATCH_SIZE):
            part = indices[start : start + BATCH_SIZE]
            stack = np.stack([images[index] for index in part]).reshape(len(part), *shape[:2], -1)
            rngs = [np.random.default_rng((seed, kind, index)) for index in part]
            changed = corruption.apply(Batch(stack, template, rngs), *parameters)
            for index, image in zip(part, changed, strict=True):
                corrupted[index] = np.ascontiguousarray(image.reshape(shape))
    return corrupted


def _odd(length: float, size: tuple[int, int]) -> int:
    """The odd kernel width nearest to a length in pixels, from 3 to what fits into the crop."""
    largest = (min(size) - 1) // 2
    return 2 * int(np.clip(round(length / 2 - 0.5), 1, largest)) + 1


def _tensor(images: UInt8Image) -> Tensor:
    """uint8 (N, H, W, C) to float32 (N, C, H, W) in 0..1."""
    return torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()


def _pixels(images: Tensor) -> UInt8Image:
    """float32 (N, C, H, W) in 0..1 to uint8 (N, H, W, C)."""
    return (images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
