"""How well predictions fit the ground truth, and how steady and fast they are, whoever made them.

A label is of an image. Where the image shows several faces it is compared with the prediction for the most prominent
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer_perception.evaluation.metrics import Metrics, classification_metrics, resampled_confusions, scores
from fer_perception.evaluation.results import interval, rounded
from fer_perception.replay.ground_truth import Interval
from fer_perception.replay.results import (
    Change,
    Detection,
    Kind,
    KindResult,
    Majority,
    Measures,
    Percentiles,
    TruthResult,
)
from fer_perception.replay.tables import DURATIONS, STREAM, Predictions
from fer_perception.telemetry.timing import percentiles

# Neighbouring frames resemble each other: bootstrap draws pieces of an interval of this length as a whole.
UNIT_NS = 1_000_000_000
KINDS: dict[Kind, str] = {"single": "", "smoothed": "smoothed_"}
Truth = Mapping[tuple[str, str], Sequence[Interval]]


def evaluate(predictions: Predictions, truth: Truth) -> tuple[list[Measures], Measures]:
    """Measure every stream, in the order of the frames, and all of them together.

    :param truth: intervals by bag and topic; a stream may be missing.
    """
    scored = label_frames(predictions, truth)
    streams = []
    for stream in _streams(predictions.frames):
        part = Predictions(predictions.labels, _of(predictions.emotions, stream), _of(predictions.frames, stream))
        streams.append(_measure(part, _of(scored, stream), {stream: truth.get(stream, ())}))
    return streams, _measure(predictions, scored, truth)


def label_frames(predictions: Predictions, truth: Truth) -> pd.DataFrame:
    """The labelled frames, each with the prediction for its most prominent face.

    :return: columns bag, topic, frame, time_ns, ``target`` (the label that was shown), ``interval`` (its number in the
        stream), ``unit`` (see ``UNIT_NS``), ``predicted`` (whether a face was found and got an emotion), ``refused``
        (whether it was found and got none), and of the prediction ``track_id`` and all columns of the emotion; empty
        values where no face was found.
    """
    columns = [*STREAM, "frame", "time_ns", "stamp_ns"]
    parts = []
    for stream in _streams(predictions.frames):
        intervals = truth.get(stream, ())
        if not intervals:
            continue
        frames = _of(predictions.frames, stream)[columns]
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
    nothing = predictions.frames[columns].iloc[:0].assign(target="", interval=0, unit="")
    labelled = pd.concat(parts) if parts else nothing
    prominent = predictions.emotions[predictions.emotions["prominent"]].drop(columns=["time_ns", "stamp_ns"])
    scored = labelled.merge(prominent, how="left", on=[*STREAM, "frame"])
    found, refused = scored["track_id"].notna(), scored["refusal"].fillna("") != ""
    return scored.assign(predicted=found & ~refused, refused=refused)


def measure_truth(scored: pd.DataFrame, labels: Sequence[str], truth: Truth) -> TruthResult | None:
    """Predictions against labels; None where no frame is labelled.

    :param scored: of :func:`label_frames`.
    """
    if scored.empty:
        return None
    known = scored["target"].isin(labels)
    usable = scored[scored["predicted"] & known]
    changes = find_changes(scored, truth)
    kinds = {
        kind: KindResult(
            frames=_frame_metrics(usable, prefix, labels) if len(usable) else None,
            intervals=_majority(usable, prefix, labels, "interval"),
            tracks=_majority(usable, prefix, labels, "track_id"),
            detection=_detection([getattr(change, f"{kind}_s") for change in changes]),
        )
        for kind, prefix in KINDS.items()
    }
    return TruthResult(
        labelled=len(scored),
        predicted=int(scored["predicted"].sum()),
        refused=int(scored["refused"].sum()),
        coverage=scored["predicted"].mean(),
        left_out=dict(Counter(scored.loc[scored["predicted"] & ~known, "target"])),
        units=int(usable.groupby([*STREAM, "unit"]).ngroups) if len(usable) else 0,
        changes=changes,
        single=kinds["single"],
        smoothed=kinds["smoothed"],
    )


def find_changes(scored: pd.DataFrame, truth: Truth) -> list[Change]:
    """Changes from one interval to the next with another label, and how long each took to be predicted."""
    changes = []
    for stream, intervals in truth.items():
        frames = _of(scored, stream)
        for number in range(1, len(intervals)):
            before, after = intervals[number - 1], intervals[number]
            shown = frames[frames["interval"] == number]
            if before.label == after.label or before.end_ns != after.start_ns or shown.empty:
                continue
            seen = {kind: shown.loc[shown[f"{p}label"] == after.label, "time_ns"] for kind, p in KINDS.items()}
            delays = {f"{k}_s": (int(t.iloc[0]) - after.start_ns) * 1e-9 if len(t) else None for k, t in seen.items()}
            bag, topic = stream
            changes.append(
                Change(bag=bag, topic=topic, time_ns=after.start_ns, before=before.label, after=after.label, **delays)
            )
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


def _measure(predictions: Predictions, scored: pd.DataFrame, truth: Truth) -> Measures:
    frames, emotions = predictions.frames, predictions.emotions
    return Measures(
        frames=len(frames),
        with_face=int((frames["faces"] > 0).sum()),
        rejected=dict(Counter(frames.loc[frames["rejected"] != "", "rejected"]).most_common()),
        dropped=int(frames["dropped"].sum()),
        stamp_faults=dict(Counter(frames.loc[frames["stamp_fault"] != "", "stamp_fault"]).most_common()),
        faces=len(emotions),
        refused=dict(Counter(emotions.loc[emotions["refusal"] != "", "refusal"]).most_common()),
        flaws=dict(Counter(frames.loc[frames["flaw"] != "", "flaw"]).most_common()),
        tracks=int(emotions.groupby([*STREAM, "track_id"]).ngroups),
        flicker_per_minute={kind: _flicker(emotions, prefix) for kind, prefix in KINDS.items()},
        latency_ms={name: _percentiles(frames[f"{name}_ms"]) for name in DURATIONS},
        truth=measure_truth(scored, predictions.labels, truth),
    )


def _frame_metrics(usable: pd.DataFrame, prefix: str, labels: Sequence[str]) -> Metrics:
    targets, rows = _codes(usable["target"], labels), probabilities(usable, prefix, labels)
    resamples = scores(resampled_confusions(confusions_by_unit(usable, usable[f"{prefix}label"], labels)))
    # Neighbouring frames resemble each other, so the intervals are over units and not over single frames.
    intervals = {name: interval(values) for name, values in resamples.items()}
    return classification_metrics(targets, rows, labels).model_copy(update={"intervals": intervals})


def _majority(usable: pd.DataFrame, prefix: str, labels: Sequence[str], group: str) -> Majority:
    """Of ties the first label counts."""
    right = [
        _most_frequent(rows["target"], labels) == _most_frequent(rows[f"{prefix}label"], labels)
        for _, rows in usable.groupby([*STREAM, group], sort=True)
    ]
    return Majority(n=len(right), accuracy=float(np.mean(right)) if right else None)


def _most_frequent(values: pd.Series, labels: Sequence[str]) -> int:
    return int(np.bincount(_codes(values, labels)).argmax())


def _detection(delays_s: list[float | None]) -> Detection:
    seen = [delay for delay in delays_s if delay is not None]
    return Detection(
        changes=len(delays_s),
        detected=len(seen) / len(delays_s) if delays_s else None,
        median_s=float(np.median(seen)) if seen else None,
    )


def _flicker(emotions: pd.DataFrame, prefix: str) -> float | None:
    """Changes of the label per minute of the tracks' lives; None where no track lasts."""
    emotions = emotions[emotions["refusal"] == ""]
    tracks = emotions.groupby([*STREAM, "track_id"], sort=False)
    before = tracks[f"{prefix}label"].shift()
    changes = int((before.notna() & (before != emotions[f"{prefix}label"])).sum())
    minutes = float((tracks["time_ns"].max() - tracks["time_ns"].min()).sum()) / 60e9
    return changes / minutes if minutes > 0 else None


def _percentiles(values: pd.Series) -> Percentiles:
    return Percentiles(**{name: rounded(value) for name, value in percentiles(values)._asdict().items()})


def _codes(values: pd.Series, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.asarray([labels.index(value) for value in values], np.int64)


def _streams(frames: pd.DataFrame) -> list[tuple[str, str]]:
    return [(bag, topic) for bag, topic in frames[list(STREAM)].drop_duplicates().itertuples(index=False)]


def _of(table: pd.DataFrame, stream: tuple[str, str]) -> pd.DataFrame:
    bag, topic = stream
    return table[(table["bag"] == bag) & (table["topic"] == topic)]
