"""JPEG and PNG to pixels."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from fer_perception.errors import ImageError
from fer_perception.types import UInt8Image

MAX_SIDE = 8192


def decode(data: Any) -> UInt8Image:
    """A JPEG or PNG as an RGB array: uint8, (H, W, 3). Of 16 bits the upper 8 are taken.

    Pillow is used since it says where a file is truncated, which OpenCV fills up in grey.

    :param data: the file's bytes.
    :raises ImageError: it is neither, is larger than 8192 pixels a side, or is truncated or corrupt.
    """
    try:
        with warnings.catch_warnings():
            # Of metadata, which is not used, and of the size, which is checked here.
            warnings.simplefilter("ignore")
            return _decode(data)
    except UnidentifiedImageError:
        raise ImageError(f"{len(data)} bytes are no JPEG or PNG") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers let out what they run into, even AssertionError and IndexError
        raise ImageError(f"{len(data)} bytes are no readable JPEG or PNG ({type(error).__name__}: {error})") from error


def _decode(data: Any) -> UInt8Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    if max(image.size) > MAX_SIDE:
        raise ImageError(f"image of {image.width} x {image.height} pixels: at most {MAX_SIDE} a side")
    image.load()
    if image.mode.startswith("I"):  # 16 bits, grey
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
