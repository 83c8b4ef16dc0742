"""Measures of small tables that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fer_perception.labels import UNKNOWN
from fer_perception.replay.evaluation import Truth, evaluate, label_frames
from fer_perception.replay.ground_truth import Interval
from fer_perception.replay.results import Detection, Majority, Percentiles
from fer_perception.replay.tables import DURATIONS, Predictions

LABELS = ("happy", "sad", "neutral")
S = 1_000_000_000
STREAM = ("bag", "/image")


def predictions_of(single: str, smoothed: str = "", track: str = "a", rejected: tuple[int, ...] = ()) -> Predictions:
    """Frames at 2 Hz. h, s, n: one face with that label; u: one that was refused; a blank: no face; a
    dash: no prediction.
    """
    smoothed = smoothed or single
    names = {label[0]: label for label in (*LABELS, UNKNOWN)}
    frames, emotions = [], []
    for frame, (letter, smooth) in enumerate(zip(single, smoothed, strict=True)):
        keys = {"bag": STREAM[0], "topic": STREAM[1], "frame": frame, "stamp_ns": frame * S // 2}
        keys["time_ns"] = keys["stamp_ns"]
        found = letter not in " -" and frame not in rejected
        frames.append(
            {**keys, "faces": int(found), "rejected": "broken" if frame in rejected else "", "dropped": letter == "-"}
            | {"stamp_fault": "", "flaw": ""}
            | {f"{name}_ms": float(frame) for name in DURATIONS}
        )
        if found:
            row: dict[str, object] = {**keys, "track_id": track[frame % len(track)], "prominent": True}
            row["refusal"] = "unsure" if letter == "u" else ""
            for prefix, letter_of in (("", letter), ("smoothed_", smooth)):
                label = names[letter_of]
                row |= {f"{prefix}label": label, f"{prefix}confidence": 0.0 if letter == "u" else 0.7}
                other = math.nan if letter == "u" else 0.15
                row |= {f"{prefix}{name}": 0.7 if name == label else other for name in LABELS}
            emotions.append(row)
    return Predictions(LABELS, pd.DataFrame(emotions), pd.DataFrame(frames))


def intervals(*spans: tuple[float, float, str]) -> Truth:
    return {STREAM: [Interval(round(start * S), round(end * S), label) for start, end, label in spans]}


def test_without_labels() -> None:
    predictions = predictions_of("hhsh", "hhhh", rejected=(2,))
    result = evaluate(predictions, {})[1]
    assert result.frames == 4
    assert result.with_face == result.faces == 3
    assert result.rejected == {"broken": 1}
    assert result.tracks == 1
    assert result.truth is None
    assert result.latency_ms["total"] == Percentiles(p50=1.5, p95=2.85, p99=2.97)


def test_dropped_frames_count_against_the_coverage_alone() -> None:
    result = evaluate(predictions_of("h--h"), intervals((0, 2, "happy")))[1]
    assert (result.frames, result.dropped, result.with_face) == (4, 2, 2)
    assert result.truth.coverage == 0.5
    assert result.truth.single.frames.accuracy == 1.0


def test_refused_faces_count_against_the_coverage_and_are_never_wrong() -> None:
    result = evaluate(predictions_of("huuh"), intervals((0, 2, "happy")))[1]
    assert (result.faces, result.refused) == (4, {"unsure": 2})
    truth = result.truth
    assert (truth.labelled, truth.predicted, truth.refused, truth.coverage) == (4, 2, 2, 0.5)
    assert truth.single.frames.accuracy == truth.smoothed.intervals.accuracy == 1.0
    assert result.flicker_per_minute == {"single": 0.0, "smoothed": 0.0}
    all_refused = evaluate(predictions_of("uu"), intervals((0, 1, "happy")))[1].truth
    assert (all_refused.coverage, all_refused.single.frames) == (0.0, None)


def test_flicker_counts_changes_within_a_track() -> None:
    one = evaluate(predictions_of("hshhs", "hhhhh"), {})[1].flicker_per_minute
    assert one == {"single": pytest.approx(3 / (2 / 60)), "smoothed": 0.0}
    two = evaluate(predictions_of("hshshs", track="ab"), {})[1].flicker_per_minute
    assert two["single"] == 0.0  # each of the two faces keeps its label
    assert evaluate(predictions_of("h"), {})[1].flicker_per_minute["single"] is None


def test_frames_coverage_and_what_the_model_lacks() -> None:
    truth = intervals((0, 1, "happy"), (1, 2, "sad"), (2, 3, "contempt"))
    result = evaluate(predictions_of("hn s  hh"), truth)[1].truth
    assert result.labelled == 6  # the last two lie behind the labels
    assert result.predicted == 3
    assert result.coverage == 0.5
    assert result.left_out == {}
    single = result.single.frames
    assert single.n == 3
    assert single.accuracy == pytest.approx(2 / 3)
    assert single.confusion == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert single.reliability.count[10] == 3
    assert evaluate(predictions_of("hhsshh"), truth)[1].truth.left_out == {"contempt": 2}


def test_majorities_of_intervals_and_tracks() -> None:
    truth = intervals((0, 1.5, "happy"), (1.5, 3, "sad"))
    result = evaluate(predictions_of("hhshhs", "hhhsss"), truth)[1].truth
    assert result.single.intervals == Majority(n=2, accuracy=0.5)
    assert result.smoothed.intervals == Majority(n=2, accuracy=1.0)
    assert result.single.tracks == Majority(n=1, accuracy=1.0)  # as often happy as sad: the first label, twice
    two = evaluate(predictions_of("hsssss", track="ab"), intervals((0, 3, "happy")))[1].truth
    assert two.single.tracks == Majority(n=2, accuracy=0.0)


def test_changes_of_expression() -> None:
    truth = intervals((0, 1, "neutral"), (1, 2, "happy"), (2, 3, "sad"), (4, 5, "neutral"))
    result = evaluate(predictions_of("nnnhhhhhnn", "nnnnhhhhnn"), truth)[1].truth
    assert [(change.before, change.after, change.time_ns) for change in result.changes] == [
        ("neutral", "happy", S),
        ("happy", "sad", 2 * S),
    ]  # none after a gap
    assert [change.single_s for change in result.changes] == [0.5, None]
    assert result.single.detection == Detection(changes=2, detected=0.5, median_s=0.5)
    assert result.smoothed.detection == Detection(changes=2, detected=0.0, median_s=None)


def test_an_image_is_judged_by_its_most_prominent_face() -> None:
    predictions = predictions_of("hh")
    other = predictions.emotions.assign(prominent=False, label="sad", track_id="b")
    both = Predictions(LABELS, pd.concat([other, predictions.emotions]), predictions.frames)
    result = evaluate(both, intervals((0, 1, "happy")))[1]
    assert result.truth.single.frames.accuracy == 1.0
    assert result.faces == 4


def test_units_are_pieces_of_at_most_a_second_of_an_interval() -> None:
    scored = label_frames(predictions_of("h" * 6), intervals((0, 0.5, "happy"), (0.5, 3, "sad")))
    assert scored["unit"].tolist() == ["0/0", "1/0", "1/0", "1/1", "1/1", "1/2"]


def test_streams_are_measured_apart_and_together() -> None:
    one, other = predictions_of("hh"), predictions_of("sss")
    both = Predictions(
        LABELS,
        pd.concat([one.emotions, other.emotions.assign(bag="other")]),
        pd.concat([one.frames, other.frames.assign(bag="other")]),
    )
    truth = {**intervals((0, 9, "happy")), ("other", "/image"): [Interval(0, 9 * S, "happy")]}
    streams, everything = evaluate(both, truth)
    accuracies = [stream.truth.single.frames.accuracy for stream in [*streams, everything]]
    np.testing.assert_allclose(accuracies, [1.0, 0.0, 0.4])
    assert [stream.frames for stream in streams] == [2, 3]
    assert everything.tracks == 2
