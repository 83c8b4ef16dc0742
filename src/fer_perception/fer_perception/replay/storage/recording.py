"""The files of a recording: a folder of files that follow one another, or a single one.

What they hold is read from themselves. ``metadata.yaml`` says which ones belong together; what else it says is compared
with the messages.
"""

from __future__ import annotations

import heapq
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import yaml
import zstandard
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from fer_perception.errors import BagError
from fer_perception.replay.storage.mcap_file import McapFile

METADATA = "metadata.yaml"
STORAGES = {"mcap": ".mcap", "sqlite3": ".db3"}
SUFFIXES = tuple(STORAGES.values())
COMPRESSED = ".zstd"
# Metadata that contradict the messages by less are not worth a word.
TOLERANCE_NS = 100_000_000


class DamagedFileError(Exception):
    """Which file of a recording cannot be read, and why."""

    def __init__(self, file: Path, reason: Exception) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = file, reason


class StorageFile(Protocol):
    """An open file: its topics, and the time range of its messages in nanoseconds, the end exclusive."""

    @property
    def connections(self) -> list[Connection]:
        """All topics."""

    @property
    def start_time(self) -> int:
        """When the first message was recorded."""

    @property
    def end_time(self) -> int:
        """When the last message was recorded, and one nanosecond; 0 where there is none."""

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages in the order of recording."""

    def close(self) -> None:
        """Close the file."""


class Metadata(NamedTuple):
    """What ``metadata.yaml`` says. ``end_ns``: of the last message. ``types``, ``digests``: of messages, by topic."""

    files: tuple[str, ...]
    storage: str
    start_ns: int
    end_ns: int
    counts: dict[str, int]
    types: dict[str, str]
    digests: dict[str, str]

    def contradictions(self, start_ns: int, end_ns: int, counts: Mapping[str, int], types: Mapping[str, str]) -> str:
        """What the messages say otherwise, in words; empty where they agree. Messages that are missing are none."""
        found = []
        if abs(self.start_ns - start_ns) > TOLERANCE_NS:
            found.append(f"it begins {abs(self.start_ns - start_ns) * 1e-9:.1f} s too ")
            found[-1] += "late" if self.start_ns > start_ns else "early"
        if abs((self.end_ns - self.start_ns) - (end_ns - start_ns)) > TOLERANCE_NS:
            found.append(f"lasts {_s(self.end_ns - self.start_ns)} of {_s(end_ns - start_ns)} s")
        found += [
            f"counts {self.counts.get(topic, 0)} of {count} messages on {topic}"
            for topic, count in counts.items()
            if self.counts.get(topic, 0) < count
        ]
        found += [
            f"says that {topic} is {self.types[topic]}, which is {kind}"
            for topic, kind in types.items()
            if self.types.get(topic, kind) != kind
        ]
        return ", ".join(found)


def _s(duration_ns: int) -> str:
    return f"{round(duration_ns * 1e-9, 1) + 0.0:.1f}"  # never -0.0


def read_metadata(file: Path) -> Metadata | None:
    """The contents of a ``metadata.yaml``; None where it is none."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        bag: dict[str, Any] = content["rosbag2_bagfile_information"]
        start_ns = int(bag["starting_time"]["nanoseconds_since_epoch"])
        counts: Counter[str] = Counter()
        types, digests = {}, {}
        for topic in bag["topics_with_message_count"]:
            name = topic["topic_metadata"]["name"]
            counts[name] += int(topic["message_count"])
            types[name] = str(topic["topic_metadata"]["type"])
            digests[name] = topic["topic_metadata"].get("type_description_hash") or ""
        files = tuple(PurePosixPath(path).name for path in bag["relative_file_paths"])
        end_ns = start_ns + int(bag["duration"]["nanoseconds"])
        storage = str(bag.get("storage_identifier") or "")
        return Metadata(files, storage, start_ns, end_ns, dict(counts), types, digests)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError):
        return None


def find_files(path: Path) -> tuple[list[Path], Metadata | None, list[str]]:
    """The files of a recording, what its metadata say, and what is odd about either.

    :param path: a folder or a file.
    :raises BagError: there is none, one is missing, or nothing tells which ones belong together.
    """
    if not path.exists():
        raise BagError(f"{path}: there is no such bag. Give the folder that holds its {METADATA}")
    if not path.is_dir():
        if not _is_storage(path):
            raise BagError(
                f"{path}: is no {' or '.join(SUFFIXES)} file. A recording of ROS 1 (.bag) is converted by "
                "'rosbags-convert --src FILE --dst FOLDER', a film by 'make_bag FILE --out FOLDER'"
            )
        return [path], None, []
    present = sorted(file for file in path.iterdir() if file.is_file() and _is_storage(file))
    metadata = read_metadata(path / METADATA) if (path / METADATA).is_file() else None
    if not present:
        lost = f": {', '.join(metadata.files)} missing. Copy it here" if metadata else ""
        raise BagError(f"{path}: holds no {' or '.join(SUFFIXES)} file{lost or '. Give the folder of a bag'}")
    notes = []
    if twice := [file for file in present if file.with_name(f"{file.name}{COMPRESSED}") in present]:
        notes.append(f"{_names(twice)}: not read, as the same is in {COMPRESSED} beside it")
        present = [file for file in present if file not in twice]
    if journals := [file for file in path.glob("*.db3-wal") if file.stat().st_size]:
        notes.append(f"{_names(journals)}: messages in it are not read. Merge them: sqlite3 FILE.db3 'VACUUM'")
    listed = [file for file in present if metadata and file.name in metadata.files]
    if metadata is None or not listed:
        if len({_series(file) for file in present}) > 1:
            raise BagError(
                f"{path}: holds several recordings ({_names(present)}), and no {METADATA} that tells which one is "
                "meant. Give one of these files"
            )
        if metadata:
            notes.append(f"{METADATA} lists {', '.join(metadata.files)}, and only {_names(present)} is there: read")
        else:
            notes.append(f"there is no {METADATA} that can be read: {_names(present)} read without{_gap(present)}")
        return present, metadata, notes
    if missing := sorted(set(metadata.files) - {file.name for file in listed}):
        raise BagError(
            f"{path}: {', '.join(missing)} of the recording missing. Copy it here, or give the files that are here "
            "one by one"
        )
    suffix = STORAGES.get(metadata.storage, metadata.storage)
    if not all(file.name.removesuffix(COMPRESSED).endswith(suffix) for file in listed):
        notes.append(
            f"{METADATA} says that the storage is {metadata.storage}: {_names(listed)} read as their names say"
        )
    others = [file for file in present if file not in listed]
    series = {_series(file) for file in listed}
    if more := [file for file in others if _series(file) in series]:
        notes.append(f"{METADATA} does not list {_names(more)}: read, too")
    if unread := [file for file in others if file not in more]:
        notes.append(f"{METADATA} does not list {_names(unread)}: not read, as the name is another recording's")
    return listed + more, metadata, notes


def open_files(files: list[Path], stack: ExitStack) -> list[StorageFile]:
    """Open the files of a recording, in the order of their messages; the stack closes them.

    :raises DamagedFileError: one cannot be read.
    """
    opened = []
    for file in files:
        try:
            storage = _open(_unpacked(file, stack))
        except Exception as error:  # mcap and rosbags let out what they run into in a damaged file
            raise DamagedFileError(file, error) from error
        stack.callback(storage.close)
        opened.append(storage)
    return sorted(opened, key=lambda storage: storage.start_time)


def messages_of(
    files: Sequence[StorageFile], topics: Collection[str], form: str, start: int | None, stop: int | None
) -> Iterator[tuple[Connection, int, bytes]]:
    """The messages of some topics in the order of recording, though files overlap in time.

    Files that do not overlap are read one after another.

    :param files: as :func:`open_files` sorts them.
    :param form: only messages of this serialization.
    """
    together: list[list[StorageFile]] = []
    end_ns = 0
    for file in files:
        if together and file.start_time < end_ns:
            together[-1].append(file)
        else:
            together.append([file])
        end_ns = max(end_ns, file.end_time)
    for group in together:
        readings = []
        for file in group:
            # rosbags takes no connections for all.
            if wanted := [c for c in file.connections if c.topic in topics and form_of(c) == form]:
                readings.append(file.messages(wanted, start, stop))
        yield from heapq.merge(*readings, key=lambda message: message[1])


def form_of(connection: Connection) -> str:
    """What its messages are serialized as, in small letters."""
    return str(getattr(connection.ext, "serialization_format", "")).lower()


def unpacked(raw: bytes) -> bytes:
    """A message as it was before it was compressed by itself, as rosbag2's ``compression_mode: message`` does."""
    if not raw.startswith(zstandard.FRAME_HEADER):  # CDR begins with a zero
        return raw
    return zstandard.ZstdDecompressor().decompressobj().decompress(raw)


def _is_storage(file: Path) -> bool:
    name = file.name.removesuffix(COMPRESSED)
    return name.endswith(SUFFIXES) and not name.startswith(".")


def _series(file: Path) -> str:
    """What the files of one recording have in common: their name without its number."""
    return re.sub(r"(_\d+)?(\.mcap|\.db3)(\.zstd)?$", r"\2", file.name)


def _gap(files: list[Path]) -> str:
    """By the numbers of a recording's files, that some are missing."""
    numbers = [int(found[1]) for file in files if (found := re.search(r"_(\d+)\.[^_]+$", file.name))]
    absent = sorted(set(range(max(numbers, default=0))) - {*numbers})
    return f". By their numbers, {', '.join(f'_{number}' for number in absent)} missing" if numbers and absent else ""


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files)


def _open(file: Path) -> StorageFile:
    if file.suffix == ".mcap":
        return McapFile(file)
    reader = Reader(file)
    reader.open()
    return reader


def _unpacked(file: Path, stack: ExitStack) -> Path:
    if file.suffix != COMPRESSED:
        return file
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fer_bag_")))
    with file.open("rb") as packed, (folder / file.stem).open("wb") as plain:
        zstandard.ZstdDecompressor().copy_stream(packed, plain)
    return folder / file.stem
