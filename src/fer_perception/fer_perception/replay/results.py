"""What ``replay`` and ``live_replay`` measure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fer_perception.evaluation.metrics import Metrics
from fer_perception.evaluation.results import Interval, Result, ResultFile
from fer_perception.images.stamps import FAULTS, Fault
from fer_perception.images.visibility import FLAW_REMEDIES
from fer_perception.settings import Value

Kind = Literal["single", "smoothed"]


class Percentiles(Result):
    """In milliseconds; None where nobody measured."""

    p50: float | None
    p95: float | None
    p99: float | None


class Majority(Result):
    """Fraction of ``n`` groups whose most frequent prediction is their most frequent label."""

    n: int
    accuracy: float | None


class Detection(Result):
    """Of changes of expression: the fraction ``detected``, and the median time until then."""

    changes: int
    detected: float | None
    median_s: float | None


class KindResult(Result):
    """Predictions of single images or smoothed ones, against labels. ``frames``: None without a labelled frame."""

    frames: Metrics | None
    intervals: Majority
    tracks: Majority
    detection: Detection


class Change(Result):
    """From one label to the next, and when the new one was first predicted, in seconds after it; None: never."""

    bag: str
    topic: str
    time_ns: int
    before: str
    after: str
    single_s: float | None
    smoothed_s: float | None


class TruthResult(Result):
    """Predictions against ground truth.

    ``predicted`` and ``refused``: labelled frames whose face got an emotion, and whose face got none. ``coverage``: the
    fraction of the predicted ones. ``left_out``: predicted frames by a label that the model lacks. ``units``: pieces of
    time that bootstrap draws as a whole.
    """

    labelled: int
    predicted: int
    refused: int
    coverage: float
    left_out: dict[str, int]
    units: int
    changes: list[Change]
    single: KindResult
    smoothed: KindResult


class Measures(Result):
    """Of a stream, or of all together.

    ``dropped``: images without predictions. ``rejected``: images by reason; ``refused``: faces by reason. ``flaws``:
    of images without a face, why they could not show one. ``stamp_faults``: images whose stamp did not serve, by what
    was wrong with it.
    ``flicker_per_minute``: changes of the label within a track. ``truth``: None where nothing is known.
    """

    frames: int
    with_face: int
    rejected: dict[str, int]
    dropped: int
    stamp_faults: dict[Fault, int] = Field(default_factory=dict)
    faces: int
    refused: dict[str, int]
    tracks: int
    flaws: dict[str, int] = Field(default_factory=dict)
    flicker_per_minute: dict[Kind, float | None]
    latency_ms: dict[str, Percentiles]
    truth: TruthResult | None


class BagFile(Result):
    """A file of a bag."""

    name: str
    size: int
    sha256: str


class NodeCounts(Result):
    """How many images the node of a live run says to have dropped and rejected since it was activated."""

    dropped: int
    rejected: int


class StreamFacts(ResultFile):
    """About one image topic of one bag.

    ``start_ns``: of the bag. ``messages``: of the topic, as the bag's metadata say. ``missing``: of these, how many
    were not there to be read. ``notes``: what is odd about the bag or its labels. ``frames_per_second``: of the last
    run; ``node``: of a live run.
    """

    written_by = "replay"
    bag: str
    topic: str
    model_id: str
    labels: list[str]
    engine: str
    files: list[BagFile]
    start_ns: int
    messages: int
    missing: int
    notes: list[str] = Field(default_factory=list)
    frames_per_second: float | None = None
    node: NodeCounts | None = None


class StreamResult(StreamFacts, Measures):
    """Facts and measures of one stream."""


def stream_notes(stream: StreamResult) -> list[str]:
    """What a reader should know of a stream before its figures, in sentences."""
    faults = [
        f"{count} of {stream.frames} images: {FAULTS[fault]}; their time of recording served"
        for fault, count in stream.stamp_faults.items()
    ]
    flaws = [
        f"{count} of {stream.frames} images show no face and are {flaw}: {FLAW_REMEDIES[flaw]}"
        for flaw, count in stream.flaws.items()
    ]
    return [*stream.notes, *faults, *flaws]


def copy_notes(report: ReplayReport) -> list[str]:
    """What the copies of the bags lack, in sentences."""
    return [
        f"{bag}: not in the copy, as nothing tells how their messages are built: {', '.join(topics)}"
        for bag, topics in (report.topics_not_copied or {}).items()
    ]


class ModelFacts(Result):
    """``sha256``: of the bundle's files, by name; empty of a live run."""

    id: str
    engine: str
    sha256: dict[str, str]


class LiveRun(Result):
    """Where the predictions of a live run were read."""

    recording: str
    predictions_topic: str


class ReplayReport(ResultFile):
    """The contents of ``report.json``.

    ``topics_not_copied``, ``bags_not_written``: by bag, the latter with the reason; None where no copies were wanted.
    """

    written_by = "replay"
    command: str
    model: ModelFacts
    settings: dict[str, Value]
    selection: str
    software: dict[str, str]
    failures: list[str]
    live: LiveRun | None
    streams: list[StreamResult]
    all: Measures
    topics_not_copied: dict[str, list[str]] | None = None
    bags_not_written: dict[str, str] | None = None


class PairedScore(Result):
    """One metric of both runs on the same frames: ``difference`` is B less A."""

    a: float
    b: float
    difference: float
    interval: Interval


class Paired(Result):
    """Two runs on the ``n`` labelled frames that both predicted; bootstrap draws the same ``units`` for both."""

    n: int
    units: int
    only_a_right: int
    only_b_right: int
    accuracy: PairedScore
    macro_f1: PairedScore


class ComparedRun(Result):
    """One of the two runs."""

    folder: str
    model: ModelFacts
    all: Measures


class DifferingFrame(Result):
    """A frame in which two runs differ. ``distance``: half the sum of the probabilities' absolute differences."""

    bag: str
    topic: str
    frame: int
    time_ns: int
    stamp_ns: int
    label_a: str
    confidence_a: float
    label_b: str
    confidence_b: float
    distance: float
    target: str | None


class Comparison(ResultFile):
    """The contents of ``compare.json``.

    ``frames``: predicted by both; ``agreement``: the fraction of these with the same label. ``paired``: None without
    ground truth. ``differ_most``: one frame of each second.
    """

    written_by = "replay --compare"
    runs: list[ComparedRun]
    frames: int
    agreement: float | None
    paired: dict[Kind, Paired] | None
    differ_most: list[DifferingFrame]
