"""The pixels of image messages, whoever has read them: rclpy, or rosbags where there is no ROS.

Colour conversion is rosbags-image's, which is quicker than cv_bridge, knows more encodings, and does not depend on the
numpy that the distribution was built with: scripts/compare_cv_bridge.py compares them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.image.image import ENCODINGMAP, convert_color

from fer_perception.errors import ImageError
from fer_perception.images.decoding import MAX_SIDE, decode
from fer_perception.types import UInt8Image


def image_from_message(message: Any) -> UInt8Image:
    """An Image or CompressedImage message, also one that rosbags has read, as an RGB array: uint8, (H, W, 3).

    It may share the message's memory.

    :raises ImageError: encoding, size, step and data do not fit together, or the encoding is not known.
    """
    if hasattr(message, "format"):
        return decode(message.data)
    width, height, step = message.width, message.height, message.step
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ImageError(f"image of {width} x {height} pixels: both sides must lie between 1 and {MAX_SIDE}")
    # Only encodings that name their colours: of 8UC3 nobody knows whether it is RGB or BGR.
    if message.encoding not in ENCODINGMAP:
        raise ImageError(f"encoding {message.encoding[:40]!r} is not known: publish rgb8, bgr8 or mono8")
    _, _, dtype, channels = ENCODINGMAP[message.encoding]
    row = width * channels * np.dtype(dtype).itemsize
    if step < row:
        raise ImageError(f"step {step} is less than the {row} bytes of {width} pixels in {message.encoding}")
    if len(message.data) != step * height:
        raise ImageError(f"{len(message.data)} bytes of data where step x height is {step * height}")
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    byte_order = ">" if message.is_bigendian else "<"
    pixels = np.ascontiguousarray(rows).view(np.dtype(dtype).newbyteorder(byte_order))
    pixels = pixels.astype(dtype, copy=False).reshape((height, width, channels) if channels > 1 else (height, width))
    encoding = message.encoding
    if dtype == "uint16":  # the upper byte is all that is used; rosbags-image converts by way of floating point
        pixels, encoding = (pixels >> 8).astype(np.uint8), encoding.replace("16", "8")
    try:
        rgb = np.asarray(convert_color(pixels, encoding, "rgb8"))
    except Exception as error:  # OpenCV's and numpy's errors for a layout that cannot be converted
        raise ImageError(f"encoding '{message.encoding}' cannot be converted to RGB ({error})") from error
    if rgb.shape != (height, width, 3):  # planar encodings, whose height is not the image's
        raise ImageError(f"encoding '{message.encoding}' cannot be converted to RGB: publish rgb8, bgr8 or mono8")
    return rgb
