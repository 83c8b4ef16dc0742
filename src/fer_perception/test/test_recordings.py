"""Recordings whose metadata are wrong, MCAP files of other writers, and stamps that are not the images' times."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
import zstandard
from mcap.writer import CompressionType, IndexType, Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter

from fer_perception.errors import BagError
from fer_perception.replay.bags import Bag, Selection, bag_name, choose_topics, read_frames, stamp_of
from fer_perception.replay.message_types import typestore
from fer_perception.replay.storage.new_bag import START_NS, TOPIC, Item, write_bag

SECOND = 1_000_000_000
IMAGES = [np.full((4, 6, 3), value, np.uint8) for value in range(6)]
KIND = "sensor_msgs/msg/Image"
CHUNKED = {"use_chunking": True, "chunk_size": 200}


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, bytes]]:
    """Six images at 10 Hz, serialized, each with its time."""
    folder = tmp_path_factory.mktemp("source") / "bag"
    write_bag([Item(image) for image in IMAGES], folder, 10.0)
    with Bag(folder) as bag:
        return [(time_ns, raw) for _, time_ns, raw in bag.messages([TOPIC])]


def shown(path: Path, selection: Selection | None = None) -> list[tuple[int, int]]:
    """Of each image of a bag its index, and the value of its pixels."""
    with Bag(path) as bag:
        (topic,) = choose_topics(bag, ())
        frames = list(read_frames(bag, topic, selection or Selection()))
    return [(frame.index, int(frame.image[0, 0, 0])) for frame in frames if frame.image is not None]


ALL = [(index, index) for index in range(6)]


def write_mcap(
    file: Path,
    messages: list[tuple[int, bytes]],
    profile: str = "ros2",
    encoding: str = "cdr",
    name: str = KIND,
    foreign: str = "",
    **options: object,
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        writer = Writer(stream, **{"compression": CompressionType.NONE, **options})  # type: ignore[arg-type]
        writer.start(profile)
        channel = writer.register_channel(TOPIC, encoding, writer.register_schema(name, "ros2msg", b""))
        log = writer.register_channel("/log", foreign, writer.register_schema("Log", "jsonschema", b"\xff{}"))
        for time_ns, raw in messages:
            writer.add_message(channel, log_time=time_ns, publish_time=time_ns, data=raw)
            if foreign:
                writer.add_message(log, log_time=time_ns, publish_time=time_ns, data=b"{}")
        writer.finish()
    return file


def split(folder: Path, messages: list[tuple[int, bytes]], storage: str) -> Path:
    """Three files of two images, and metadata that are right."""
    folder.mkdir()
    for number in range(3):
        with BagWriter(folder / "x", version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
            connection = writer.add_connection(TOPIC, KIND, typestore=typestore())
            for time_ns, raw in messages[2 * number : 2 * number + 2]:
                writer.write(connection, time_ns, raw)
        content = yaml.safe_load((folder / "x" / "metadata.yaml").read_text())
        (file,) = (file for file in (folder / "x").iterdir() if file.suffix != ".yaml")
        file.rename(folder / f"{folder.name}_{number}{file.suffix}")
        shutil.rmtree(folder / "x")
    bag = content["rosbag2_bagfile_information"]
    bag["relative_file_paths"] = [f"{folder.name}_{number}{file.suffix}" for number in range(3)]
    bag["starting_time"]["nanoseconds_since_epoch"] = START_NS
    bag["duration"]["nanoseconds"] = SECOND // 2
    bag["message_count"] = bag["topics_with_message_count"][0]["message_count"] = 6
    (folder / "metadata.yaml").write_text(yaml.dump(content))
    return folder


def change(folder: Path, **values: object) -> None:
    file = folder / "metadata.yaml"
    content = yaml.safe_load(file.read_text())
    content["rosbag2_bagfile_information"].update(values)
    file.write_text(yaml.dump(content))


LAST = {"starting_time": {"nanoseconds_since_epoch": START_NS + 4 * SECOND // 10}}
IMAGE_OF_NO_TYPE = {"message_count": 6, "topic_metadata": {"name": TOPIC, "type": "x/msg/Y"}}
SHORT = {"duration": {"nanoseconds": SECOND // 10}}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize(
    ("wrong", "note"),
    [
        ({}, ""),
        (LAST, "it begins 0.4 s too late"),
        (SHORT, "lasts 0.1 of 0.5 s"),
        ({**LAST, **SHORT, "message_count": 2, "topics_with_message_count": []}, "counts 0 of 6 messages"),
        ({"relative_file_paths": ["bag_2.SUFFIX"]}, "does not list bag_0.SUFFIX, bag_1.SUFFIX: read, too"),
        ({"relative_file_paths": ["bag_2.SUFFIX", "bag_0.SUFFIX", "bag_1.SUFFIX"]}, ""),
        ({"relative_file_paths": ["old_0.SUFFIX"]}, "lists old_0.SUFFIX, and only bag_0.SUFFIX, bag_1.SUFFIX, bag_2"),
        ({"version": 99}, ""),
        (
            {"storage_identifier": "other"},
            "says that the storage is other: bag_0.SUFFIX, bag_1.SUFFIX, bag_2.SUFFIX read",
        ),
        ({"duration": {"nanoseconds": -1}}, "lasts 0.0 of 0.5 s"),
        ({"topics_with_message_count": [IMAGE_OF_NO_TYPE]}, f"says that {TOPIC} is x/msg/Y, which is {KIND}"),
    ],
)
def test_messages_count_and_not_the_metadata(
    tmp_path: Path, messages: list[tuple[int, bytes]], storage: str, wrong: dict[str, object], note: str
) -> None:
    folder = split(tmp_path / "bag", messages, storage)
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    change(folder, **yaml.safe_load(yaml.dump(wrong).replace("SUFFIX", suffix)))
    assert shown(folder) == ALL
    assert shown(folder, Selection(0.15, 0.45)) == ALL[2:5]
    with Bag(folder) as bag:
        assert (bag.start_ns, bag.end_ns) == (START_NS, START_NS + SECOND // 2)
        assert bag.counts[TOPIC] == 6
        assert len(bag.notes) == bool(note)
        assert note.replace("SUFFIX", suffix) in " ".join(bag.notes)


@pytest.mark.parametrize("metadata", ["", "no: bag", "rosbag2_bagfile_information: 3", "\x00", "a: [", "- 1", None])
def test_a_recording_is_read_without_metadata(
    tmp_path: Path, messages: list[tuple[int, bytes]], metadata: str | None
) -> None:
    folder = split(tmp_path / "bag", messages, "mcap")
    (folder / "metadata.yaml").unlink()
    if metadata is not None:
        (folder / "metadata.yaml").write_text(metadata)
    assert shown(folder) == ALL
    with Bag(folder) as bag:
        assert bag.notes == [
            "there is no metadata.yaml that can be read: bag_0.mcap, bag_1.mcap, bag_2.mcap read without"
        ]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_files_that_overlap_in_time_are_read_in_the_order_of_recording(
    tmp_path: Path, messages: list[tuple[int, bytes]], storage: str
) -> None:
    order = (0, 3, 1, 4, 2, 5)  # the first file until the fourth image, the second one until the fifth
    folder = split(
        tmp_path / "bag",
        sorted([messages[index] for index in order[:2]]) + [messages[index] for index in order[2:]],
        storage,
    )
    assert shown(folder) == ALL
    assert shown(folder, Selection(0.15, 0.45)) == ALL[2:5]
    with Bag(folder) as bag:
        assert [time_ns for _, time_ns, _ in bag.messages([TOPIC])] == [time_ns for time_ns, _ in messages]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("zeros", [4, 6])
def test_images_that_were_recorded_at_no_time_are_read(
    tmp_path: Path, messages: list[tuple[int, bytes]], storage: str, zeros: int
) -> None:
    """As a simulation gives them before its clock runs, or a converter that knows no times."""
    timed = [(0 if index < zeros else time_ns, raw) for index, (time_ns, raw) in enumerate(messages)]
    assert shown(split(tmp_path / "bag", timed, storage)) == ALL
    if storage == "mcap":
        for name, options in (("a", {}), ("b", {"index_types": IndexType.CHUNK})):
            file = write_mcap(tmp_path / f"{name}.mcap", timed, **{**CHUNKED, **options})  # type: ignore[arg-type]
            assert shown(file) == ALL
            with Bag(file) as bag:
                assert (bag.start_ns, bag.counts[TOPIC]) == (0, 6)


def test_files_that_do_not_belong_together_are_not_read_as_one(
    tmp_path: Path, messages: list[tuple[int, bytes]]
) -> None:
    for name in ("kitchen", "hall"):
        write_mcap(tmp_path / "bags" / f"{name}.mcap", messages)
    with pytest.raises(BagError, match=r"holds several recordings \(hall.mcap, kitchen.mcap\)"):
        Bag(tmp_path / "bags")
    folder = split(tmp_path / "bag", messages, "mcap")
    write_mcap(folder / "repaired.mcap", messages)
    with Bag(folder) as bag:
        assert bag.notes == ["metadata.yaml does not list repaired.mcap: not read, as the name is another recording's"]
    (folder / "bag_1.mcap").unlink()
    with pytest.raises(BagError, match=r"bag_1.mcap of the recording missing. Copy it here"):
        Bag(folder)


def test_messages_in_the_journal_of_a_database_are_told_of(tmp_path: Path, messages: list[tuple[int, bytes]]) -> None:
    folder = split(tmp_path / "bag", messages, "sqlite3")
    (folder / "bag_2.db3-wal").write_bytes(b"x")
    with Bag(folder) as bag:
        assert "bag_2.db3-wal: messages in it are not read" in bag.notes[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"profile": ""},
        {"profile": "other"},
        {"name": "sensor_msgs/Image"},
        {"encoding": "CDR"},
        {"foreign": "json"},
        {"foreign": "protobuf"},
        {"use_statistics": False},
        {"repeat_channels": False},
        {"repeat_schemas": False},
        {"index_types": IndexType.NONE},
        {"index_types": IndexType.CHUNK},
        {"index_types": IndexType.CHUNK, "use_statistics": False},
        {"index_types": IndexType.MESSAGE},
        {"use_chunking": False},
        {"use_chunking": False, "use_statistics": False, "foreign": "json"},
        {"compression": CompressionType.ZSTD},
        {"compression": CompressionType.LZ4, "index_types": IndexType.NONE},
    ],
    ids=str,
)
@pytest.mark.parametrize("order", [range(6), (1, 0, 5, 2, 4, 3)])
def test_mcap_of_any_writer(
    tmp_path: Path, messages: list[tuple[int, bytes]], options: dict[str, object], order: range
) -> None:
    written = [messages[index] for index in order]
    file = write_mcap(tmp_path / "a.mcap", written, **{**CHUNKED, **options})  # type: ignore[arg-type]
    assert shown(file) == ALL
    assert shown(file, Selection(0.15, 0.45)) == ALL[2:5]
    with Bag(file) as bag:
        assert (bag.start_ns, bag.end_ns) == (START_NS, START_NS + SECOND // 2)
        assert bag.counts == {TOPIC: 6} if options.get("foreign") else bag.counts[TOPIC] == 6
        foreign = options.get("foreign", "")
        assert bag.notes == [f"not read, as the messages are not CDR, the form of ROS 2: /log ({foreign or 'unknown'})"]


def test_a_recording_without_images_says_what_it_holds(tmp_path: Path, messages: list[tuple[int, bytes]]) -> None:
    file = write_mcap(tmp_path / "a.mcap", messages, profile="ros1", encoding="ros1", foreign="json")
    with Bag(file) as bag, pytest.raises(BagError) as caught:
        choose_topics(bag, ())
    assert f"not CDR, the form of ROS 2: {TOPIC} (ros1), /log (json)" in str(caught.value)
    file = write_mcap(tmp_path / "b.mcap", messages, name="foxglove_msgs/msg/CompressedImage")
    with Bag(file) as bag, pytest.raises(BagError, match=rf"It has {TOPIC} \(foxglove_msgs/msg/CompressedImage\)"):
        choose_topics(bag, ())
    (tmp_path / "c.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(BagError, match="rosbags-convert"):
        Bag(tmp_path / "c.bag")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_mcap_that_is_cut_off_is_damaged(tmp_path: Path, messages: list[tuple[int, bytes]], kept: float) -> None:
    content = write_mcap(tmp_path / "a.mcap", messages, **CHUNKED).read_bytes()  # type: ignore[arg-type]
    (tmp_path / "a.mcap").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BagError, match=r"a.mcap: cannot be read .*mcap recover"):
        shown(tmp_path / "a.mcap")


def test_a_chunk_with_a_flipped_bit_is_damaged(tmp_path: Path, messages: list[tuple[int, bytes]]) -> None:
    content = write_mcap(tmp_path / "a.mcap", messages, **CHUNKED).read_bytes()  # type: ignore[arg-type]
    raw = messages[3][1]
    (tmp_path / "a.mcap").write_bytes(content.replace(raw, raw[:-1] + b"\x77"))
    with pytest.raises(BagError, match=r"a.mcap: cannot be read .*CRC"):
        shown(tmp_path / "a.mcap")


def restamped(messages: list[tuple[int, bytes]], stamp: Callable[[int], int]) -> list[tuple[int, bytes]]:
    found = []
    for index, (time_ns, raw) in enumerate(messages):
        seconds, rest = divmod(stamp(index), SECOND)
        found.append((time_ns, raw[:4] + seconds.to_bytes(4, "little") + rest.to_bytes(4, "little") + raw[12:]))
    return found


def test_frames_carry_the_time_that_serves(tmp_path: Path, messages: list[tuple[int, bytes]]) -> None:
    late = SECOND // 20
    same = restamped(messages, lambda index: START_NS - late)
    file = write_mcap(tmp_path / "same.mcap", same)
    with Bag(file) as bag:
        frames = list(read_frames(bag, TOPIC, Selection()))
        later = list(read_frames(bag, TOPIC, Selection(every=2), first=3))
    assert {frame.stamp_ns for frame in frames} == {START_NS - late}
    assert [frame.taken for frame in frames] == [
        (START_NS - late + index * SECOND // 10, "still" if index else "") for index in range(6)
    ]
    # An interrupted run, or every other image, goes by the same times.
    assert [frame.taken for frame in later] == [frames[4].taken]


def test_the_stamp_of_a_serialized_message(messages: list[tuple[int, bytes]]) -> None:
    stamps = [1, -5 * SECOND, 77 * SECOND + 3]
    for stamp in stamps:
        seconds, rest = divmod(stamp, SECOND)
        raw = messages[0][1][:4] + seconds.to_bytes(4, "little", signed=True) + rest.to_bytes(4, "little")
        assert stamp_of(raw) == stamp
    assert stamp_of(messages[2][1]) == messages[2][0]
    assert stamp_of(b"short") == 0


def test_a_file_beside_its_compressed_form_is_read_once(tmp_path: Path, messages: list[tuple[int, bytes]]) -> None:
    file = write_mcap(tmp_path / "bag" / "bag_0.mcap", messages)
    (tmp_path / "bag" / "bag_0.mcap.zstd").write_bytes(zstandard.ZstdCompressor().compress(file.read_bytes()))
    assert shown(tmp_path / "bag") == ALL
    with Bag(tmp_path / "bag") as bag:
        assert "bag_0.mcap: not read, as the same is in .zstd beside it" in bag.notes


def test_a_gap_in_the_numbers_of_files_is_told(tmp_path: Path, messages: list[tuple[int, bytes]]) -> None:
    for number, part in ((0, messages[:2]), (3, messages[2:])):
        write_mcap(tmp_path / "bag" / f"bag_{number}.mcap", part)
    with Bag(tmp_path / "bag") as bag:
        assert bag.notes[0].endswith("read without. By their numbers, _1, _2 missing")


def test_of_several_files_the_damaged_one_is_named(tmp_path: Path, messages: list[tuple[int, bytes]]) -> None:
    write_mcap(tmp_path / "bag" / "bag_0.mcap", messages)
    (tmp_path / "bag" / "bag_1.mcap").touch()
    with pytest.raises(BagError, match=r"bag/bag_1\.mcap: cannot be read .*; the others can be given one by one"):
        Bag(tmp_path / "bag")


def test_names_of_bags() -> None:
    names = [bag_name(Path(name)) for name in ("run.1", "a/run.1.mcap", "x.db3.zstd", "here/..")]
    assert names == ["run.1", "run.1", "x", Path.cwd().name]
