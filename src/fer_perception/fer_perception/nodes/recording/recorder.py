"""Records what a graph publishes: a rosbag2 of the messages, a video and an image of the overlay."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from fer_perception.errors import FerError
from fer_perception.replay.message_types import typestore
from fer_perception.types import UInt8Image

QUEUE_LENGTH = 100


class BagRecorder:
    """Writes serialized messages to a rosbag2 (mcap, zstd) from a thread of its own.

    :param folder: the bag's folder; it must not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._typestore = typestore()
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        self._jobs = _JobThread("bag")

    def add_topic(self, topic: str, message_type: str) -> None:
        """Declare a topic before its first message."""
        self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=self._typestore)

    def write(self, topic: str, time_ns: int, serialized: bytes) -> None:
        """Record one message; waits only when the disk is far behind."""
        self._jobs.put(lambda: self._writer.write(self._connections[topic], time_ns, serialized))

    def close(self) -> None:
        """Write what is waiting and finish the bag."""
        self._jobs.close()
        self._writer.close()


class VideoRecorder:
    """Writes RGB images as a video from a thread of its own, and keeps the best one as an image.

    :param file: an ``.mp4`` file.
    :param snapshot: a ``.png`` file for the best image.
    :param fps: rate at which the video is played.
    """

    def __init__(self, file: Path, snapshot: Path, fps: float) -> None:
        self._file, self._snapshot, self._fps = file, snapshot, fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._best: tuple[float, UInt8Image] | None = None
        self._jobs = _JobThread("video")

    def write(self, image: UInt8Image, score: float) -> None:
        """Append an image: uint8, (H, W, 3), RGB; the one with the highest score becomes the image."""
        self._jobs.put(lambda: self._append(image, score))

    def close(self) -> None:
        """Finish the video and save the best image as a PNG, if there was any."""
        self._jobs.close()
        if self._writer is not None:
            self._writer.release()
        if self._best is not None:
            cv2.imwrite(str(self._snapshot), cv2.cvtColor(self._best[1], cv2.COLOR_RGB2BGR))

    def _append(self, image: UInt8Image, score: float) -> None:
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            self._writer = cv2.VideoWriter(str(self._file), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
            if not self._writer.isOpened():
                raise FerError(f"{self._file}: cannot be written. Is the folder writable?")
        if self._best is None or score > self._best[0]:
            self._best = (score, image)
        frame = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if (image.shape[1], image.shape[0]) != self._size:  # images of a folder differ
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(frame)


class _JobThread:
    """Runs jobs in order in a thread; the first error is raised by the next call."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LENGTH)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        self._raise_error()
        self._jobs.put(job)

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._raise_error()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is None:
                try:
                    job()
                except Exception as error:  # handed to the caller
                    self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
