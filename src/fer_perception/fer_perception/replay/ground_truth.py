"""What was shown: intervals with a label, from a table, an ELAN file or a topic of the bag.

Times are seconds after the bag's first message, by the clock of the recording.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fer_perception.errors import LabelsError
from fer_perception.labels import ALIASES, EMOTIONS_8, emotion_named
from fer_perception.replay.bags import Bag, deserialize

LABEL_TOPIC = "/ground_truth"
TEXT, EMOTION_ARRAY = "std_msgs/msg/String", "fer_msgs/msg/EmotionArray"
TIER = "emotion"

log = logging.getLogger(__name__)


class Interval(NamedTuple):
    """From ``start_ns`` to ``end_ns`` (exclusive), times of the recording, one emotion was shown."""

    start_ns: int
    end_ns: int
    label: str


def file_for(bag: Path, bags: Sequence[Path], files: Sequence[Path]) -> Path | None:
    """The file of labels that belongs to a bag: the one with its name, or if there is one bag, the only one.

    :raises LabelsError: there are several bags, and a file has the name of none of them.
    """
    if len(bags) == 1 and len(files) == 1:
        return files[0]
    names = [path.stem for path in bags]
    for file in files:
        if names.count(file.stem) != 1:
            raise LabelsError(
                f"{file}: of several bags, labels are found by name: call it like one of {', '.join(names)}"
            )
    return next((file for file in files if file.stem == bag.stem), None)


def read_truth(bag: Bag, frames: pd.DataFrame, file: Path | None, topic: str = LABEL_TOPIC) -> list[Interval]:
    """Intervals of a bag, sorted; empty where nothing is known.

    :param frames: the rows of table ``frames`` of the stream that is labelled.
    :param file: a .csv or .eaf; None: the topic is read, if the bag has it.
    :raises LabelsError: the file or the topic cannot be used, or its intervals overlap.
    """
    if file is None:
        return _of_topic(bag, frames, topic) if bag.type_of(topic) else []
    return read_file(file, bag.start_ns, frames)


def read_file(file: Path, start_ns: int, frames: pd.DataFrame | None) -> list[Interval]:
    """Intervals of a .csv or .eaf, sorted.

    :param start_ns: time zero of the file.
    :param frames: as for :func:`read_truth`; None: a CSV of single frames cannot be used.
    :raises LabelsError: see :func:`read_truth`.
    """
    if file.suffix == ".eaf":
        intervals = _of_elan(file, start_ns)
    elif file.suffix == ".csv":
        intervals = _of_csv(file, start_ns, frames)
    else:
        raise LabelsError(f"{file}: labels are read from .csv and from ELAN's .eaf")
    intervals.sort()
    for before, after in pairwise(intervals):
        if after.start_ns < before.end_ns:
            at_s = (after.start_ns - start_ns) * 1e-9
            raise LabelsError(f"{file}: intervals overlap at {at_s:.3f} s ({before.label}, {after.label})")
    if not intervals:
        raise LabelsError(f"{file}: holds no label")
    return intervals


def _of_csv(file: Path, start_ns: int, frames: pd.DataFrame | None) -> list[Interval]:
    """Columns start_s, end_s, label; or frame, label."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = set(reader.fieldnames or ())
            rows = [(f"{file}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsError(f"{file}: cannot be read ({error}). Give the path of a CSV in UTF-8") from error
    if {"start_s", "end_s", "label"} <= columns:
        intervals = []
        for where, row in rows:
            first, last = (start_ns + round(_number(row[name], where) * 1e9) for name in ("start_s", "end_s"))
            if last <= first:
                raise LabelsError(f"{where}: ends at {row['end_s']} s and begins at {row['start_s']} s")
            intervals.append(Interval(first, last, _label(row["label"], where)))
        return intervals
    if {"frame", "label"} <= columns and frames is not None:
        labels = {_whole(row["frame"], where): _label(row["label"], where) for where, row in rows}
        if unknown := sorted(labels.keys() - set(frames["frame"])):
            log.warning("%s: %d labelled frames are not among those replayed", file, len(unknown))
        return _of_frames(
            (time_ns, labels.get(frame)) for frame, time_ns in zip(frames["frame"], frames["time_ns"], strict=True)
        )
    wanted = "start_s, end_s and label" + (", or frame and label" if frames is not None else "")
    raise LabelsError(f"{file}: lacks columns. It needs {wanted}")


def _of_elan(file: Path, start_ns: int) -> list[Interval]:
    """The annotations of the tier "emotion", or of the only tier."""
    from pympi.Elan import Eaf

    try:
        document = Eaf(str(file))
        tiers = list(document.get_tier_names())
        tier = tiers[0] if tiers and TIER not in tiers else TIER
        annotations = document.get_annotation_data_for_tier(tier) if tiers else []
    except Exception as error:  # pympi lets out whatever it runs into, even Exception itself
        raise LabelsError(f"{file}: is no readable ELAN file ({type(error).__name__}: {error})") from error
    if tier != TIER and len(tiers) > 1:
        raise LabelsError(f"{file}: has the tiers {', '.join(tiers)}. Call the one with the labels '{TIER}'")
    if unaligned := [text for first, last, text, *_ in annotations if first is None or last is None]:
        raise LabelsError(f"{file}: the annotation '{unaligned[0]}' has no time. Align it in ELAN")
    return [
        Interval(start_ns + first * 1_000_000, start_ns + last * 1_000_000, _label(text, f"{file}, at {first} ms"))
        for first, last, text, *_ in annotations
    ]


def _of_topic(bag: Bag, frames: pd.DataFrame, topic: str) -> list[Interval]:
    """Text holds until the next message, an empty one says that nothing is known; an EmotionArray is of one image."""
    kind = bag.type_of(topic)
    messages = [
        (time_ns, deserialize(raw, connection.msgtype), f"{bag.path}, {topic}")
        for connection, time_ns, raw in bag.messages([topic])
    ]
    if kind == TEXT:
        ends = [time_ns for time_ns, _, _ in messages[1:]] + [bag.end_ns + 1]
        return [
            Interval(time_ns, end_ns, _label(message.data, where))
            for (time_ns, message, where), end_ns in zip(messages, ends, strict=True)
            if message.data.strip() and end_ns > time_ns
        ]
    if kind == EMOTION_ARRAY:
        labels = {
            message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec: _label(_largest(message), where)
            for _, message, where in messages
            if len(message.emotions)
        }
        return _of_frames(zip(frames["time_ns"], (labels.get(stamp) for stamp in frames["stamp_ns"]), strict=True))
    raise LabelsError(f"{bag.path}: {topic} is of {kind}. Labels are {TEXT} or {EMOTION_ARRAY}")


def _of_frames(labelled: Iterable[tuple[int, str | None]]) -> list[Interval]:
    """Runs of frames with one label, from the time of a run's first frame to that of the next run's."""
    runs = [(label, [int(time_ns) for time_ns, _ in group]) for label, group in groupby(labelled, key=lambda p: p[1])]
    ends = [times[0] for _, times in runs[1:]] + [times[-1] + 1 for _, times in runs[-1:]]
    return [Interval(times[0], end, label) for (label, times), end in zip(runs, ends, strict=True) if label is not None]


def _largest(message: Any) -> str:
    return str(max(message.emotions, key=lambda emotion: emotion.roi.width * emotion.roi.height).label)


def _label(word: str | None, where: str) -> str:
    label = emotion_named(word or "")
    if label is None:
        raise LabelsError(f"{where}: label is '{word}'. Write one of {', '.join(EMOTIONS_8)} (or {', '.join(ALIASES)})")
    return label


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LabelsError(f"{where}: '{text}' is no number")
    return value


def _whole(text: str | None, where: str) -> int:
    if not (text or "").strip().isdecimal():
        raise LabelsError(f"{where}: '{text}' is no number of a frame")
    return int(text or "")
