"""What the quality gate and the audit log cost: the pipeline with and without them, image by image in one run.

Both arms share detector and network and get every image, in random order, so that neither the images nor the machine's
changing speed favour one. The gate checks size, blur, yaw and confidence of every face; the log gets a record of every
image (``interval 0``), more than the nodes write by default. No ROS: on a graph the same cost is a smaller share.

    python scripts/measure_overhead.py film.mp4 --model baseline
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np

from fer_perception.audit.log import AuditLog
from fer_perception.audit.trail import AuditTrail
from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.emotions.quality_gate import QualityGate
from fer_perception.faces.detector import FaceFinder
from fer_perception.images.sources import open_source
from fer_perception.models.shipped import resolve_face_model, resolve_model
from fer_perception.pipeline import Pipeline
from fer_perception.telemetry.malloc import keep_freed_memory

RESAMPLES = 1000
WARM_UP = 30


def main() -> None:
    """Measure and print the ratio of the medians with its 95% bootstrap interval over the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="astronaut", help="video, picture or folder (astronaut)")
    parser.add_argument("--model", default="", help="bundle: a folder or the name of a shipped one")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--interval-s", type=float, default=0.0, help="of the audit log (0: every image)")
    options = parser.parse_args()
    keep_freed_memory()
    frames = list(islice(open_source(options.source, still_s=0.0).frames(), options.images))
    gate = QualityGate(min_face_px=20, min_sharpness=0.01, max_yaw_deg=80.0, abstain_below=0.2)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(EmotionClassifier(resolve_model(options.model))) as classifier,
        closing(FaceFinder(resolve_face_model(""))) as finder,
        closing(AuditTrail(AuditLog(Path(folder) / "log"), options.interval_s, classifier.labels, True)) as trail,
    ):
        trail.context(classifier, {})
        plain, guarded = Pipeline(finder, classifier), Pipeline(finder, classifier, gate=gate)
        durations: dict[str, list[float]] = {"without": [], "with": []}
        draw, faces = random.Random(0), 0
        for number in range(WARM_UP + options.images):
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
    pairs = np.column_stack([durations["without"], durations["with"]])[WARM_UP:]
    rng = np.random.default_rng(0)
    medians = np.asarray([np.median(pairs[rng.integers(0, len(pairs), len(pairs))], axis=0) for _ in range(RESAMPLES)])
    without, with_both = np.median(pairs, axis=0)
    low, high = np.percentile(medians[:, 1] / medians[:, 0], (2.5, 97.5))
    result = {
        "images": len(pairs),
        "faces_per_image": round(faces / (WARM_UP + options.images), 2),
        "median_ms": {"without": round(float(without), 3), "with": round(float(with_both), 3)},
        "median_of_differences_ms": round(float(np.median(pairs[:, 1] - pairs[:, 0])), 4),
        "ratio": round(float(with_both / without), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
