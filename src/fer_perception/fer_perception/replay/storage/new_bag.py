"""Writing a bag of images, and of labels where there are any."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from fer_perception.errors import SourceError
from fer_perception.files import made_folder
from fer_perception.replay.ground_truth import LABEL_TOPIC, TEXT
from fer_perception.replay.message_types import typestore
from fer_perception.types import UInt8Image

# Every bag begins at the same time, so that the same source gives the same bag.
START_NS = 1_000_000_000_000_000_000
TOPIC = "/camera/image_raw"
JPEG_QUALITY = 95
Encoding = Literal["raw", "jpeg", "png"]


@dataclass(frozen=True)
class Item:
    """An image, uint8, (H, W, 3), RGB, and what it shows.

    ``new``: it is not the same image as the one before. ``time_s``: when it is shown, in seconds after the first; None:
    at the bag's rate.
    """

    image: UInt8Image
    label: str = ""
    new: bool = False
    time_s: float | None = None


def write_bag(
    items: Iterable[Item],
    out: Path,
    fps: float,
    encoding: Encoding = "raw",
    topic: str = TOPIC,
    storage: Literal["mcap", "sqlite3"] = "mcap",
    version: Literal[8, 9] = 9,
    compression: CompressionMode = CompressionMode.NONE,
) -> int:
    """Write images, and labels where there are any, as a new bag. Returns the number of images.

    :param fps: images per second, for those that have no time of their own.
    :param encoding: raw is ``rgb8``; jpeg and png are CompressedImage on TOPIC/compressed.
    :param version: of the bag's format.
    :param compression: of the storage, by zstd.
    :raises FerError: there is no image, the bag exists already, or its folder cannot be written.
    """
    if out.exists():
        raise SourceError(f"{out}: exists already. Delete it, or choose another --out")
    with made_folder(out):
        out.mkdir(parents=True)
        out.rmdir()  # the writer makes it
    try:
        count = _write(items, out, fps, encoding, topic, storage, version, compression)
        if not count:
            raise SourceError("the source gave no image")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)  # half a bag is none
        raise
    return count


def _write(
    items: Iterable[Item],
    out: Path,
    fps: float,
    encoding: Encoding,
    topic: str,
    storage: str,
    version: Literal[8, 9],
    compression: CompressionMode,
) -> int:
    writer = Writer(out, version=version, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    kind = "sensor_msgs/msg/Image" if encoding == "raw" else "sensor_msgs/msg/CompressedImage"
    with writer:
        name = topic if encoding == "raw" else f"{topic}/compressed"
        images = writer.add_connection(name, kind, typestore=typestore())
        labels: Connection | None = None
        count, last = 0, ""
        for item in items:
            time_ns = START_NS + round(count * 1e9 / fps if item.time_s is None else item.time_s * 1e9)
            if item.label and labels is None:
                labels = writer.add_connection(LABEL_TOPIC, TEXT, typestore=typestore())
            if labels and (item.new or item.label != last):
                # An empty label ends an interval: two images of one emotion are two intervals.
                for text in ("", item.label) if item.label == last else (item.label,):
                    writer.write(labels, time_ns, _serialized(TEXT, data=text))
                last = item.label
            writer.write(images, time_ns, _image_message(item.image, time_ns, encoding))
            count += 1
    return count


def _image_message(image: UInt8Image, time_ns: int, encoding: Encoding) -> bytes:
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=time_ns // 1_000_000_000, nanosec=time_ns % 1_000_000_000)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera_optical_frame")
    if encoding != "raw":
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if encoding == "jpeg" else []
        data = cv2.imencode(f".{encoding}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
        return _serialized("sensor_msgs/msg/CompressedImage", header=header, format=encoding, data=data.ravel())
    height, width = image.shape[:2]
    return _serialized(
        "sensor_msgs/msg/Image",
        header=header,
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=width * 3,
        data=np.ascontiguousarray(image).ravel(),
    )


def _serialized(message_type: str, **fields: Any) -> bytes:
    return bytes(typestore().serialize_cdr(typestore().types[message_type](**fields), message_type))
