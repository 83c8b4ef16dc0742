"""Encoded images to pixels: those of messages, and files.

Pillow is used since it says where an image is truncated, which OpenCV fills up in grey.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_perception.errors import ImageError
from fer_perception.images.visibility import SensorRange
from fer_perception.types import UInt8Image

MAX_SIDE = 8192
KNOWN = "JPEG, PNG or WebP"
# Formats of which Pillow gives the upper bytes of 16 bits alone, or clips them.
WIDE = ("PNG", "TIFF", "PPM")


def decode(data: Any, sensor: SensorRange | None = None) -> UInt8Image:
    """A JPEG, PNG or WebP as an RGB array: uint8, (H, W, 3), as it is stored, whatever orientation its metadata tell.

    :param data: the file's bytes.
    :param sensor: of the stream, for images of 16 bits; None: the image's own.
    :raises ImageError: it is none of these, is larger than 8192 pixels a side, or is truncated or corrupt.
    """
    try:
        with warnings.catch_warnings():
            # Of metadata, which is not used, and of the size, which is checked here.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP"))
            if max(image.size) > MAX_SIDE:
                raise ImageError(f"image of {image.width} x {image.height} pixels: at most {MAX_SIDE} a side")
            return _pixels(image, data, sensor, upright=False)
    except UnidentifiedImageError:
        raise ImageError(f"{len(data)} bytes are no {KNOWN}") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers let out what they run into, even AssertionError and IndexError
        raise ImageError(f"{len(data)} bytes are no readable {KNOWN} ({type(error).__name__}: {error})") from error


def read_image(file: Path, sensor: SensorRange | None = None) -> UInt8Image:
    """An image file as an RGB array: uint8, (H, W, 3), turned as its EXIF data says; of an animated one the first.

    :param sensor: of the camera, for images of 16 bits; None: the image's own.
    :raises ImageError: it is missing, truncated, damaged or no image, or has more than some 179 million pixels,
        Pillow's limit against bombs.
    """
    try:
        data = file.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _pixels(Image.open(io.BytesIO(data)), data, sensor, upright=True)
    except FileNotFoundError as error:
        raise ImageError(f"{file}: is missing. Copy it there, or delete what names it") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{file}: too large an image ({error}). Shrink it first") from error
    except UnidentifiedImageError:
        raise ImageError(f"{file}: not a readable image, or of an unknown format. Delete or replace it") from None
    except Exception as error:  # as above
        raise ImageError(f"{file}: not a readable image ({error}). Delete or replace it") from error


def _pixels(image: Image.Image, data: Any, sensor: SensorRange | None, upright: bool) -> UInt8Image:
    is_wide = image.format in WIDE and ";16" in str(getattr(image, "tile", ""))  # in what is to be decoded
    image.load()
    if is_wide:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return np.asarray(cv2.cvtColor((sensor or SensorRange()).to_8_bits(pixels), cv2.COLOR_BGR2RGB))
    if upright:
        image = ImageOps.exif_transpose(image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
