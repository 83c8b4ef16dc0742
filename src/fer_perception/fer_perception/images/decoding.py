"""JPEG, PNG and WebP to pixels."""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from fer_perception.errors import ImageError
from fer_perception.images.visibility import SensorRange
from fer_perception.types import UInt8Image

MAX_SIDE = 8192
KNOWN = "JPEG, PNG or WebP"
# Where a PNG says how many bits a value has.
PNG_DEPTH = 24


def decode(data: Any, sensor: SensorRange | None = None) -> UInt8Image:
    """A JPEG, PNG or WebP as an RGB array: uint8, (H, W, 3).

    Pillow is used since it says where a file is truncated, which OpenCV fills up in grey.

    :param data: the file's bytes.
    :param sensor: of the stream, for images of 16 bits; None: the image's own.
    :raises ImageError: it is none of these, is larger than 8192 pixels a side, or is truncated or corrupt.
    """
    try:
        with warnings.catch_warnings():
            # Of metadata, which is not used, and of the size, which is checked here.
            warnings.simplefilter("ignore")
            return _decode(data, sensor or SensorRange())
    except UnidentifiedImageError:
        raise ImageError(f"{len(data)} bytes are no {KNOWN}") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers let out what they run into, even AssertionError and IndexError
        raise ImageError(f"{len(data)} bytes are no readable {KNOWN} ({type(error).__name__}: {error})") from error


def _decode(data: Any, sensor: SensorRange) -> UInt8Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
    if max(image.size) > MAX_SIDE:
        raise ImageError(f"image of {image.width} x {image.height} pixels: at most {MAX_SIDE} a side")
    image.load()
    if image.format == "PNG" and data[PNG_DEPTH] == 16:  # of colours Pillow gives the upper bytes alone
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return np.asarray(cv2.cvtColor(sensor.to_8_bits(pixels), cv2.COLOR_BGR2RGB))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
