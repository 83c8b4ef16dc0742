"""Two thousand malformed images over real DDS: each is refused and counted, none harms the node.

Messages are written byte by byte, since most of them could not be made with ROS's message classes. All are drawn from
a seeded generator, so that every run sends the same.
"""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from fer_msgs.msg import EmotionArray, Latency, LatencyStatistics
from PIL import Image as PillowImage
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from fer_perception.nodes.base.subscription import transport_topic

Generator = np.random.Generator

RELIABLE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
CDR = b"\x00\x01\x00\x00"  # little endian
UINT32_MAX = 2**32 - 1

# Between receiving and processing lies one place, so messages are sent no faster than the node takes them.
BATCH, PACE_S, MAX_REPEATS = 25, 0.005, 8
MAX_GROWTH_MB = 50


# Messages ----------------------------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """A string or sequence that says it has another length than it has."""

    length: int
    content: bytes


def cdr(*fields: int | np.uint8 | bytes | Claim) -> bytes:
    """Serialized fields: 32-bit integers, bytes, strings and sequences of bytes."""
    body = bytearray()
    for field in fields:
        if isinstance(field, np.uint8):
            body.append(int(field))
            continue
        body += bytes(-len(body) % 4)
        if isinstance(field, int):
            body += struct.pack("<I", field % 2**32)
        else:
            length, content = field if isinstance(field, Claim) else (len(field), field)
            body += struct.pack("<I", length) + content
    return CDR + bytes(body)


IMAGE_PIXELS = bytes(range(256)) * 36
IMAGE: dict[str, Any] = {
    "sec": 1,
    "nanosec": 0,
    "frame_id": b"camera\0",
    "height": 48,
    "width": 64,
    "encoding": b"rgb8\0",
    "is_bigendian": np.uint8(0),
    "step": 192,
    "data": IMAGE_PIXELS,
}
COMPRESSED: dict[str, Any] = {"sec": 1, "nanosec": 0, "frame_id": b"camera\0", "format": b"jpeg\0", "data": b""}


def raw(**changes: Any) -> bytes:
    return cdr(*(IMAGE | changes).values())


def compressed(**changes: Any) -> bytes:
    return cdr(*(COMPRESSED | changes).values())


def any_stamp(rng: Generator) -> dict[str, int]:
    """Also ones that do not exist: before 1970, and with four thousand million nanoseconds."""
    seconds = [-5, 0, 1, 2**31 - 1, -(2**31), int(rng.integers(-(2**31), 2**31))]
    return {"sec": seconds[rng.integers(len(seconds))], "nanosec": int(rng.integers(2**32))}


def any_text(rng: Generator) -> bytes:
    """Of Latin letters, of any letters, of control characters, or very long; never an encoding's name."""
    kind, length = rng.integers(4), int(rng.integers(1, 40))
    if kind == 0:
        text = "".join(map(chr, rng.integers(65, 91, length)))
    elif kind == 1:
        text = "".join(map(chr, rng.integers(0x80, 0xD800, length)))
    elif kind == 2:
        text = "rgb8" + "".join(map(chr, rng.integers(1, 32, length)))
    else:
        text = "rgb8" * int(rng.integers(100, 10_000))
    return text.encode() + b"\0"


def wrong_step(rng: Generator) -> bytes:
    steps = [0, 1, 191, 193, UINT32_MAX, 2**31, int(rng.integers(192)), int(rng.integers(193, 2**32))]
    return raw(step=steps[rng.integers(len(steps))], **any_stamp(rng))


def wrong_data_length(rng: Generator) -> bytes:
    lengths = [0, 1, 9215, 9217, int(rng.integers(9216)), int(rng.integers(9217, 300_000))]
    return raw(data=bytes(lengths[rng.integers(len(lengths))]), **any_stamp(rng))


def wrong_encoding(rng: Generator) -> bytes:
    names = [
        b"\0",
        b"RGB\0",
        b"rgb8 \0",
        b"rgb8\0\0",
        b"8UC3\0",
        b"32FC1\0",
        b"rgb16\0",
        b"rgba8\0",
        b"nv12\0",
        b"h264\0",
    ]
    encoding = names[rng.integers(len(names))] if rng.random() < 0.5 else any_text(rng)
    return raw(encoding=encoding, is_bigendian=np.uint8(rng.integers(256)), **any_stamp(rng))


def wrong_size(rng: Generator) -> bytes:
    sides = [0, 8193, 65_536, 100_000, 2**31, UINT32_MAX, int(rng.integers(8193, 2**32))]
    name = ("height", "width")[rng.integers(2)]
    changes: dict[str, Any] = {name: sides[rng.integers(len(sides))]}
    if rng.random() < 0.3:  # so large that a product of 32 bits would be what it should
        changes |= {"width": 65_536, "height": 65_536, "step": 65_536, "data": b""}
    return raw(**changes, **any_stamp(rng))


def planar_or_odd(rng: Generator) -> bytes:
    """Encodings that the library knows and that do not go with the size."""
    name, channels = [(b"nv12\0", 1), (b"nv21\0", 1), (b"yuv422\0", 2), (b"yuyv\0", 2)][rng.integers(4)]
    width, height = 2 * int(rng.integers(1, 100)) + 1, int(rng.integers(1, 100))
    step = width * channels
    return raw(encoding=name, width=width, height=height, step=step, data=rng.bytes(step * height))


def truncated_message(rng: Generator, message: bytes) -> bytes:
    return message[: rng.integers(1, len(message) - 4)]


def nothing(rng: Generator) -> bytes:
    """What a publisher that never filled its message sends."""
    return CDR + bytes(int(rng.integers(40, 60)))


def garbage(rng: Generator) -> bytes:
    """Bytes that are no message at all."""
    start = [b"", CDR, b"\x00\x00\x00\x00", b"\x00\x07\x00\x00", b"\x00\x03\x00\x00"][rng.integers(5)]
    return start + rng.bytes(int(rng.integers(1, 3000)))


def lying_message(rng: Generator, image: Callable[..., bytes], names: tuple[str, ...]) -> bytes:
    """Lengths that reach beyond the end, strings that do not end, texts that are no UTF-8, bytes left over."""
    kind, name = rng.integers(4), names[rng.integers(len(names))]
    if kind == 0:
        lengths = [UINT32_MAX, 2**31, 2**31 - 1, int(rng.integers(100_000, 2**32))]
        return image(**{name: Claim(lengths[rng.integers(len(lengths))], b"rgb8\0")})
    if kind == 1:
        return image(frame_id=[Claim(0, b""), b"camera"][rng.integers(2)])
    if kind == 2:
        return image(**{names[0]: b"\xff\xfe\xed" + rng.bytes(5) + b"\0"})
    return image() + bytes(int(rng.integers(8, 200)))


def malformed_images(rng: Generator) -> Iterator[bytes]:
    kinds: list[Callable[[Generator], bytes]] = [
        wrong_step,
        wrong_data_length,
        wrong_encoding,
        wrong_size,
        planar_or_odd,
        nothing,
        garbage,
        lambda rng: truncated_message(rng, raw()),
        lambda rng: lying_message(rng, raw, ("frame_id", "encoding", "data")),
    ]
    while True:
        yield kinds[rng.integers(len(kinds))](rng)


def encoded(pixels: np.ndarray, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def bomb(rng: Generator, jpeg: bytes) -> bytes:
    """A file of a few kilobytes that claims to be a image of up to ten thousand million pixels."""
    width, height = (int(side) for side in rng.integers(8193, 65_536, 2))
    if rng.random() < 0.5:
        start_of_frame = jpeg.index(b"\xff\xc0")
        return jpeg[: start_of_frame + 5] + struct.pack(">HH", height, width) + jpeg[start_of_frame + 9 :]
    if rng.random() < 0.5:
        width = height = 100_000
    header, data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), zlib.compress(bytes(10_000))
    chunks = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def malformed_files(rng: Generator, portrait: np.ndarray) -> Iterator[bytes]:
    small = portrait[::4, ::4]
    jpeg, png = encoded(small, "JPEG"), encoded(small, "PNG")
    whole = [
        jpeg,
        png,
        encoded(small, "JPEG", progressive=True),
        encoded(small[..., 0], "JPEG"),
        encoded(portrait, "JPEG"),
        encoded(small, "WEBP"),
    ]
    others = [encoded(small, file_format) for file_format in ("BMP", "GIF", "TIFF", "PPM")]

    def truncated_file(rng: Generator) -> bytes:
        file = whole[rng.integers(len(whole))]
        return file[: rng.integers(0, len(file) - 64)]

    def overwritten_file(rng: Generator) -> bytes:
        file = bytearray(whole[rng.integers(len(whole))])
        file[: rng.integers(2, 20)] = rng.bytes(20)
        return bytes(file)

    files: list[Callable[[Generator], bytes]] = [
        truncated_file,
        truncated_file,
        overwritten_file,
        lambda rng: bomb(rng, jpeg),
        lambda rng: others[rng.integers(len(others))],
        lambda rng: rng.bytes(int(rng.integers(5000))),
    ]
    formats = [b"jpeg\0", b"png\0", b"bgr8; jpeg compressed bgr8\0", b"16UC1; compressedDepth\0", b"\0"]
    while True:
        kind = rng.integers(10)
        if kind == 0:
            yield garbage(rng)
        elif kind == 1:
            yield truncated_message(rng, compressed(data=jpeg))
        elif kind == 2:
            yield lying_message(rng, compressed, ("frame_id", "format", "data"))
        else:
            file_format = formats[rng.integers(len(formats))] if rng.random() < 0.7 else any_text(rng)
            yield compressed(format=file_format, data=files[rng.integers(len(files))](rng), **any_stamp(rng))


def strange_portraits(rng: Generator, portrait: np.ndarray) -> Iterator[bytes]:
    """Good images whose stamps and names are not."""
    height, width = portrait.shape[:2]
    while True:
        frame_id = [any_text(rng), b"\0", b"camera\0left\0"][rng.integers(3)]
        size = {"height": height, "width": width, "step": width * 3, "data": portrait.tobytes()}
        yield raw(**size, frame_id=frame_id, **any_stamp(rng))


def strange_portrait_files(rng: Generator, portrait: np.ndarray) -> Iterator[bytes]:
    files = [encoded(portrait, "JPEG"), encoded(portrait, "PNG")]
    while True:
        yield compressed(data=files[rng.integers(2)], format=any_text(rng), frame_id=any_text(rng), **any_stamp(rng))


# Test --------------------------------------------------------------------------------------------------------------


class Counters(NamedTuple):
    """What a node has counted since its start."""

    rejected: int
    dropped: int


class Target:
    """A fer_node, and a publisher of which nothing is lost on the way to it."""

    def __init__(self, graph: Any, message_type: type, transport: str) -> None:
        self._graph, self._message_type = graph, message_type
        graph.collect(Latency, "latency")
        graph.collect(EmotionArray, "emotions")
        graph.collect(LatencyStatistics, "latency_statistics")
        self.process = graph.start("fer_node", image_transport=transport, image_reliability="reliable", image_depth=100)
        # Not on Graph's image publisher, which keeps but one image.
        self._topic = transport_topic("image", transport == "compressed")
        self._publisher = graph.node.create_publisher(message_type, self._topic, RELIABLE)
        names = [graph.node.resolve_topic_name(topic) for topic in ("latency", "emotions", "latency_statistics")]
        graph.until(
            lambda: self._publisher.get_subscription_count() and all(graph.node.count_publishers(n) for n in names)
        )
        graph.spin(1.0)

    def ask(self, message: bytes) -> Counters:
        """Send a good image and wait for its answer, in which all earlier messages are counted."""
        latencies, emotions = (self._graph.received[topic] for topic in ("latency", "emotions"))
        answered = len(latencies)
        self._publisher.publish(message)
        self._graph.until(lambda: len(latencies) > answered and len(emotions) == len(latencies), 20)
        assert len(latencies) == answered + 1
        assert latencies[-1].faces == len(emotions[-1].emotions) == 1
        return Counters(latencies[-1].rejected_frames, latencies[-1].dropped_frames)

    def send(self, messages: list[bytes], pace_s: float) -> None:
        for message in messages:
            self._publisher.publish(message)
            time.sleep(pace_s)

    def send_empty(self) -> None:
        """Send no byte at all, from a publisher of its own: Fast DDS never delivers that, nor what follows it."""
        publisher = self._graph.node.create_publisher(self._message_type, self._topic, RELIABLE)
        self._graph.until(publisher.get_subscription_count)
        publisher.publish(b"")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def bombard(target: Target, malformed: Iterator[bytes], good: Iterator[bytes], count: int) -> tuple[int, Counters]:
    """Send so many malformed messages in batches, each with a good image behind it.

    A batch of which one was dropped is sent again, more slowly: in the end each message was refused, not only lost.

    :return: how many were sent, and what the node counted.
    """
    before, sent, pace_s = target.ask(next(good)), 0, PACE_S
    for _ in range(count // BATCH):
        batch = [next(malformed) for _ in range(BATCH)]
        for _ in range(MAX_REPEATS):
            target.send(batch, pace_s)
            sent += len(batch)
            after = target.ask(next(good))
            rejected, dropped = after.rejected - before.rejected, after.dropped - before.dropped
            assert rejected + dropped == len(batch), "messages were lost, or accepted"
            before = after
            if not dropped:
                break
            pace_s *= 2
        else:
            pytest.fail(f"the node still drops messages that come every {pace_s * 1000:.0f} ms")
        pace_s = max(PACE_S, pace_s * 0.9)
    return sent, before


@pytest.mark.parametrize(
    ("transport", "count"),
    [
        ("raw", 200),
        ("compressed", 100),
        pytest.param("raw", 1500, marks=pytest.mark.slow),
        pytest.param("compressed", 500, marks=pytest.mark.slow),
    ],
)
def test_malformed_messages_are_refused_and_do_no_harm(
    graph: Any, portrait: np.ndarray, transport: str, count: int
) -> None:
    rng, is_raw = np.random.default_rng(20), transport == "raw"
    target = Target(graph, Image if is_raw else CompressedImage, transport)
    good = strange_portraits(rng, portrait) if is_raw else strange_portrait_files(rng, portrait)
    malformed = malformed_images(rng) if is_raw else malformed_files(rng, portrait)
    warm_up, _ = bombard(target, malformed, good, 4 * BATCH)
    memory_mb = target.memory_mb()
    target.send_empty()

    sent, counters = bombard(target, malformed, good, count)

    growth_mb = target.memory_mb() - memory_mb
    graph.spin(1.5)  # the last statistics
    totals = {
        name: sum(getattr(statistics, name) for statistics in graph.received["latency_statistics"])
        for name in ("received", "answered", "dropped", "rejected")
    }
    print(f"{transport}: {totals}, {memory_mb:.0f} MB, grew by {growth_mb:.1f} MB")
    assert counters.rejected >= count + 4 * BATCH
    assert counters.rejected + counters.dropped == sent + warm_up
    assert totals["received"] == totals["answered"] + totals["dropped"] + totals["rejected"]
    assert (totals["rejected"], totals["dropped"]) == counters
    assert totals["answered"] == len(graph.received["latency"])
    assert growth_mb < MAX_GROWTH_MB
    assert target.process.running()
    log = target.process.output
    assert re.search(r"message skipped \([12] so far\)", log)  # two threads refuse
    assert "Traceback" not in log
    assert "Warning:" not in log
    assert len(log) < 50_000
    assert target.process.stop() == 0
