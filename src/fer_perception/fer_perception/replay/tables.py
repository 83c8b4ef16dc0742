"""The two tables of predictions: one row per face and one row per image, whoever made them.

``emotions.parquet`` is the same, byte by byte, for the same bags, model and settings. ``frames.parquet`` holds
durations, which never are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from fer_perception.emotions.quality_gate import strongest
from fer_perception.errors import BagError, FerError
from fer_perception.faces.face import KEYPOINTS
from fer_perception.faces.single_face import most_prominent
from fer_perception.files import written_atomically
from fer_perception.pipeline import Emotions, Faces
from fer_perception.replay.bags import Frame
from fer_perception.types import Float32Array

EMOTIONS, FRAMES = "emotions", "frames"
KEYPOINT_COLUMNS = tuple(f"{point}_{axis}" for point in KEYPOINTS for axis in "xy")
STREAM = ("bag", "topic")
# What a Latency message says of its image, and what only the recording of a live run does.
LATENCY_FIELDS = (
    "age_at_receipt",
    "age_at_publication",
    "receive",
    "decode",
    "detect",
    "align",
    "infer",
    "publish",
    "total",
)
DURATIONS = (*LATENCY_FIELDS, "end_to_end")


def frame_schema() -> pa.Schema:
    """Columns of ``frames``.

    ``frame``: index of the message in its topic. ``stamp_ns``, ``time_ns``: of the header, of the recording.
    ``taken_ns``: the time that tracking and smoothing went by, and ``stamp_fault``: why that is not the stamp, a key of
    ``FAULTS``; else empty.
    ``rejected``: why the image was not processed, else empty. ``dropped``: it is whole, and yet there is no
    prediction; never so offline. ``faces``: how many were found. ``flaw``: of an image without any, why it could not
    show one, else empty. ``image_bits``: how many of their 16 bits the images use, 0 for images of 8. Durations in ms,
    see Latency.msg, and NaN where nobody measured; ``end_to_end_ms``: from when a live run's image was played until its
    prediction was recorded.
    """
    return pa.schema(
        [(name, pa.int64()) for name in ("frame", "stamp_ns", "time_ns", "taken_ns")]
        + [("stamp_fault", pa.string())]
        + [(name, pa.int32()) for name in ("width", "height", "faces", "image_bits")]
        + [("rejected", pa.string()), ("dropped", pa.bool_()), ("flaw", pa.string())]
        + [(f"{name}_ms", pa.float32()) for name in DURATIONS]
    )


def emotion_schema(labels: Sequence[str]) -> pa.Schema:
    """Columns of ``emotions``.

    ``frame``, ``stamp_ns``, ``time_ns`` as in ``frames``. ``prominent``: of the faces of its image the most central
    large one. ``x``, ``y``, ``width``, ``height``: the box in pixels. ``face_confidence``: of the detector.
    ``right_eye_x`` and so on: the key points in pixels. Both NaN for a live run, whose messages lack them.
    ``refusal``: why the face gets no emotion, see :class:`Refusal`, else empty. Then the emotion of this image and
    smoothed, each with its label, its confidence and all probabilities; under a refusal ``unknown``, 0 and NaN.
    """
    columns = [("frame", pa.int64()), ("stamp_ns", pa.int64()), ("time_ns", pa.int64())]
    columns += [("track_id", pa.string()), ("prominent", pa.bool_())]
    columns += [(name, pa.int32()) for name in ("x", "y", "width", "height")]
    columns += [(name, pa.float32()) for name in ("face_confidence", *KEYPOINT_COLUMNS)]
    columns += [("refusal", pa.string())]
    for prefix in ("", "smoothed_"):
        columns += [(f"{prefix}label", pa.string()), (f"{prefix}confidence", pa.float32())]
        columns += [(f"{prefix}{label}", pa.float32()) for label in labels]
    return pa.schema(columns)


class Part:
    """Rows of consecutive frames of one stream, on their way to a file."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.frames: list[dict[str, Any]] = []
        self.emotions: list[dict[str, Any]] = []

    def add(self, frame: Frame, found: Faces | None, emotions: Emotions | None, durations_ms: dict[str, float]) -> None:
        """Append a frame and its faces; ``found`` and ``emotions`` are None where it was rejected or dropped.

        :param durations_ms: by name, of ``DURATIONS``; a missing one becomes NaN.
        """
        height, width = frame.image.shape[:2] if frame.image is not None else (0, 0)
        keys = {"frame": frame.index, "stamp_ns": frame.stamp_ns, "time_ns": frame.time_ns}
        self.frames.append(
            {
                **keys,
                "taken_ns": frame.taken.time_ns,
                "stamp_fault": frame.taken.fault,
                "width": width,
                "height": height,
                "faces": len(found.faces) if found else 0,
                "image_bits": frame.bits,
                "rejected": frame.rejected,
                "dropped": found is None and not frame.rejected,
                "flaw": found.flaw if found else "",
                **{f"{name}_ms": durations_ms.get(name, float("nan")) for name in DURATIONS},
            }
        )
        if found is None or emotions is None or not found.faces:
            return
        prominent = most_prominent([face.box for face in found.faces], width, height)
        for index, (face, track_id) in enumerate(zip(found.faces, found.track_ids, strict=True)):
            x, y, box_width, box_height = face.box
            row = {
                **keys,
                "track_id": track_id,
                "prominent": index == prominent,
                "x": x,
                "y": y,
                "width": box_width,
                "height": box_height,
                "face_confidence": face.confidence,
                **dict(zip(KEYPOINT_COLUMNS, face.keypoints.ravel(), strict=True)),
                "refusal": "" if (refusal := emotions.refusal(index)) is None else refusal.reason,
            }
            for prefix, values in (("", emotions.probabilities[index]), ("smoothed_", emotions.smoothed[index])):
                label, confidence = strongest(values, self.labels, refusal)
                known = values if refusal is None else np.full_like(values, np.nan)
                row |= {f"{prefix}label": label, f"{prefix}confidence": confidence}
                row |= {f"{prefix}{label}": value for label, value in zip(self.labels, known, strict=True)}
            self.emotions.append(row)

    def write(self, folder: Path, number: int) -> None:
        """Write the rows as two files. The part counts as written once its file of frames is there."""
        for name, rows, schema in (
            (EMOTIONS, self.emotions, emotion_schema(self.labels)),
            (FRAMES, self.frames, frame_schema()),
        ):
            with written_atomically(part_file(folder, name, number)) as temporary:
                pa.parquet.write_table(pa.Table.from_pylist(rows, schema), temporary)


def part_file(folder: Path, name: str, number: int) -> Path:
    """Where a part of a table lies."""
    return folder / f"{name}-{number:06}.parquet"


def count_parts(folder: Path) -> int:
    """How many parts of a stream are written, counted from the first up to the first that is not."""
    number = 0
    while part_file(folder, FRAMES, number).exists():
        number += 1
    return number


def read_parts(folder: Path, name: str) -> Iterator[pa.Table]:
    """The parts of a table, in order.

    :raises BagError: one cannot be read.
    """
    for number in range(count_parts(folder)):
        file = part_file(folder, name, number)
        try:
            yield pa.parquet.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise BagError(f"{file}: cannot be read ({error}). Delete {folder} and run it again") from error


def read_frame_rows(folder: Path) -> pd.DataFrame:
    """The rows of ``frames`` in the parts of a stream.

    :raises BagError: see :func:`read_parts`.
    """
    return pa.concat_tables(read_parts(folder, FRAMES)).to_pandas()


def merge_parts(streams: Mapping[tuple[str, str], Path], labels: Sequence[str], out: Path, csv: bool = False) -> None:
    """Write ``emotions.parquet`` and ``frames.parquet`` from the parts of streams, in the order of the streams.

    :param streams: bag and topic, and the folder of their parts.
    :param csv: write ``emotions.csv`` as well.
    """
    for name, schema in ((EMOTIONS, emotion_schema(labels)), (FRAMES, frame_schema())):
        full = pa.schema([(column, pa.string()) for column in STREAM] + list(schema))
        kinds = {"parquet": pa.parquet.ParquetWriter} | ({"csv": pa.csv.CSVWriter} if csv and name == EMOTIONS else {})
        with ExitStack() as files:
            writers: list[Any] = []
            for suffix, kind in kinds.items():
                temporary = files.enter_context(written_atomically(out / f"{name}.{suffix}"))
                writers.append(files.enter_context(kind(temporary, full)))
            for stream, folder in streams.items():
                for part in read_parts(folder, name):
                    for position, (column, value) in enumerate(zip(STREAM, stream, strict=True)):
                        part = part.add_column(position, column, pa.array([value] * len(part), pa.string()))
                    for writer in writers:
                        writer.write_table(part)


def keypoints_of(emotions: pd.DataFrame) -> Float32Array:
    """The key points in rows of ``emotions``: float32, (faces, 5, 2), pixels."""
    return emotions[list(KEYPOINT_COLUMNS)].to_numpy(np.float32).reshape(-1, len(KEYPOINTS), 2)


@dataclass(frozen=True)
class Predictions:
    """The predictions of a model: ``labels`` in its order, and the tables ``emotions`` and ``frames``."""

    labels: tuple[str, ...]
    emotions: pd.DataFrame
    frames: pd.DataFrame


def read_predictions(folder: Path) -> Predictions:
    """The tables in a folder that ``replay`` has written.

    :raises FerError: they are not there.
    """
    try:
        emotions, frames = (pd.read_parquet(folder / f"{name}.parquet") for name in (EMOTIONS, FRAMES))
    except (OSError, pa.ArrowException) as error:
        raise FerError(f"{folder}: holds no result of replay ({error}). Give the folder of its --out") from error
    for table, column in ((emotions, "refusal"), (frames, "flaw")):
        if column not in table:  # written before there were any
            table[column] = ""
    labels = tuple(name.removeprefix("smoothed_") for name in emotions.columns if name.startswith("smoothed_"))
    return Predictions(tuple(name for name in labels if name not in ("label", "confidence")), emotions, frames)
