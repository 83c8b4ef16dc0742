"""One MCAP file of whatever writer: with or without indexes and chunks, in any order, of any profile."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, DataEnd, Footer, Message, Schema
from mcap.stream_reader import MAGIC_SIZE, StreamReader, breakup_chunk
from mcap.summary import Summary
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat, Qos
from rosbags.rosbag2.metadata import parse_qos

FORMATS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}


class _Place(NamedTuple):
    """A chunk, or a message outside of any. ``channels``: of its messages; empty: not known."""

    start_ns: int
    end_ns: int
    offset: int
    channels: frozenset[int] = frozenset()


class McapFile:
    """An open file, in the form of :class:`rosbags.rosbag2.Reader`.

    ``connections``: its channels, whatever their messages are. ``start_time``, ``end_time`` (exclusive): of its
    messages, in nanoseconds.

    :raises Exception: of the package ``mcap``, where the file is none, or not whole.
    """

    def __init__(self, path: Path) -> None:
        self._size = path.stat().st_size
        self._stream = path.open("rb")
        self._channels: dict[int, Channel] = {}
        self._schemas: dict[int, Schema] = {}
        self._counts: Counter[int] = Counter()
        self._places: list[_Place] = []
        try:
            summary = SeekingReader(self._stream, record_size_limit=self._size).get_summary()
            if summary is None or not self._take(summary):
                self._scan()
        except BaseException:
            self.close()
            raise
        self.start_time = min((place.start_ns for place in self._places), default=0)
        self.end_time = max((place.end_ns + 1 for place in self._places), default=0)
        self.connections = [self._connection(channel) for channel in self._channels.values()]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages from ``start`` to ``stop`` (exclusive), by their time of recording, in nanoseconds."""
        by_id = {connection.id: connection for connection in connections}
        queue: list[tuple[int, int, int, Message | None]] = [
            (place.start_ns, place.offset, -1, None)
            for place in self._places
            if (start is None or place.end_ns >= start)
            and (stop is None or place.start_ns < stop)
            and (not place.channels or place.channels & by_id.keys())
        ]
        heapq.heapify(queue)
        while queue:
            time_ns, offset, _, message = heapq.heappop(queue)
            if message is not None:
                yield by_id[message.channel_id], time_ns, message.data
                continue
            for index, found in enumerate(self._messages_at(offset)):
                wanted = (start is None or found.log_time >= start) and (stop is None or found.log_time < stop)
                if wanted and found.channel_id in by_id:
                    heapq.heappush(queue, (found.log_time, offset, index, found))

    def _messages_at(self, offset: int) -> list[Message]:
        self._stream.seek(offset)
        reader = StreamReader(self._stream, skip_magic=True, emit_chunks=True, record_size_limit=self._size)
        record = next(iter(reader.records))
        records = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
        return [record for record in records if isinstance(record, Message)]

    def _take(self, summary: Summary) -> bool:
        """Take what the summary says; false where it does not say all."""
        statistics, chunks = summary.statistics, summary.chunk_indexes
        if not statistics or statistics.chunk_count != len(chunks) or not chunks:
            return False
        counts = statistics.channel_message_counts
        if sum(counts.values()) != statistics.message_count or counts.keys() - summary.channels.keys():
            return False
        if {channel.schema_id for channel in summary.channels.values()} - {0} - summary.schemas.keys():
            return False
        self._channels, self._schemas, self._counts = summary.channels, summary.schemas, Counter(counts)
        self._places = [
            _Place(
                chunk.message_start_time,
                chunk.message_end_time,
                chunk.chunk_start_offset,
                frozenset(chunk.message_index_offsets),
            )
            for chunk in chunks
            # Where it holds no message both times are 0; but so they are where all were recorded at 0.
            if chunk.message_end_time or chunk.message_index_offsets or self._messages_at(chunk.chunk_start_offset)
        ]
        return True

    def _scan(self) -> None:
        """Find out by reading the whole file."""
        self._stream.seek(MAGIC_SIZE)
        reader = StreamReader(self._stream, skip_magic=True, emit_chunks=True, record_size_limit=self._size)
        records = iter(reader.records)
        while True:
            offset = self._stream.tell()
            record = next(records, None)
            if record is None or isinstance(record, (DataEnd, Footer)):
                return
            times = []
            for part in breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]:
                if isinstance(part, Schema):
                    self._schemas[part.id] = part
                elif isinstance(part, Channel):
                    self._channels[part.id] = part
                elif isinstance(part, Message):
                    times.append(part.log_time)
                    self._counts[part.channel_id] += 1
            if times:
                self._places.append(_Place(min(times), max(times), offset))

    def _connection(self, channel: Channel) -> Connection:
        schema = self._schemas.get(channel.schema_id)
        definition = MessageDefinition(MessageDefinitionFormat.NONE, "")
        if schema and schema.encoding in FORMATS:
            definition = MessageDefinition(FORMATS[schema.encoding], schema.data.decode(errors="replace"))
        qos: list[Qos] = []
        with suppress(Exception):  # a quality of service that is none decides about nothing here
            qos = parse_qos(channel.metadata.get("offered_qos_profiles", ""))
        name = schema.name if schema else ""
        if name.count("/") == 1:  # as ROS 1 writes it
            name = name.replace("/", "/msg/")
        return Connection(
            id=channel.id,
            topic=channel.topic,
            msgtype=name,
            msgdef=definition,
            digest=channel.metadata.get("topic_type_hash", ""),
            msgcount=self._counts[channel.id],
            ext=ConnectionExtRosbag2(channel.message_encoding, qos),
            owner=self,
        )
