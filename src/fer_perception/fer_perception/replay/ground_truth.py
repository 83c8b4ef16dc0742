"""What was shown: intervals with a label, from a table, an ELAN file or a topic of the bag.

Times are seconds after the bag's first message, by the clock of the recording.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fer_perception.csv_table import read_table
from fer_perception.errors import BagError, LabelsError
from fer_perception.labels import ALIASES, EMOTIONS_8, emotion_named, is_unlabelled
from fer_perception.replay.bags import Bag, bag_name, deserialize, nanoseconds

LABEL_TOPIC = "/ground_truth"
TEXT, EMOTION_ARRAY = "std_msgs/msg/String", "fer_msgs/msg/EmotionArray"
TIER = "emotion"
TABLES = (".csv", ".tsv", ".txt")
MAX_NAMED = 5
MOST_AT_ONCE = 0.5  # of the images
LONGEST_S = 4e9  # beyond, with a bag's own time, 64 bits of nanoseconds would overflow
# Times without a unit that reach so far beyond a recording are milliseconds, or others.
UNLIKELY_TIMES, UNLIKELY_S = 100, 600.0

# Names of columns. ELAN's export has "Begin Time - ss.msec", BIDS onset and duration.
UNIT = r"(_time)?(_(s|sec|secs|seconds|ms|msec|milliseconds|ss_msec|hh_mm_ss_ms))?"
START = re.compile(rf"(start|begin|onset|from){UNIT}")
END = re.compile(rf"(end|stop|offset|to){UNIT}")
DURATION = re.compile(rf"duration{UNIT}")
FRAME = re.compile(r"frame(_(index|number|no|id))?")
LABEL = re.compile(r"label|emotion|expression|annotation")
NAMED_UNIT = re.compile(r"_(s|sec|secs|seconds|ms|msec|milliseconds)$")
MILLISECONDS = re.compile(r"(?<!ss)_(ms|msec|milliseconds)$")
CLOCK = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
THOUSANDS = re.compile(r"\d{1,3}\.\d{3}")
KNOWN = re.compile("|".join(pattern.pattern for pattern in (START, END, DURATION, FRAME, LABEL)))


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
    names = [bag_name(path) for path in bags]
    for file in files:
        if names.count(file.stem) != 1:
            raise LabelsError(
                f"{file}: of several bags, labels are found by name: call it like one of {', '.join(names)}"
            )
    return next((file for file in files if file.stem == bag_name(bag)), None)


class Labels(NamedTuple):
    """The contents of a file of labels: intervals, their times from the bag's first message on, or labels by frame.

    ``notes``: what of it cannot be used, in sentences. ``has_unit``: the columns' names or the format tell the times'.
    """

    intervals: list[Interval]
    frames: dict[int, str]
    notes: list[str]
    has_unit: bool = True


def read_truth(
    bag: Bag, frames: pd.DataFrame, file: Path | None, topic: str = LABEL_TOPIC
) -> tuple[list[Interval], list[str]]:
    """Intervals of a bag, sorted, and what of its labels is not used, in sentences. Empty where nothing is known.

    :param frames: the rows of table ``frames`` of the stream that is labelled.
    :param file: see :func:`read_labels`; None: the topic is read, if the bag has it.
    :raises LabelsError: the file cannot be used.
    """
    if file is None:
        intervals, notes = _of_topic(bag, frames, topic)
    else:
        labels = read_labels(file)
        intervals, notes = labels.intervals, labels.notes
        if labels.frames:
            times = zip(frames["frame"], frames["time_ns"], strict=True)
            intervals = _of_frames((time_ns, labels.frames.get(frame)) for frame, time_ns in times)
            if unknown := labels.frames.keys() - set(frames["frame"]):
                notes.append(f"{file}: {len(unknown)} labelled frames are not among those replayed")
        else:
            start_ns = bag.start_ns
            intervals = [i._replace(start_ns=i.start_ns + start_ns, end_ns=i.end_ns + start_ns) for i in intervals]
    times_ns = np.sort(frames["time_ns"].to_numpy())
    if len(times_ns) > 1 and intervals and (np.diff(times_ns) == 0).mean() > MOST_AT_ONCE:
        notes.append("most images were recorded at the same time as another: labels cannot be matched by time")
    starts, ends = (np.searchsorted(times_ns, [i[end] for i in intervals]) for end in (0, 1))
    if empty := int((starts == ends).sum()):
        notes.append(f"{empty} of {len(intervals)} labelled intervals hold no image")
    return intervals, notes


def read_labels(file: Path) -> Labels:
    """Labels of a table or of ELAN. Rows that cannot be used are left out and counted.

    A table has the columns start_s and end_s (or duration_s), or the same in ms, and label; or frame and label. A frame
    with two labels that differ has none.

    :param file: .csv, .tsv, .txt or .eaf.
    :raises LabelsError: the file cannot be read, holds no label, or its intervals contradict each other.
    """
    if file.suffix.lower() == ".eaf":
        labels = _of_elan(file)
    elif file.suffix.lower() in TABLES:
        labels = _of_table(file)
    else:
        raise LabelsError(f"{file}: labels are read from {', '.join(TABLES)} and from ELAN's .eaf")
    if not labels.intervals and not labels.frames:
        raise LabelsError(". ".join([f"{file}: holds no label", *labels.notes]))
    return labels._replace(intervals=_merged(labels.intervals, file))


def check_labels(labels: Labels, file: Path, length_s: float, images: int) -> None:
    """Compare labels with the recording that they are of, before the work.

    :param images: how many it has.
    :raises LabelsError: none of them is of an image, or the times are too large to be seconds.
    """
    if labels.frames:
        if (first := min(labels.frames)) >= images:
            raise LabelsError(f"{file}: its frames begin with {first}, and there are {images}, counted from 0")
        return
    first_s, last_s = labels.intervals[0].start_ns * 1e-9, labels.intervals[-1].end_ns * 1e-9
    length = f"the recording lasts {length_s:.1f} s"
    if first_s > length_s or last_s <= 0:
        raise LabelsError(
            f"{file}: is from {first_s:.10g} to {last_s:.10g} s, and {length}. Times count from its first message"
        )
    if not labels.has_unit and last_s > max(UNLIKELY_S, UNLIKELY_TIMES * length_s):
        raise LabelsError(
            f"{file}: its labels end at {last_s:.10g} s, and {length}. Say the unit in the columns' names: start_ms "
            "and end_ms, or start_s and end_s"
        )


def _merged(intervals: Iterable[Interval], file: Path) -> list[Interval]:
    """Sorted; those that overlap and have the same label are one.

    :raises LabelsError: two overlap whose labels differ.
    """
    merged: list[Interval] = []
    for interval in sorted(intervals):
        if not merged or interval.start_ns >= merged[-1].end_ns:
            merged.append(interval)
        elif interval.label == merged[-1].label:
            merged[-1] = merged[-1]._replace(end_ns=max(merged[-1].end_ns, interval.end_ns))
        else:
            at_s = interval.start_ns * 1e-9
            raise LabelsError(f"{file}: intervals overlap at {at_s:.3f} s ({merged[-1].label}, {interval.label})")
    return merged


class _Unusable:
    """Counts what is left out of a file of labels, and says so."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._unlabelled = 0
        self._odd: list[str] = []

    def label(self, word: str, where: str) -> str | None:
        """The label that a word means; None, counted, where it means none."""
        label = emotion_named(word)
        if label is None and is_unlabelled(word):
            self._unlabelled += 1
        elif label is None:
            self.odd(where, f"'{word[:40]}' is no label")
        return label

    def odd(self, where: str, reason: str) -> None:
        """Count what cannot be used for another reason."""
        self._odd.append(f"{where}: {reason}")

    def notes(self) -> list[str]:
        """What was left out, in sentences."""
        found = []
        if self._unlabelled:
            found.append(f"{self._file}: {self._unlabelled} without a label are left out")
        if self._odd:
            more = ", ..." if len(self._odd) > MAX_NAMED else ""
            known = f". Labels are {', '.join(EMOTIONS_8)} (or {', '.join(ALIASES)})"
            found.append(
                f"{self._file}: {len(self._odd)} cannot be used and are left out: "
                + ", ".join(self._odd[:MAX_NAMED])
                + more
                + (known if any(text.endswith("is no label") for text in self._odd) else "")
            )
        return found


def _of_table(file: Path) -> Labels:
    try:
        columns, rows = read_table(file, KNOWN)
    except (OSError, ValueError, csv.Error) as error:
        raise LabelsError(f"{file}: cannot be read ({error}). Give the path of a CSV in UTF-8") from error
    start, end, duration, frame, label = (
        next((column for column in columns if pattern.fullmatch(column)), "")
        for pattern in (START, END, DURATION, FRAME, LABEL)
    )
    if not label or not ((start and (end or duration)) or frame):
        found = f"It has {', '.join(columns)}" if columns else "It is empty"
        raise LabelsError(f"{file}: lacks columns. It needs start_s, end_s and label, or frame and label. {found}")
    if len(several := [column for column in columns if LABEL.fullmatch(column)]) > 1:
        raise LabelsError(f"{file}: has labels in the columns {' and '.join(several)}. Keep one of them")
    unusable = _Unusable(str(file))
    # A column whose name has no unit has the other's.
    units = [column for column in (start, end or duration) if NAMED_UNIT.search(column)]
    labels, contradicted = Labels([], {}, [], has_unit=bool(units)), set[int]()
    for line, cells in rows:
        where = f"line {line}"
        word = unusable.label(cells.get(label, ""), where)
        if word is None:
            continue
        try:
            if start and (end or duration):
                first, last = (
                    _time_ns(cells.get(column, ""), column if column in units else units[0] if units else "")
                    for column in (start, end or duration)
                )
                last += 0 if end else first
                if last <= first:
                    raise ValueError(f"it ends at {last * 1e-9:g} s and begins at {first * 1e-9:g} s")
                labels.intervals.append(Interval(first, last, word))
            else:
                number = _whole(cells.get(frame, ""))
                if (other := labels.frames.setdefault(number, word)) != word:
                    contradicted.add(number)
                    raise ValueError(f"frame {number} is {word} here and {other} before, and counts as neither")
        except ValueError as error:
            unusable.odd(where, str(error))
    for number in contradicted:
        del labels.frames[number]
    labels.notes.extend(unusable.notes())
    return labels


def _time_ns(text: str, column: str) -> int:
    """A cell as nanoseconds: seconds, or milliseconds where the column's name says so, or hours:minutes:seconds.

    :param column: the name that has the unit.
    :raises ValueError: it is none, or may be another.
    """
    plain = text.replace(",", ".") if text.count(",") == 1 and "." not in text else text
    is_ms = ":" not in plain and MILLISECONDS.search(column)
    if is_ms and THOUSANDS.fullmatch(plain):
        raise ValueError(f"'{text[:40]}' is either thousands or a fraction. Write milliseconds without a separator")
    if ":" in plain:
        if not (clock := CLOCK.fullmatch(plain)):
            raise ValueError(f"'{text[:40]}' is no time such as 1:02:03.5 (hours, minutes, seconds)")
        hours, minutes, rest = (float(part or 0) for part in clock.groups())
        number = hours * 3600 + minutes * 60 + rest
    else:
        try:
            number = float(plain)
        except ValueError:
            raise ValueError(f"'{text[:40]}' is no number") from None
    if not abs(number) < LONGEST_S * (1000 if is_ms else 1):  # nor any that is none
        raise ValueError(f"'{text[:40]}' is no time in a recording")
    return round(number * (1e6 if is_ms else 1e9))


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"'{text[:40]}' is no number of a frame")
    return int(text)


def _of_elan(file: Path) -> Labels:
    """The annotations of the tier "emotion", or of the only tier."""
    from pympi.Elan import Eaf

    try:
        document = Eaf(str(file))
        tiers = list(document.get_tier_names())
        named = [tier for tier in tiers if tier.strip().lower() == TIER]
        tier = (named or tiers or [""])[0]
        annotations = document.get_annotation_data_for_tier(tier) if tiers else []
    except Exception as error:  # pympi lets out whatever it runs into, even Exception itself
        raise LabelsError(f"{file}: is no readable ELAN file ({type(error).__name__}: {error})") from error
    if not named and len(tiers) > 1:
        raise LabelsError(f"{file}: has the tiers {', '.join(tiers)}. Call the one with the labels '{TIER}'")
    unusable, intervals = _Unusable(str(file)), []
    for first, last, text, *_ in annotations:
        if first is None or last is None or last <= first:
            unusable.odd(f"'{text}'", "has no time. Align it in ELAN")
        elif label := unusable.label(text, f"at {first} ms"):
            intervals.append(Interval(first * 1_000_000, last * 1_000_000, label))
    return Labels(intervals, {}, unusable.notes())


def _of_topic(bag: Bag, frames: pd.DataFrame, topic: str) -> tuple[list[Interval], list[str]]:
    """Text holds until the next message, an empty one says that nothing is known; an EmotionArray is of one image."""
    kind = bag.type_of(topic)
    if kind is None:
        return [], [] if topic == LABEL_TOPIC else [f"there is no topic {topic}: no labels are read"]
    if kind not in (TEXT, EMOTION_ARRAY):
        return [], [f"{topic} is of {kind}: no labels are read. They are {TEXT} or {EMOTION_ARRAY}"]
    unusable, messages = _Unusable(topic), []
    for connection, time_ns, raw in bag.messages([topic]):
        try:
            messages.append((time_ns, deserialize(raw, connection.msgtype)))
        except BagError as error:
            messages.append((time_ns, None))
            unusable.odd(_at(bag, time_ns), str(error))
    if kind == TEXT:
        intervals = []
        ends = [time_ns for time_ns, _ in messages[1:]] + [bag.end_ns + 1]
        for (time_ns, message), end_ns in zip(messages, ends, strict=True):
            if (
                message
                and message.data.strip()
                and end_ns > time_ns
                and (word := unusable.label(message.data, _at(bag, time_ns)))
            ):
                intervals.append(Interval(time_ns, end_ns, word))
    else:
        labels = {
            nanoseconds(message.header.stamp): unusable.label(_largest(message), _at(bag, time_ns))
            for time_ns, message in messages
            if message and len(message.emotions)
        }
        intervals = _of_frames(zip(frames["time_ns"], map(labels.get, frames["stamp_ns"]), strict=True))
    return intervals, unusable.notes()


def _at(bag: Bag, time_ns: int) -> str:
    return f"at {(time_ns - bag.start_ns) * 1e-9:.2f} s"


def _of_frames(labelled: Iterable[tuple[int, str | None]]) -> list[Interval]:
    """Runs of frames with one label, from the time of a run's first frame to that of the next run's."""
    runs = [(label, [int(time_ns) for time_ns, _ in group]) for label, group in groupby(labelled, key=lambda p: p[1])]
    ends = [times[0] for _, times in runs[1:]] + [times[-1] + 1 for _, times in runs[-1:]]
    return [Interval(times[0], end, label) for (label, times), end in zip(runs, ends, strict=True) if label is not None]


def _largest(message: Any) -> str:
    return str(max(message.emotions, key=lambda emotion: emotion.roi.width * emotion.roi.height).label)
