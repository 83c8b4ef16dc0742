"""How well the answers fit what was shown, and how steady and fast they are. Knows nothing of how they were made.

A label is of an image. Where the image shows several faces it is compared with the answer for the most prominent one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer_perception.evaluation.metrics import (
    classification_metrics,
    interval,
    reliability,
    resampled_confusions,
    scores,
)
from fer_perception.replay.ground_truth import Interval
from fer_perception.replay.tables import DURATIONS, STREAM, Answers
from fer_perception.telemetry.timing import percentiles

# Neighbouring frames resemble each other: bootstrap draws pieces of an interval of this length as a whole.
UNIT_NS = 1_000_000_000
KINDS = {"single": "", "smoothed": "smoothed_"}
Truth = Mapping[tuple[str, str], Sequence[Interval]]


def evaluate(answers: Answers, truth: Truth) -> dict[str, Any]:
    """Measure every stream, and all of them together.

    :param truth: intervals by bag and topic; a stream may be missing.
    :return: ``streams`` (a list, each with ``bag`` and ``topic``) and ``all``, each with

        - ``frames``, ``with_face``, ``faces``, ``tracks``, ``dropped`` (images without an answer): numbers;
          ``rejected``: images by reason; ``refused``: faces by reason;
        - ``flicker_per_minute``: changes of the label within a track, of ``single`` answers and ``smoothed``;
        - ``latency_ms``: percentiles by duration;
        - ``truth``: see :func:`measure_truth`, or None where nothing is known.
    """
    scored = label_frames(answers, truth)
    streams = []
    for stream in _streams(answers.frames):
        part = Answers(answers.labels, _of(answers.emotions, stream), _of(answers.frames, stream))
        mine = {stream: truth.get(stream, ())}
        streams.append({**dict(zip(STREAM, stream, strict=True)), **_measure(part, _of(scored, stream), mine)})
    return {"streams": streams, "all": _measure(answers, scored, truth)}


def label_frames(answers: Answers, truth: Truth) -> pd.DataFrame:
    """The labelled frames, each with the answer for its most prominent face.

    :return: columns bag, topic, frame, time_ns, ``target`` (the label that was shown), ``interval`` (its number in the
        stream), ``unit`` (see ``UNIT_NS``), ``answered`` (whether a face was found and got an emotion), ``refused``
        (whether it was found and got none), and of the answer ``track_id`` and all columns of the emotion; empty
        values where no face was found.
    """
    columns = [*STREAM, "frame", "time_ns", "stamp_ns"]
    parts = []
    for stream in _streams(answers.frames):
        intervals = truth.get(stream, ())
        if not intervals:
            continue
        frames = _of(answers.frames, stream)[columns]
        times = frames["time_ns"].to_numpy()
        number = np.searchsorted([i.start_ns for i in intervals], times, side="right") - 1
        ends = np.asarray([i.end_ns for i in intervals])
        inside = (number >= 0) & (times < ends[number])
        frames, number, times = frames[inside], number[inside], times[inside]
        starts = np.asarray([i.start_ns for i in intervals])[number]
        parts.append(
            frames.assign(
                target=[intervals[n].label for n in number],
                interval=number,
                unit=[f"{n}/{piece}" for n, piece in zip(number, (times - starts) // UNIT_NS, strict=True)],
            )
        )
    nothing = answers.frames[columns].iloc[:0].assign(target="", interval=0, unit="")
    labelled = pd.concat(parts) if parts else nothing
    prominent = answers.emotions[answers.emotions["prominent"]].drop(columns=["time_ns", "stamp_ns"])
    scored = labelled.merge(prominent, how="left", on=[*STREAM, "frame"])
    found, refused = scored["track_id"].notna(), scored["refusal"].fillna("") != ""
    return scored.assign(answered=found & ~refused, refused=refused)


def measure_truth(scored: pd.DataFrame, labels: Sequence[str], truth: Truth) -> dict[str, Any] | None:
    """Answers against labels.

    :param scored: of :func:`label_frames`.
    :return: None where no frame is labelled, else ``labelled``, ``answered`` (frames whose face got an emotion),
        ``refused`` (frames whose face got none), ``coverage`` (share of the answered ones), ``left_out`` (answered
        frames by a label that the model lacks), ``units`` (which bootstrap draws), ``changes`` (of expression: when
        the new label was first given, in seconds after the change, or None), and each for ``single`` and ``smoothed``:
        ``frames`` (metrics, intervals and reliability of single frames), ``intervals`` and ``tracks`` (their majority:
        ``n``, ``accuracy``), ``detection`` (of changes: ``detected``, their share, and ``median_s``).
    """
    if scored.empty:
        return None
    known = scored["target"].isin(labels)
    usable = scored[scored["answered"] & known]
    left_out = Counter(scored.loc[scored["answered"] & ~known, "target"])
    changes = find_changes(scored, truth)
    result: dict[str, Any] = {
        "labelled": len(scored),
        "answered": int(scored["answered"].sum()),
        "refused": int(scored["refused"].sum()),
        "coverage": float(scored["answered"].mean()),
        "left_out": dict(left_out),
        "units": int(usable.groupby([*STREAM, "unit"]).ngroups) if len(usable) else 0,
        "changes": changes,
    }
    for kind, prefix in KINDS.items():
        result[kind] = {
            "frames": _frame_metrics(usable, prefix, labels) if len(usable) else None,
            "intervals": _majority(usable, prefix, labels, "interval"),
            "tracks": _majority(usable, prefix, labels, "track_id"),
            "detection": _detection([change[f"{kind}_s"] for change in changes]),
        }
    return result


def find_changes(scored: pd.DataFrame, truth: Truth) -> list[dict[str, Any]]:
    """Changes from one interval to the next with another label, and how long each took to be seen in the answers."""
    changes = []
    for stream, intervals in truth.items():
        frames = _of(scored, stream)
        for number in range(1, len(intervals)):
            before, after = intervals[number - 1], intervals[number]
            shown = frames[frames["interval"] == number]
            if before.label == after.label or before.end_ns != after.start_ns or shown.empty:
                continue
            entry: dict[str, Any] = {**dict(zip(STREAM, stream, strict=True)), "time_ns": after.start_ns}
            entry |= {"from": before.label, "to": after.label}
            for kind, prefix in KINDS.items():
                seen = shown.loc[shown[f"{prefix}label"] == after.label, "time_ns"]
                entry[f"{kind}_s"] = (int(seen.iloc[0]) - after.start_ns) * 1e-9 if len(seen) else None
            changes.append(entry)
    return changes


def confusions_by_unit(scored: pd.DataFrame, predictions: pd.Series, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Confusion matrices of the units that bootstrap draws: int64, (units, labels, labels)."""
    units = scored.groupby([*STREAM, "unit"], sort=True).ngroup().to_numpy()
    matrices = np.zeros((units.max() + 1, len(labels), len(labels)), np.int64)
    np.add.at(matrices, (units, _codes(scored["target"], labels), _codes(predictions, labels)), 1)
    return matrices


def probabilities(scored: pd.DataFrame, prefix: str, labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """The probabilities of a table's rows: float32, (rows, labels)."""
    return scored[[f"{prefix}{label}" for label in labels]].to_numpy(np.float32)


def _measure(answers: Answers, scored: pd.DataFrame, truth: Truth) -> dict[str, Any]:
    frames, emotions = answers.frames, answers.emotions
    return {
        "frames": len(frames),
        "with_face": int((frames["faces"] > 0).sum()),
        "rejected": dict(Counter(frames.loc[frames["rejected"] != "", "rejected"]).most_common()),
        "dropped": int(frames["dropped"].sum()),
        "faces": len(emotions),
        "refused": dict(Counter(emotions.loc[emotions["refusal"] != "", "refusal"]).most_common()),
        "tracks": int(emotions.groupby([*STREAM, "track_id"]).ngroups),
        "flicker_per_minute": {kind: _flicker(emotions, prefix) for kind, prefix in KINDS.items()},
        "latency_ms": {name: _percentiles(frames[f"{name}_ms"]) for name in DURATIONS},
        "truth": measure_truth(scored, answers.labels, truth),
    }


def _frame_metrics(usable: pd.DataFrame, prefix: str, labels: Sequence[str]) -> dict[str, Any]:
    targets, rows = _codes(usable["target"], labels), probabilities(usable, prefix, labels)
    resamples = scores(resampled_confusions(confusions_by_unit(usable, usable[f"{prefix}label"], labels)))
    return {
        **classification_metrics(targets, rows, labels),
        "intervals": {name: interval(values) for name, values in resamples.items()},
        "reliability": reliability(targets, rows),
    }


def _majority(usable: pd.DataFrame, prefix: str, labels: Sequence[str], group: str) -> dict[str, Any]:
    """Share of the groups whose most frequent prediction is their most frequent label; ties go to the first label."""
    right = [
        _most_frequent(rows["target"], labels) == _most_frequent(rows[f"{prefix}label"], labels)
        for _, rows in usable.groupby([*STREAM, group], sort=True)
    ]
    return {"n": len(right), "accuracy": float(np.mean(right)) if right else None}


def _most_frequent(values: pd.Series, labels: Sequence[str]) -> int:
    return int(np.bincount(_codes(values, labels)).argmax())


def _detection(delays_s: list[float | None]) -> dict[str, Any]:
    seen = [delay for delay in delays_s if delay is not None]
    return {
        "changes": len(delays_s),
        "detected": len(seen) / len(delays_s) if delays_s else None,
        "median_s": float(np.median(seen)) if seen else None,
    }


def _flicker(emotions: pd.DataFrame, prefix: str) -> float | None:
    """Changes of the label per minute of the tracks' lives; None where no track lasts."""
    emotions = emotions[emotions["refusal"] == ""]
    tracks = emotions.groupby([*STREAM, "track_id"], sort=False)
    before = tracks[f"{prefix}label"].shift()
    changes = int((before.notna() & (before != emotions[f"{prefix}label"])).sum())
    minutes = float((tracks["time_ns"].max() - tracks["time_ns"].min()).sum()) / 60e9
    return changes / minutes if minutes > 0 else None


def _percentiles(values: pd.Series) -> dict[str, float | None]:
    found = percentiles(values)._asdict()
    return {name: None if np.isnan(value) else round(value, 3) for name, value in found.items()}


def _codes(values: pd.Series, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.asarray([labels.index(value) for value in values], np.int64)


def _streams(frames: pd.DataFrame) -> list[tuple[str, str]]:
    return [(bag, topic) for bag, topic in frames[list(STREAM)].drop_duplicates().itertuples(index=False)]


def _of(table: pd.DataFrame, stream: tuple[str, str]) -> pd.DataFrame:
    bag, topic = stream
    return table[(table["bag"] == bag) & (table["topic"] == topic)]
