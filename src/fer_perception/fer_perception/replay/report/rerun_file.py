"""The view of a whole bag, with the ground truth, as a recording for Rerun's viewer. Needs requirements/view.txt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd

from fer_perception.faces.face import Face
from fer_perception.files import written_atomically
from fer_perception.replay.bags import Bag, Frame, Selection, read_frames
from fer_perception.replay.ground_truth import Interval
from fer_perception.replay.images import Redactor
from fer_perception.replay.tables import Predictions, keypoints_of
from fer_perception.telemetry.timing import WindowSummary, percentiles
from fer_perception.types import UInt8Image
from fer_perception.visualization.rerun_view import RerunView, Shown

WINDOW_NS = 1_000_000_000


def write_rerun_file(
    file: Path,
    predictions: Predictions,
    truth: Sequence[Interval],
    selection: Selection,
    images: bool,
    show_faces: bool,
) -> None:
    """Write a stream: its images with boxes and key points, probabilities by face, latency, and what was shown. Times
    are those of the recording.

    :param predictions: of one stream.
    :param images: with the images.
    :param show_faces: faces in images stay recognisable.
    :raises BagError: the bag is missing or damaged.
    """
    frames, emotions = predictions.frames, predictions.emotions
    bag, topic = frames["bag"].iloc[0], frames["topic"].iloc[0]
    faces = dict(iter(emotions.groupby("frame", sort=False)))
    nothing = emotions.iloc[:0]
    with written_atomically(file) as temporary, ExitStack() as stack:
        view = stack.enter_context(closing(RerunView.recording(temporary, f"{bag}, {topic}")))
        redactor = None if show_faces or not images else stack.enter_context(closing(Redactor()))
        images_of = _frames(Path(bag), topic, selection) if images else repeat(None, len(frames))
        for frame, row in zip(images_of, frames.to_dict("records"), strict=True):
            time_ns, rows = row["time_ns"], faces.get(row["frame"], nothing)
            if truth:
                view.truth(time_ns, _label_at(truth, time_ns), predictions.labels)
            if row["rejected"] or row["dropped"]:
                continue
            image = frame.image if frame else None
            if image is not None and redactor:
                image = redactor.redacted(image, _boxes(rows))
            view.show(time_ns, _shown(image, rows, predictions.labels))
        for time_ns, summary in _summaries(frames):
            view.statistics(time_ns, summary)


def _frames(bag: Path, topic: str, selection: Selection) -> Iterator[Frame]:
    with Bag(bag) as opened:
        yield from read_frames(opened, topic, selection)


def _boxes(rows: pd.DataFrame) -> list[tuple[int, int, int, int]]:
    return list(rows[["x", "y", "width", "height"]].itertuples(index=False, name=None))


def _shown(image: UInt8Image | None, rows: pd.DataFrame, labels: Sequence[str]) -> Shown:
    faces = [Face(*face) for face in zip(_boxes(rows), rows["face_confidence"], keypoints_of(rows), strict=True)]
    probabilities = rows[[f"smoothed_{label}" for label in labels]].to_numpy(np.float32)
    return Shown(image, faces, list(rows["track_id"]), probabilities, labels)


def _label_at(truth: Sequence[Interval], time_ns: int) -> str:
    """What was shown then; empty where nobody knows."""
    return next((interval.label for interval in truth if interval.start_ns <= time_ns < interval.end_ns), "")


def _summaries(frames: pd.DataFrame) -> Iterator[tuple[int, WindowSummary]]:
    """Each second's latency and counts, at the end of the second."""
    seconds = (frames["time_ns"] - frames["time_ns"].iloc[0]) // WINDOW_NS
    for second, rows in frames.groupby(seconds, sort=True):
        processed = int((~rows["dropped"] & (rows["rejected"] == "")).sum())
        yield (
            int(frames["time_ns"].iloc[0] + (int(second) + 1) * WINDOW_NS),
            WindowSummary(
                window_s=1.0,
                received=len(rows),
                processed=processed,
                dropped=int(rows["dropped"].sum()),
                rejected=int((rows["rejected"] != "").sum()),
                stages={"total": percentiles(rows["total_ms"])},
            ),
        )
