"""A copy of a bag with the predictions beside the images: EmotionArray and Latency at the times of the images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer

from fer_perception.emotions.quality_gate import Refusal
from fer_perception.replay.bags import Bag, deserialize
from fer_perception.replay.message_types import typestore
from fer_perception.replay.tables import LATENCY_FIELDS

EMOTION_ARRAY, LATENCY = "fer_msgs/msg/EmotionArray", "fer_msgs/msg/Latency"


def prediction_topics(topic: str) -> tuple[str, str]:
    """Where the predictions for an image topic are written: emotions, latency."""
    return f"/replay{topic}/emotions", f"/replay{topic}/latency"


def write_bag(
    source: Path,
    out: Path,
    streams: dict[str, tuple[pd.DataFrame, pd.DataFrame]],
    labels: tuple[str, ...],
    model_id: str,
    originals: bool = True,
) -> None:
    """Write the predictions for a bag's images, and what the bag held, as a new bag (mcap).

    :param out: the new bag's folder; it must not exist.
    :param streams: by image topic the rows of ``emotions`` and of ``frames``.
    :param originals: copy the topics of the source that can be, see :func:`topics_to_lose`. Without, no image gets into
        the new bag.
    :raises BagError: the source is damaged.
    """
    with Bag(source) as bag, Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        copies: dict[tuple[str, str], Connection] = {}
        for connection in bag.connections if originals else ():
            key = (connection.topic, connection.msgtype)
            if key not in copies and (definition := _definition(connection)):
                qos = getattr(connection.ext, "offered_qos_profiles", [])
                copies[key] = writer.add_connection(*key, offered_qos_profiles=qos, **definition)
        predictions = {
            topic: _Predictions(writer, topic, *tables, labels, model_id) for topic, tables in streams.items()
        }
        counts = dict.fromkeys(streams, -1)
        for connection, time_ns, raw in bag.messages(list(bag.counts) if originals else list(streams)):
            topic = connection.topic
            if (topic, connection.msgtype) in copies:
                writer.write(copies[topic, connection.msgtype], time_ns, raw)
            if topic in predictions:
                counts[topic] += 1
                predictions[topic].write(counts[topic], time_ns, raw, connection.msgtype)


def topics_to_lose(source: Path) -> list[str]:
    """The topics of a bag that :func:`write_bag` cannot copy, as nothing tells their types' definitions.

    :raises BagError: the source is damaged.
    """
    with Bag(source) as bag:
        return sorted({connection.topic for connection in bag.connections if not _definition(connection)})


def _definition(connection: Connection) -> dict[str, Any]:
    """What tells the writer how the messages are built; empty where nobody knows."""
    if connection.msgdef.format != MessageDefinitionFormat.NONE and connection.digest:
        return {"msgdef": connection.msgdef.data, "rihs01": connection.digest}
    return {"typestore": typestore()} if connection.msgtype in typestore().fielddefs else {}


class _Predictions:
    """Writes the predictions of one image topic, image by image."""

    def __init__(
        self,
        writer: Writer,
        topic: str,
        emotions: pd.DataFrame,
        frames: pd.DataFrame,
        labels: tuple[str, ...],
        model_id: str,
    ) -> None:
        self._writer, self._labels, self._model_id = writer, labels, model_id
        names = zip(prediction_topics(topic), (EMOTION_ARRAY, LATENCY), strict=True)
        self._connections = [writer.add_connection(name, kind, typestore=typestore()) for name, kind in names]
        self._faces = iter(emotions.to_dict("records"))
        self._frames: Iterator[dict[Any, Any]] = iter(frames.to_dict("records"))
        self._next = next(self._frames, None)
        self._rejected = self._dropped = 0

    def write(self, index: int, time_ns: int, raw: bytes, message_type: str) -> None:
        """Write the predictions for the image of that index, if it was processed."""
        row = self._next
        if row is None or row["frame"] != index:
            return
        self._next = next(self._frames, None)
        self._rejected += bool(row["rejected"])
        self._dropped += row["dropped"]
        if row["rejected"] or row["dropped"]:
            return
        types = typestore().types
        header = deserialize(raw, message_type).header
        faces = [self._emotion(next(self._faces)) for _ in range(row["faces"])]
        emotions = types[EMOTION_ARRAY](header, list(self._labels), self._model_id, faces)
        latency = types[LATENCY](
            header=header,
            faces=row["faces"],
            dropped_frames=self._dropped,
            rejected_frames=self._rejected,
            **{f"{name}_ms": float(row[f"{name}_ms"]) for name in LATENCY_FIELDS},
        )
        for connection, message in zip(self._connections, (emotions, latency), strict=True):
            self._writer.write(connection, time_ns, typestore().serialize_cdr(message, connection.msgtype))

    def _emotion(self, row: dict[Any, Any]) -> Any:
        types = typestore().types
        region = types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=row["x"], y_offset=row["y"], width=row["width"], height=row["height"], do_rectify=False
        )
        values = {}
        for prefix in ("", "smoothed_"):
            values[f"{prefix}label"] = row[f"{prefix}label"]
            values[f"{prefix}confidence"] = row[f"{prefix}confidence"]
            values[f"{prefix}probabilities"] = np.asarray(
                [row[f"{prefix}{label}"] for label in self._labels if not row["refusal"]], np.float32
            )
        refusal = Refusal[row["refusal"].upper()].value if row["refusal"] else 0
        return types["fer_msgs/msg/Emotion"](track_id=row["track_id"], roi=region, refusal=refusal, **values)
