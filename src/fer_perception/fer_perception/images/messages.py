"""The pixels of image messages, whoever has read them: rclpy, or rosbags where there is no ROS.

Colour conversion is rosbags-image's, which is quicker than cv_bridge, knows more encodings, and does not depend on the
numpy that the distribution was built with: scripts/compare_cv_bridge.py compares them.
"""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from rosbags.image.image import ENCODINGMAP, convert_color

from fer_perception.errors import ImageError
from fer_perception.images.decoding import KNOWN, MAX_SIDE, decode
from fer_perception.images.visibility import SensorRange
from fer_perception.types import UInt8Image

# One channel has no order of colours; of 8UC3 nobody knows whether it is RGB or BGR.
OTHER_NAMES = {"8uc1": "mono8", "16uc1": "mono16"}
# After the rows of Y those of U and V in turns, at half the width and height.
PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
PUBLISH = "publish rgb8, bgr8 or mono8"
KNOWN_FORMATS = ("jpeg", "jpg", "png", "webp")
BAYER = re.compile("(bayer_(?:rggb|bggr|gbrg|grbg))(?:8|16)")
# By what the format of a CompressedImage holds.
OTHER_FORMATS = {
    "compresseddepth": "it holds distances, not a picture. Take the topic of the camera's colour or infrared images",
    "h26": "it is a film, whose images need those before them. Publish sensor_msgs/Image, or JPEG",
    "hevc": "it is a film, whose images need those before them. Publish sensor_msgs/Image, or JPEG",
}


def image_from_message(message: Any, sensor: SensorRange | None = None) -> UInt8Image:
    """An Image or CompressedImage message, also one that rosbags has read, as an RGB array: uint8, (H, W, 3).

    It may share the message's memory.

    :param sensor: of the stream, for images of 16 bits; None: the image's own.
    :raises ImageError: encoding, size, step and data do not fit together, or the encoding is not known.
    """
    sensor = sensor or SensorRange()
    if hasattr(message, "format"):
        return _decoded(message, sensor)
    width, height = message.width, message.height
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ImageError(f"image of {width} x {height} pixels: both sides must lie between 1 and {MAX_SIDE}")
    encoding = message.encoding.lower()
    encoding = OTHER_NAMES.get(encoding, encoding)
    if encoding not in ENCODINGMAP:
        raise ImageError(f"encoding {message.encoding[:40]!r} is not known: {PUBLISH}")
    if encoding in PLANAR:
        return _planar(message, encoding)
    pixels = _pixels(message, encoding)
    if pixels.dtype == np.uint16:
        pixels, encoding = sensor.to_8_bits(pixels), encoding.replace("16", "8")
    try:
        return np.asarray(convert_color(pixels, encoding, "rgb8"))
    except Exception as error:  # OpenCV's and numpy's errors for a layout that cannot be converted
        raise ImageError(f"encoding '{message.encoding}' cannot be converted to RGB ({error}): {PUBLISH}") from error


def _decoded(message: Any, sensor: SensorRange) -> UInt8Image:
    try:
        image = decode(message.data, sensor)
        # image_transport compresses a colour filter's values as they are.
        found = BAYER.match(message.format.lower())
        if found and np.array_equal(image[..., 0], image[..., 1]):
            return np.asarray(convert_color(np.ascontiguousarray(image[..., 0]), f"{found[1]}8", "rgb8"))
        return image
    except ImageError as error:
        name = message.format[:60]
        for part, remedy in OTHER_FORMATS.items():
            if part in name.lower():
                raise ImageError(f"CompressedImage of the format {name!r} is not supported: {remedy}") from None
        if {*KNOWN_FORMATS} & {*re.findall("[a-z0-9]+", name.lower())}:
            raise
        raise ImageError(f"{error}; its format says {name!r}. Publish {KNOWN}, or sensor_msgs/Image") from None


def _pixels(message: Any, encoding: str) -> Any:
    """The values as they were sent: uint8 or uint16, (H, W) or (H, W, channels)."""
    width, height, step = message.width, message.height, message.step
    _, _, dtype, channels = ENCODINGMAP[encoding]
    row = width * channels * np.dtype(dtype).itemsize
    if step < row:
        raise ImageError(f"step {step} is less than the {row} bytes of {width} pixels in {message.encoding}")
    if len(message.data) != step * height:
        raise ImageError(f"{len(message.data)} bytes of data where step x height is {step * height}")
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    byte_order = ">" if message.is_bigendian else "<"
    pixels = np.ascontiguousarray(rows).view(np.dtype(dtype).newbyteorder(byte_order))
    return pixels.astype(dtype, copy=False).reshape((height, width, channels) if channels > 1 else (height, width))


def _planar(message: Any, encoding: str) -> UInt8Image:
    width, height, step = message.width, message.height, message.step
    if width % 2 or height % 2:
        raise ImageError(f"image of {width} x {height} pixels in {message.encoding}: both sides must be even")
    rows, length = height * 3 // 2, len(message.data)
    # A driver may tell the step that makes step x height the number of bytes.
    step = width if length == width * rows else step
    if step < width or length != step * rows:
        raise ImageError(
            f"{length} bytes of data where {message.encoding} has step x height x 3/2, which is {step * rows}"
        )
    pixels = np.frombuffer(message.data, np.uint8).reshape(rows, step)[:, :width]
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), PLANAR[encoding]))
