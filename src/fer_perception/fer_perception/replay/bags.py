"""Reading rosbags: which topics hold images, and their frames one after another."""

from __future__ import annotations

import re
import struct
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection

from fer_perception.errors import BagError, ImageError
from fer_perception.files import is_full
from fer_perception.images.messages import image_from_message
from fer_perception.images.stamps import ImageTime, StampCheck
from fer_perception.images.visibility import SensorRange
from fer_perception.replay.message_types import typestore
from fer_perception.replay.storage.recording import (
    DamagedFileError,
    find_files,
    form_of,
    messages_of,
    open_files,
    unpacked,
)
from fer_perception.types import UInt8Image

CDR = "cdr"
MAX_LISTED = 20
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class Bag:
    """A rosbag2 that is open for reading; a context. Topics whose messages are not CDR, ROS 2's form, are left out.

    ``start_ns``, ``end_ns``: when its first and last message were recorded. ``counts``: messages by topic, as the
    metadata say, where the files do not hold more. ``read``: messages by topic that were read. ``notes``: what is odd
    about the recording, in sentences.

    :param path: a bag's folder, or a single .mcap or .db3 file.
    :raises BagError: it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        files, metadata, self.notes = find_files(path)
        self._stack = ExitStack()
        try:
            self._files = open_files(files, self._stack)
        except DamagedFileError as error:
            self.close()
            raise self._damaged(error.reason, error.file if len(files) > 1 else None) from error
        self.connections: list[Connection] = []
        foreign: dict[str, str] = {}
        for connection in (connection for file in self._files for connection in file.connections):
            if form_of(connection) == CDR:
                digest = connection.digest or (metadata.digests.get(connection.topic, "") if metadata else "")
                self.connections.append(connection._replace(digest=digest))
            else:
                foreign[connection.topic] = form_of(connection) or "unknown"
        self._types = {connection.topic: connection.msgtype for connection in reversed(self.connections)}
        self.counts: Counter[str] = Counter(dict.fromkeys(self._types, 0))
        for connection in self.connections:
            self.counts[connection.topic] += connection.msgcount
        self.read: Counter[str] = Counter()
        filled = [file for file in self._files if file.end_time]
        self.start_ns = min((file.start_time for file in filled), default=0)
        self.end_ns = max((file.end_time - 1 for file in filled), default=0)
        if foreign:
            topics = ", ".join(f"{topic} ({form})" for topic, form in sorted(foreign.items()))
            self.notes.append(f"not read, as the messages are not {CDR.upper()}, the form of ROS 2: {topics}")
        if metadata:
            if filled and (found := metadata.contradictions(self.start_ns, self.end_ns, self.counts, self._types)):
                self.notes.append(f"the metadata contradict the messages, which count ({found})")
            self.counts |= Counter({topic: metadata.counts.get(topic, 0) for topic in self.counts})

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def type_of(self, topic: str) -> str | None:
        """The type of a topic's messages; None where the bag lacks the topic."""
        return self._types.get(topic)

    def image_topics(self) -> list[str]:
        """The topics of images, sorted."""
        return sorted(topic for topic, kind in self._types.items() if kind in IMAGE_TYPES)

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages in the order of recording, each with when it was recorded, in nanoseconds.

        :param start_ns: only from this time on.
        :param stop_ns: only before this time.
        :raises BagError: the bag is damaged.
        """
        try:
            for connection, time_ns, raw in messages_of(self._files, topics, CDR, start_ns, stop_ns):
                self.read[connection.topic] += 1
                yield connection, time_ns, unpacked(raw)
        except Exception as error:  # as above
            raise self._damaged(error) from error

    def _damaged(self, error: Exception, file: Path | None = None) -> BagError:
        """:param file: which one of several."""
        if is_full(error):
            return BagError(f"{self.path}: is compressed, and {gettempdir()} has no room for it. Set TMPDIR to another")
        others = "; the others can be given one by one" if file else ""
        return BagError(
            f"{file or self.path}: cannot be read ({type(error).__name__}: {error}){others}. Is it a rosbag2, and "
            "whole? A recording that was cut off is repaired by 'mcap recover' (mcap) or 'sqlite3 .recover', then "
            "'ros2 bag reindex'"
        )


def bag_name(path: Path) -> str:
    """What a bag is called: its folder, or its file without the storage's ending."""
    return re.sub(r"(\.mcap|\.db3)(\.zstd)?$", "", path.resolve().name)


def deserialize(raw: bytes, message_type: str) -> Any:
    """A message of the standard types or of fer_msgs.

    :raises BagError: the bytes are no such message.
    """
    try:
        return typestore().deserialize_cdr(raw, message_type)
    except Exception as error:  # rosbags' own errors, and those of struct, numpy and UTF-8
        raise BagError(f"{len(raw)} bytes are no {message_type} ({type(error).__name__}: {error})") from error


def choose_topics(bag: Bag, wanted: Sequence[str]) -> list[str]:
    """The image topics to evaluate.

    :param wanted: their names; empty: the only one.
    :raises BagError: a wanted one is missing or has no messages, there is none, or there are several and none is
        wanted.
    """
    images = bag.image_topics()
    listed = ", ".join(f"{topic} ({bag.type_of(topic)}, {bag.counts[topic]} messages)" for topic in images)
    if not images:
        others = [f"{topic} ({bag.type_of(topic)})" for topic in sorted(bag.counts)][:MAX_LISTED]
        held = [f"It has {', '.join(others)}" if others else "", *bag.notes]
        raise BagError(
            f"{bag.path}: holds no topic of {' or '.join(IMAGE_TYPES)}. Record the camera's images, too. "
            + ". ".join(part for part in held if part)
        )
    if absent := [topic for topic in wanted if topic not in images]:
        raise BagError(f"{bag.path}: has no image topic {', '.join(absent)}. It has {listed}")
    if not wanted and len(images) > 1:
        raise BagError(f"{bag.path}: has several image topics; choose by --topic: {listed}")
    chosen = list(dict.fromkeys(wanted)) or images
    if empty := [topic for topic in chosen if not bag.counts[topic]]:
        raise BagError(f"{bag.path}: {', '.join(empty)} holds no message. Was the camera running?")
    return chosen


def choose_topic(bag: Bag, wanted: Sequence[str]) -> str:
    """The one image topic to play; see :func:`choose_topics`.

    :raises BagError: as there, and where several are wanted.
    """
    chosen = choose_topics(bag, wanted)
    if len(chosen) > 1:
        raise BagError(f"{bag.path}: {', '.join(chosen)} are wanted. A live pipeline is shown one topic: give one")
    return chosen[0]


def image_transport(path: Path, wanted: Sequence[str]) -> str:
    """What a node's parameter of that name has to be for a bag's images: ``raw`` or ``compressed``.

    :raises BagError: see :func:`choose_topic`.
    """
    with Bag(path) as bag:
        return "compressed" if bag.type_of(choose_topic(bag, wanted)) == IMAGE_TYPES[1] else "raw"


@dataclass(frozen=True)
class Selection:
    """Which frames: from ``start_s`` to ``end_s`` (exclusive) after the bag's first message, every n-th of them."""

    start_s: float = 0.0
    end_s: float = float("inf")
    every: int = 1


@dataclass(frozen=True)
class Frame:
    """One image message. ``index``: its place in the topic, from 0, whatever is selected.

    ``stamp_ns``: the stamp of its header, or where it has none ``time_ns``, when it was recorded. ``taken``: the time
    that tracking and smoothing go by. ``image``: uint8, (H, W, 3), RGB, or None where the message is malformed; then
    ``rejected`` says why. ``bits``: how many of their 16 bits the images up to this one use, 0 for images of 8.
    """

    index: int
    stamp_ns: int
    time_ns: int
    taken: ImageTime
    image: UInt8Image | None
    rejected: str
    decode_ms: float
    bits: int = 0


def nanoseconds(stamp: Any) -> int:
    """A message's time (``sec``, ``nanosec``) in nanoseconds."""
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


def stamp_of(raw: bytes) -> int:
    """The stamp of a serialized message that begins with a header, in nanoseconds; 0 where it is too short for one."""
    if len(raw) < 12:
        return 0
    seconds, rest = struct.unpack(_stamp_layout(raw), raw[4:12])
    return int(seconds * 1_000_000_000 + rest)


def stamped(raw: bytes, time_ns: int) -> bytes:
    """A serialized image message; with a time in nanoseconds as its stamp where it has none."""
    if len(raw) < 12 or any(raw[4:12]):
        return raw
    return raw[:4] + struct.pack(_stamp_layout(raw), *divmod(time_ns, 1_000_000_000)) + raw[12:]


def _stamp_layout(raw: bytes) -> str:
    """Behind four bytes that say how the message is encoded come seconds and nanoseconds."""
    return "<iI" if raw[1] & 1 else ">iI"


def read_frames(
    bag: Bag, topic: str, selection: Selection, first: int = 0, sensor: SensorRange | None = None
) -> Generator[Frame, None, None]:
    """The selected frames of a topic, decoded, from the index ``first`` on.

    :param sensor: what is known of the range of 16-bit images; None: nothing.
    :raises BagError: the bag is damaged. A malformed message is a rejected frame instead.
    """
    start_ns = bag.start_ns + round(selection.start_s * 1e9)
    stop_ns = None if selection.end_s == float("inf") else bag.start_ns + round(selection.end_s * 1e9)
    stamps = StampCheck()
    sensor = sensor or SensorRange()
    # From the beginning, since otherwise neither the index of the first message nor its time would be known.
    for index, (connection, time_ns, raw) in enumerate(bag.messages([topic], stop_ns=stop_ns)):
        taken = stamps.judge(stamp_of(raw), time_ns)
        if index >= first and time_ns >= start_ns and index % selection.every == 0:
            yield read_frame(index, time_ns, raw, connection.msgtype, taken, sensor)


def read_frame(
    index: int,
    time_ns: int,
    raw: bytes,
    message_type: str,
    taken: ImageTime | None = None,
    sensor: SensorRange | None = None,
) -> Frame:
    """Decode one image message; see :class:`Frame`.

    :param taken: None: nothing is known of the images before; its own stamp serves.
    :param sensor: see :func:`read_frames`.
    """
    sensor = sensor or SensorRange()
    begun = time.perf_counter()
    image, rejected, stamp_ns = None, "", time_ns
    try:
        message = deserialize(raw, message_type)
        stamp_ns = nanoseconds(message.header.stamp) or time_ns
        image = image_from_message(message, sensor)
    except (BagError, ImageError) as error:
        rejected = str(error)
    taken = taken or ImageTime(stamp_ns, "")
    return Frame(index, stamp_ns, time_ns, taken, image, rejected, (time.perf_counter() - begun) * 1000, sensor.bits)
