"""Faces as a robot's camera gives them: an aligned crop through a model of distance, light, sensor and compression.

The parameters of each image are drawn once, from the image's name, and stay the same in every run.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np

from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets.samples import Samples

FACE_PIXELS = (20, 48)  # the face's width on the sensor
ROLL_DEG, SHIFT, SCALE = 8.0, 0.04, 0.06  # of the crop by the detector's errors: standard deviations
GAMMA, GAIN = (0.6, 1.7), (0.55, 1.45)
NOISE = 0.05  # of the sensor, at most: standard deviation as a fraction of white
BLUR = 0.15  # of motion, at most: its length as a fraction of the face's width
JPEG_QUALITY = (30, 95)
LUMA = (0.299, 0.587, 0.114)


def through_camera(image: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """An aligned face as a camera gives it.

    In this order: grey by other weights of the colours; roll, shift and scale of the crop by a detector that is not
    exact; the face's size on the sensor; motion blur; gamma and gain; noise that grows with the light; JPEG; and back
    to the size of the crop.

    :param image: uint8, (H, W) grey or (H, W, 3) RGB.
    :return: uint8, (H, W).
    """
    height, width = image.shape[:2]
    if image.ndim == 3:
        image = _grey(image, rng)
    size = int(rng.integers(FACE_PIXELS[0], FACE_PIXELS[1] + 1))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, ROLL_DEG), math.exp(rng.normal(0, SCALE)))
    turn[:, 2] += rng.normal(0, SHIFT, 2) * (width, height)
    face = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    face = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA if size < width else cv2.INTER_LINEAR)
    face = cv2.filter2D(face, -1, _motion(BLUR * size * rng.random(), rng.random() * math.pi))
    light = (face.astype(np.float32) / 255) ** rng.uniform(*GAMMA) * rng.uniform(*GAIN)
    light = np.clip(light, 0, 1)
    deviation = NOISE * rng.random() * np.sqrt(0.3 + light)
    seen = np.clip(light + deviation * rng.standard_normal(light.shape, np.float32), 0, 1)
    quality = int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    _, file = cv2.imencode(".jpg", (seen * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    face = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)
    return cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA if size > width else cv2.INTER_LINEAR)


def camera_views(images: Sequence[UInt8Image], names: Sequence[str], view: int = 0) -> list[UInt8Image]:
    """All images through the camera model; ``view`` numbers other draws of the same images.

    :param names: by which each image's parameters are drawn.
    """

    def one(image: UInt8Image, name: str) -> UInt8Image:
        return through_camera(image, np.random.default_rng([zlib.crc32(name.encode()), view]))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, images, names))


def seen_by_camera(samples: Samples) -> Samples:
    """The same samples through the camera model, in grey."""
    images = camera_views(samples.images, samples.names)
    return replace(samples, dataset=f"camera/{samples.dataset}", images=images)


def _grey(image: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """Grey by weights around the usual ones: sensors and converters differ."""
    weights = np.asarray(LUMA, np.float32) * rng.uniform(0.5, 1.5, 3).astype(np.float32)
    grey = cv2.transform(image, (weights / weights.sum())[None])
    return np.asarray(grey, np.uint8).reshape(image.shape[:2])


def _motion(length: float, angle: float) -> Float32Array:
    """The kernel of motion along a line, in pixels and radians."""
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    middle = side // 2
    for step in np.linspace(-length / 2, length / 2, 2 * side + 1):
        x, y = middle + step * math.cos(angle), middle + step * math.sin(angle)
        left, top = math.floor(x), math.floor(y)
        for column, across in ((left, 1 - x + left), (left + 1, x - left)):
            for row, down in ((top, 1 - y + top), (top + 1, y - top)):
                if 0 <= column < side and 0 <= row < side:
                    kernel[row, column] += across * down
    return kernel / kernel.sum()
