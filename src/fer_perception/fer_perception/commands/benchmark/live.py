"""``benchmark live``: a face mode on a live graph, and how far it is from the bare pipeline.

For each face mode the same images go through the bare pipeline in a loop without ROS (the floor), and then over DDS
through a fer_node in a process of its own, back to a subscriber: at fixed rates, several rounds, and at the highest
rate with at most 1% loss, found by bisection.
"""

from __future__ import annotations

import argparse
import math
import time
from contextlib import closing

import numpy as np
from tqdm import tqdm

from fer_perception.commands.benchmark.graph import Graph, Usage
from fer_perception.commands.benchmark.load import LoadNode, Run, serialize
from fer_perception.commands.settings_options import ENGINE_AND_RANGE, values_from
from fer_perception.evaluation.results import rounded
from fer_perception.evaluation.speed import Floor, LiveEnergy, ModeResult
from fer_perception.pipeline import Pipeline
from fer_perception.settings import FaceMode, PipelineSettings
from fer_perception.telemetry.energy import grams_co2e
from fer_perception.telemetry.power import PowerMeter
from fer_perception.telemetry.timing import percentiles
from fer_perception.types import UInt8Image

MAX_LOSS = 0.01
SEARCH_STEPS = 7
SEARCH_S = 2.0
SEARCH_TRIES = 2
WARM_UP = 30
FLOOR_FRAMES = 150
ENERGY_HZ = 30.0


def runs_of_a_mode(options: argparse.Namespace) -> int:
    """How many steps of a progress bar :func:`measure_mode` takes."""
    return len(options.rates) * options.rounds + SEARCH_STEPS + 1


def measure_mode(
    options: argparse.Namespace, mode: FaceMode, frames: list[UInt8Image], input_sha256: str, bar: tqdm
) -> ModeResult:
    """Floor, fixed rates, and peak of one face mode."""
    images = [serialize(frame) for frame in frames]
    floors: list[list[float]] = []
    runs: dict[float, list[Run]] = {rate: [] for rate in options.rates}
    cpu_ms: list[float] = []
    parameters = values_from(options, ENGINE_AND_RANGE)
    settings = PipelineSettings.model_validate(parameters)
    with Graph(parameters, mode) as graph, closing(Pipeline.from_settings(settings)) as pipeline:
        graph.load.play(images, 30.0, WARM_UP / 30)
        cpu_percent = math.nan
        for _ in range(options.rounds):
            for rate in options.rates:
                # The floor is sampled before every run: a shared machine's speed changes by the minute.
                bar.set_description(f"{mode}: floor")
                floors.append(floor(pipeline, mode, frames))
                bar.set_description(f"{mode}: {rate:g} Hz")
                usage = Usage(graph.process)
                runs[rate].append(graph.load.play(images, rate, options.seconds))
                cpu_ms.append(usage.cpu_s() * 1000 / max(1, runs[rate][-1].received))
                if rate == 30:
                    cpu_percent = usage.cpu_percent()
                bar.update()
        rss_mb = Usage(graph.process).rss_mb()
        durations = np.concatenate(floors)
        floor_fps = 1000 / float(np.mean(durations))
        peak_fps = search_peak(graph.load, images, floor_fps, min(SEARCH_S, options.seconds), (mode, bar))
        energy = measure_energy(graph.load, images, options.seconds, options.grid_intensity)
        classifier = pipeline.emotions.classifier
    p50, _, p99 = percentiles(durations)
    best = {rate: min(rounds, key=lambda run: (run.loss, run.p99_ms)) for rate, rounds in runs.items()}
    return ModeResult(
        engine=f"{classifier.model_id}, {classifier.engine_name}",
        input_sha256=input_sha256,
        energy=energy,
        floor=Floor(p50_ms=round(p50, 3), p99_ms=round(p99, 3), fps=round(floor_fps, 1)),
        rates={f"{rate:g}": run.result() for rate, run in best.items()},
        rounds={f"{rate:g}": [run.result() for run in rounds] for rate, rounds in runs.items()},
        peak_fps=round(peak_fps, 1),
        peak_fraction_of_floor=round(peak_fps / floor_fps, 3),
        cpu_percent=rounded(cpu_percent, 1),
        cpu_ms_per_image=round(float(np.median(cpu_ms)), 3),
        rss_mb=rss_mb,
    )


def floor(pipeline: Pipeline, mode: FaceMode, frames: list[UInt8Image]) -> list[float]:
    """Milliseconds per image of the bare pipeline."""
    durations = []
    for index in range(WARM_UP + FLOOR_FRAMES):
        begin_s = time.perf_counter()
        pipeline.process(frames[index % len(frames)], index / 30, mesh=mode == "mesh")
        durations.append((time.perf_counter() - begin_s) * 1000)
    return durations[WARM_UP:]


def measure_energy(
    load: LoadNode, images: list[bytearray], seconds: float, grid_intensity: float | None = None
) -> LiveEnergy:
    """Power of the machine without images and at 30 Hz, and what an image adds: all that the sensor sees, with the
    publication of the images by this process. Where nothing is measured, only the reason.

    :param grid_intensity: of the electricity grid, in gCO2e/kWh; None: carbon is not stated.
    """
    meter = PowerMeter()
    meter.start()
    with closing(meter):
        if not meter.sensor:
            return LiveEnergy(reason=meter.reason)
        first_j, begin_s = meter.energy_j(), time.monotonic()
        time.sleep(seconds)
        second_j, middle_s = meter.energy_j(), time.monotonic()
        run = load.play(images, ENERGY_HZ, seconds)
        last_j, end_s = meter.energy_j(), time.monotonic()
    if math.isnan(last_j):
        return LiveEnergy(reason=meter.reason)
    idle_w = (second_j - first_j) / (middle_s - begin_s)
    image_j = (last_j - second_j - idle_w * (end_s - middle_s)) / max(1, run.received)
    return LiveEnergy(
        sensor=meter.sensor,
        idle_w=round(idle_w, 3),
        w_at_30_hz=round(idle_w + image_j * run.received / run.seconds, 3),
        j_per_image=round(image_j, 4),
        g_co2e_per_1000_images=None if grid_intensity is None else round(grams_co2e(1000 * image_j, grid_intensity), 6),
    )


def search_peak(
    load: LoadNode, images: list[bytearray], floor_fps: float, seconds: float, progress: tuple[str, tqdm]
) -> float:
    """The highest rate at which at most 1% of the images is lost, in predictions per second; by bisection.

    A rate at which more is lost is tried again: what another program of the machine does in a moment is not the node's.
    """
    mode, bar = progress
    low, high, peak = 0.0, 1.2 * floor_fps, 0.0
    for step in range(SEARCH_STEPS + 1):
        rate = (low + high) / 2 if step else floor_fps / 2
        bar.set_description(f"{mode}: peak, {rate:.0f} Hz")
        for _ in range(SEARCH_TRIES):
            run = load.play(images, rate, seconds)
            if run.loss <= MAX_LOSS:
                break
        if run.loss <= MAX_LOSS:
            low, peak = rate, max(peak, run.received / run.seconds)
        else:
            high = rate
        bar.update()
    return peak
