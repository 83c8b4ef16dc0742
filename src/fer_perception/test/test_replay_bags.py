"""Bags as robots leave them: of both storages, raw and compressed, of two versions, and damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer

from fer_perception.errors import BagError
from fer_perception.replay.bags import Bag, Frame, Selection, choose_topics, read_frames
from fer_perception.replay.message_types import typestore
from fer_perception.replay.storage.new_bag import TOPIC, Item, write_bag

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (24, 32, 3), np.uint8) for _ in range(6)]
TEXT = "std_msgs/msg/String"


def frames_of(folder: Path, selection: Selection | None = None, first: int = 0) -> list[Frame]:
    with Bag(folder) as bag:
        (topic,) = choose_topics(bag, ())
        return list(read_frames(bag, topic, selection or Selection(), first))


def make(folder: Path, **options: object) -> Path:
    write_bag([Item(image) for image in IMAGES], folder, 10.0, **options)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("version", [8, 9])
@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        ("mcap", CompressionMode.NONE),
        ("mcap", CompressionMode.STORAGE),
        ("sqlite3", CompressionMode.NONE),
        ("sqlite3", CompressionMode.FILE),
        ("sqlite3", CompressionMode.MESSAGE),
    ],
)
def test_every_kind_of_bag(
    tmp_path: Path, storage: str, compression: CompressionMode, encoding: str, version: int
) -> None:
    folder = make(tmp_path / "bag", storage=storage, compression=compression, encoding=encoding, version=version)
    frames = frames_of(folder)
    assert [frame.index for frame in frames] == list(range(6))
    for frame, image in zip(frames, IMAGES, strict=True):
        np.testing.assert_array_equal(frame.image, image)
    assert [frame.stamp_ns - frames[0].stamp_ns for frame in frames] == [n * 100_000_000 for n in range(6)]


def test_jpeg_is_close(tmp_path: Path) -> None:
    image = np.full((24, 32, 3), (200, 100, 50), np.uint8)
    write_bag([Item(image)], tmp_path / "bag", 10.0, encoding="jpeg")
    with Bag(tmp_path / "bag") as bag:
        assert bag.type_of(f"{TOPIC}/compressed") == "sensor_msgs/msg/CompressedImage"
    np.testing.assert_allclose(frames_of(tmp_path / "bag")[0].image, image, atol=3)


def test_a_single_file_is_a_bag(tmp_path: Path) -> None:
    folder = make(tmp_path / "bag")
    assert len(frames_of(folder / "bag.mcap")) == 6


def test_time_range_and_every_nth_keep_the_index_of_the_topic(tmp_path: Path) -> None:
    folder = make(tmp_path / "bag")
    assert [frame.index for frame in frames_of(folder, Selection(0.1, 0.5))] == [1, 2, 3, 4]
    assert [frame.index for frame in frames_of(folder, Selection(every=2))] == [0, 2, 4]
    assert [frame.index for frame in frames_of(folder, Selection(0.1, every=3))] == [3]
    assert [frame.index for frame in frames_of(folder, first=4)] == [4, 5]


def test_several_image_topics_are_listed(tmp_path: Path) -> None:
    store = typestore()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic in ("/front", "/rear"):
            connection = writer.add_connection(topic, "sensor_msgs/msg/CompressedImage", typestore=store)
            header = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](0, 0), "")
            message = store.types["sensor_msgs/msg/CompressedImage"](header, "jpeg", np.zeros(3, np.uint8))
            writer.write(connection, 7, store.serialize_cdr(message, connection.msgtype))
    with Bag(tmp_path / "bag") as bag:
        with pytest.raises(BagError, match=r"choose by --topic: /front \(.*CompressedImage, 1 messages\), /rear"):
            choose_topics(bag, ())
        with pytest.raises(BagError, match=r"no image topic /left\. It has /front"):
            choose_topics(bag, ["/left"])
        assert choose_topics(bag, ["/rear", "/front"]) == ["/rear", "/front"]
        (frame,) = read_frames(bag, "/rear", Selection())
    assert frame.stamp_ns == 7  # no stamp: when it was recorded
    assert frame.image is None
    assert frame.rejected == "3 bytes are no JPEG, PNG or WebP"


def test_a_folder_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"nowhere: there is no such bag"):
        Bag(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match=r"empty: holds no .mcap or .db3 file. Give the folder of a bag"):
        Bag(tmp_path / "empty")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.9])
def test_a_truncated_file(tmp_path: Path, storage: str, kept: float) -> None:
    folder = tmp_path / "bag"
    noise = [Item(RNG.integers(0, 256, (240, 320, 3), np.uint8)) for _ in range(6)]
    write_bag(noise, folder, 10.0, storage=storage)  # type: ignore[arg-type]
    (file,) = (file for file in folder.iterdir() if file.suffix in (".mcap", ".db3"))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BagError, match=r"bag: cannot be read .*repaired by"):
        frames_of(folder)


def test_a_missing_storage_file(tmp_path: Path) -> None:
    folder = make(tmp_path / "bag")
    (folder / "bag.mcap").unlink()
    with pytest.raises(BagError, match=r"bag: holds no .mcap or .db3 file: bag.mcap missing"):
        Bag(folder)


def test_no_image_topic_and_no_message(tmp_path: Path) -> None:
    store = typestore()
    with Writer(tmp_path / "text", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.write(
            writer.add_connection("/chatter", TEXT, typestore=store),
            1,
            store.serialize_cdr(store.types[TEXT]("x"), TEXT),
        )
    with Bag(tmp_path / "text") as bag, pytest.raises(BagError, match=r"text: holds no topic of sensor_msgs/msg/Image"):
        choose_topics(bag, ())
    with Writer(tmp_path / "empty", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=store)
    with Bag(tmp_path / "empty") as bag, pytest.raises(BagError, match=r"empty: /image holds no message"):
        choose_topics(bag, ())


def test_messages_that_are_no_images_are_rejected_frames(tmp_path: Path) -> None:
    folder = make(tmp_path / "bag", encoding="png")
    broken = tmp_path / "broken"
    store = typestore()
    with Bag(folder) as bag, Writer(broken, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = f"{TOPIC}/compressed"
        connection = writer.add_connection(topic, "sensor_msgs/msg/CompressedImage", typestore=store)
        for index, (_, time_ns, raw) in enumerate(bag.messages([topic])):
            damaged = {2: raw[: len(raw) // 2], 4: raw[:-40] + bytes(40)}.get(index, raw)
            writer.write(connection, time_ns, damaged)
    frames = frames_of(broken)
    assert [frame.index for frame in frames if frame.rejected] == [2, 4]
    assert "are no sensor_msgs/msg/CompressedImage" in frames[2].rejected
    assert "are no readable JPEG, PNG or WebP" in frames[4].rejected
    shutil.rmtree(broken)
