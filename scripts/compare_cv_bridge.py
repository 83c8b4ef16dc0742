#!/usr/bin/env python3
"""Compares how the suite reads image messages with how cv_bridge does: the pixels, and the time.

    python scripts/compare_cv_bridge.py
    python scripts/compare_cv_bridge.py --size 1920x1080

For every encoding that the suite knows, a serialized message of random pixels is read and converted to RGB by each:
by rosbags and ``image_from_message``, as in the nodes, and by rclpy and ``CvBridge``. Needs cv_bridge
(ros-$ROS_DISTRO-cv-bridge, or built from source) and a sourced ROS 2. The exit status is 1 where cv_bridge knows an
encoding that the suite refuses, or where their pixels differ by more than rounding.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from cv_bridge import CvBridge, CvBridgeError
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.image.image import ENCODINGMAP
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image

from fer_perception.errors import ImageError
from fer_perception.images.messages import image_from_message
from fer_perception.types import UInt8Image

TYPESTORE = get_typestore(Stores.LATEST)
TURNS = 30
# 16 bits become 8 by truncation in the suite and by rounding in cv_bridge.
ROUNDING = 1


def random_message(encoding: str, width: int, height: int) -> bytes:
    """A serialized image."""
    _, _, dtype, channels = ENCODINGMAP[encoding]
    step = width * channels * np.dtype(dtype).itemsize
    pixels = np.random.default_rng(0).integers(0, 256, step * height, dtype=np.uint8)
    image = Image(height=height, width=width, encoding=encoding, step=step)
    image.data.frombytes(pixels.tobytes())
    return bytes(serialize_message(image))


def read_by_suite(serialized: bytes) -> UInt8Image:
    """RGB.

    :raises ImageError: the encoding is not known.
    """
    return image_from_message(TYPESTORE.deserialize_cdr(serialized, "sensor_msgs/msg/Image"))


def read_by_cv_bridge(serialized: bytes) -> UInt8Image:
    """RGB.

    :raises CvBridgeError: the encoding is not known.
    """
    return CvBridge().imgmsg_to_cv2(deserialize_message(serialized, Image), "rgb8")


def milliseconds(read: Callable[[bytes], UInt8Image], serialized: bytes) -> float:
    """Median of some readings."""
    read(serialized)
    taken = []
    for _ in range(TURNS):
        start = time.perf_counter()
        read(serialized)
        taken.append((time.perf_counter() - start) * 1e3)
    return median(taken)


def compare(encoding: str, width: int, height: int) -> tuple[str, bool]:
    """A row of the table, and whether the suite reads as much and the same."""
    serialized = random_message(encoding, width, height)
    images, times = [], []
    for read, unknown in ((read_by_suite, ImageError), (read_by_cv_bridge, CvBridgeError)):
        try:
            images.append(read(serialized).astype(int))
            times.append(f"{milliseconds(read, serialized):.2f}")
        except unknown:
            images.append(None)
            times.append("refused")
    suite, bridge = images
    if suite is None or bridge is None:
        return f"| {encoding} | | {times[0]} | {times[1]} |", bridge is None
    difference = int(np.abs(suite - bridge).max()) if suite.shape == bridge.shape else 255
    return f"| {encoding} | {difference} | {times[0]} | {times[1]} |", difference <= ROUNDING


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480", metavar="WxH", help="size of the images (default: %(default)s)")
    width, height = map(int, parser.parse_args().size.split("x"))
    print("| encoding | largest difference | suite, ms | cv_bridge, ms |\n|---|---|---|---|")
    same = True
    for encoding in ENCODINGMAP:
        row, equal = compare(encoding, width, height)
        same &= equal
        print(row, flush=True)
    sys.exit(0 if same else "cv_bridge reads more, or other pixels")


if __name__ == "__main__":
    main()
