"""``benchmark overhead``: what quality gate and audit log cost, image by image in one run, without ROS.

The pipelines with and without them share the network, and both get every image, in random order, so that neither the
images nor the machine's changing speed favour one. The gate checks size, blur, yaw and confidence of every face; the
log gets a record of every image, more than the nodes write by default. On a graph the same cost is a smaller fraction.
"""

from __future__ import annotations

import random
import tempfile
from contextlib import closing
from time import perf_counter

import numpy as np

from fer_perception.audit.trail import AuditTrail
from fer_perception.evaluation.results import RESAMPLES, interval
from fer_perception.evaluation.speed import OverheadResult, machine
from fer_perception.pipeline import Pipeline
from fer_perception.settings import AuditSettings, PipelineSettings
from fer_perception.types import UInt8Image

WARM_UP = 30
LIMITS = {"min_face_px": 20, "min_sharpness": 0.01, "max_yaw_deg": 80.0, "abstain_below": 0.2}


def measure_overhead(settings: PipelineSettings, frames: list[UInt8Image], count: int) -> OverheadResult:
    """Run both pipelines on so many images, in turn those of ``frames``.

    :raises FerError: the model cannot be used.
    """
    durations: dict[str, list[float]] = {"without": [], "with": []}
    draw, faces = random.Random(0), 0
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Pipeline.from_settings(settings)) as plain,
        closing(Pipeline.from_settings(settings.model_copy(update=LIMITS))) as guarded,
    ):
        classifier = guarded.emotions.classifier
        audit = AuditSettings(folder=folder, interval_s=0.0)
        with closing(AuditTrail.from_settings(audit, "overhead", classifier.labels, True)) as trail:
            trail.context(classifier, settings)
            for number in range(WARM_UP + count):
                frame, stamp_s = frames[number % len(frames)], number / 30
                for arm in draw.sample(["without", "with"], 2):
                    begun_s = perf_counter()
                    if arm == "with":
                        found, emotions = guarded.process(frame, stamp_s)
                        trail.decided(stamp_s, found.track_ids, emotions, (perf_counter() - begun_s) * 1000)
                    else:
                        found, _ = plain.process(frame, stamp_s)
                        faces += len(found.faces)
                    durations[arm].append((perf_counter() - begun_s) * 1000)
        model = classifier.model_id
    pairs = np.column_stack([durations["without"], durations["with"]])[WARM_UP:]
    rng = np.random.default_rng(0)
    medians = np.asarray([np.median(pairs[rng.integers(0, len(pairs), len(pairs))], axis=0) for _ in range(RESAMPLES)])
    without, with_both = np.median(pairs, axis=0)
    return OverheadResult(
        machine=machine(),
        model=model,
        images=len(pairs),
        faces_per_image=round(faces / (WARM_UP + count), 2),
        without_ms=round(float(without), 3),
        with_ms=round(float(with_both), 3),
        median_of_differences_ms=round(float(np.median(pairs[:, 1] - pairs[:, 0])), 4),
        ratio=round(float(with_both / without), 4),
        interval=interval(medians[:, 1] / medians[:, 0]),
    )


def format_overhead(result: OverheadResult) -> str:
    """The result for people."""
    low, high = result.interval
    return (
        f"{result.model}, {result.images} images, {result.faces_per_image:g} faces each, {result.machine}: median "
        f"{result.without_ms:.3f} ms without, {result.with_ms:.3f} ms with gate and audit log, ratio "
        f"{result.ratio:.4f} [{low:.4f}, {high:.4f}]"
    )
