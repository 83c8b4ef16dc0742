"""What the face stage costs while images come at 30 Hz."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from fer_perception.commands.benchmark.tiles import tile_face
from fer_perception.evaluation.range import StageTime
from fer_perception.faces.tracker import Tracker
from fer_perception.images.sources import PORTRAIT, open_source
from fer_perception.pipeline import FacePipeline, Pipeline
from fer_perception.telemetry.timing import Stopwatch
from fer_perception.types import UInt8Image

HZ, IMAGES = 30, 90


def measure_times(
    pipelines: dict[str, Pipeline], nobody: Sequence[UInt8Image], rounds: int
) -> dict[str, dict[str, StageTime]]:
    """By pipeline and by who is in the images, the time of finder and tracker.

    In a round each pipeline has its turn at the same images: a shared machine's speed changes by the minute, so ratios,
    which are to the first pipeline, are taken within a round.

    :param nobody: pictures without people, uint8, (H, W, 3), RGB; in each round another one.
    """
    portrait = next(open_source(PORTRAIT).frames())
    images = {
        "one face": [tile_face(portrait, 1, 1)],
        "eight faces": [tile_face(portrait, 4, 2)],
        "nobody": nobody,
    }
    ms = {who: np.zeros((rounds, len(pipelines))) for who in images}
    faces = {who: np.zeros((rounds, len(pipelines))) for who in images}
    for number in tqdm(range(rounds), desc="times", unit="round"):
        for who, some in images.items():
            for index, pipeline in enumerate(pipelines.values()):
                ms[who][number, index], faces[who][number, index] = play(pipeline.faces, some[number % len(some)])
    return {
        name: {
            who: StageTime(
                faces=round(float(faces[who][:, index].mean()), 2),
                mean_ms=round(float(np.median(ms[who][:, index])), 3),
                ratio=round(float(np.median(ms[who][:, index] / ms[who][:, 0])), 3),
            )
            for who in images
        }
        for index, name in enumerate(pipelines)
    }


def play(stage: FacePipeline, image: UInt8Image) -> tuple[float, float]:
    """Three seconds of an image that does not change: the mean milliseconds, and the mean number of faces found."""
    stage.tracker = Tracker(seed=0)
    milliseconds, faces = [], []
    for number in range(IMAGES):
        stopwatch = Stopwatch()
        found = stage.process(image, number / HZ, stopwatch)
        milliseconds.append(stopwatch.stages_ms["detect"])
        faces.append(len(found.faces))
    return float(np.mean(milliseconds)), float(np.mean(faces))
