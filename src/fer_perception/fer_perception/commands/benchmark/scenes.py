"""What else ``benchmark live`` measures: the start, eight faces, several cameras, busy cores, a long run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from fer_perception.commands.benchmark.graph import Graph, Usage
from fer_perception.commands.benchmark.load import LoadNode, Run, serialize
from fer_perception.commands.benchmark.tiles import tile_face
from fer_perception.commands.processes import start, stop
from fer_perception.commands.settings_options import ENGINE_AND_RANGE, values_from
from fer_perception.evaluation.results import rounded
from fer_perception.evaluation.speed import BusyResult, CamerasResult, FacesResult, SoakResult, Stages, StartResult
from fer_perception.files import cache_folder
from fer_perception.nodes.base.managed_node import NAMESPACE
from fer_perception.telemetry.timing import percentiles
from fer_perception.types import UInt8Image

HZ = 30.0
BUSY_HZ = 15.0  # while other processes want all cores
WARM_STARTS = 5


def measure_start(options: argparse.Namespace, frame: UInt8Image) -> StartResult:
    """Starts of a fer_node with a cache of its own: the first finds it empty, so that engines are built or chosen."""
    with TemporaryDirectory() as folder:
        cache = Path(folder) / cache_folder().name
        cache.mkdir()
        (cache / "models").symlink_to(cache_folder() / "models")  # fetched ones stay available
        seconds = [_start_s(options, frame, folder) for _ in range(1 + WARM_STARTS)]
    return StartResult(cold_s=round(seconds[0], 2), warm_s=round(float(np.median(seconds[1:])), 2))


def _start_s(options: argparse.Namespace, frame: UInt8Image, cache: str) -> float:
    load = LoadNode()
    begin_s = time.perf_counter()
    process = start("fer_node", values_from(options, ENGINE_AND_RANGE), environment={"XDG_CACHE_HOME": cache})
    try:
        return load.first_prediction_s(serialize(frame)) - begin_s
    finally:
        load.close()
        stop({"fer_node": process})


def measure_faces(options: argparse.Namespace, frame: UInt8Image) -> FacesResult:
    """Stages with one face and with eight in an image of the same size, at 30 Hz on the live graph, medians in ms."""
    images = {name: tile_face(frame, *grid) for name, grid in (("one", (1, 1)), ("eight", (4, 2)))}
    runs: dict[str, list[Run]] = {name: [] for name in images}
    with Graph(values_from(options, ENGINE_AND_RANGE), "keypoints") as graph:
        for _ in range(options.rounds):
            for name, image in images.items():
                runs[name].append(graph.load.play([serialize(image)], HZ, options.seconds / 2))
    one, eight = (_stages(found) for found in runs.values())
    return FacesResult(
        one=one,
        eight=eight,
        frame_ratio=round(eight.frame / one.frame, 2),
        emotion_ratio=round(eight.infer / one.infer, 2),
    )


def _stages(runs: list[Run]) -> Stages:
    medians = {
        stage: round(float(np.median([value for run in runs for value in run.stages_ms[stage]])), 3)
        for stage in ("detect", "align", "infer")
    }
    return Stages(count=max(runs[-1].faces), frame=round(sum(medians.values()), 3), **medians)


def measure_cameras(options: argparse.Namespace, frames: list[UInt8Image]) -> dict[str, CamerasResult]:
    """Several cameras at 30 Hz: a process for each against one process for all, which share the network."""
    cameras = [f"camera{number}" for number in range(1, options.cameras + 1)]
    parameters = values_from(options, ENGINE_AND_RANGE)
    each = [
        partial(start, "fer_node", parameters, ros_arguments=["-r", f"__ns:=/{NAMESPACE}/{camera}"])
        for camera in cameras
    ]
    arguments = ["--image", f"/{NAMESPACE}/{{camera}}/image", "--cameras", *cameras]
    shared = [partial(start, "fer_nodes", parameters, arguments)]
    return {
        shape: _measure_processes(starters, cameras, frames, options.seconds)
        for shape, starters in (("process_each", each), ("shared_process", shared))
    }


def _measure_processes(
    starters: Sequence[Callable[[], Popen[bytes]]], cameras: list[str], frames: list[UInt8Image], seconds: float
) -> CamerasResult:
    processes = {str(number): starter() for number, starter in enumerate(starters)}
    loads = [LoadNode(f"{NAMESPACE}/{camera}") for camera in cameras]
    try:
        for load in loads:
            load.await_pipeline()
        usages = [Usage(process) for process in processes.values()]
        with ThreadPoolExecutor(len(loads)) as pool:
            # Each load writes its stamps into images of its own.
            images = [list(map(serialize, frames)) for _ in loads]
            futures = [pool.submit(load.play, own, HZ, seconds) for load, own in zip(loads, images, strict=True)]
            runs = [future.result() for future in futures]
        latencies = percentiles(latency for run in runs for latency in run.latencies_ms)
        return CamerasResult(
            sent=sum(run.sent for run in runs),
            received=sum(run.received for run in runs),
            **{f"{name}_ms": rounded(value) for name, value in latencies._asdict().items()},
            cpu_percent=round(sum(usage.cpu_percent() for usage in usages), 1),
            rss_mb=round(sum(usage.rss_mb() for usage in usages), 1),
        )
    finally:
        for load in loads:
            load.close()
        stop(processes)


def measure_busy(options: argparse.Namespace, frames: list[UInt8Image]) -> BusyResult:
    """Images at 15 Hz while ``options.load`` other processes, of the same priority, compute without a pause."""
    images = [serialize(frame) for frame in frames]
    with Graph(values_from(options, ENGINE_AND_RANGE), options.modes[0]) as graph, ExitStack() as stack:
        graph.load.play(images, BUSY_HZ, 1.0)
        for _ in range(options.load):
            spinning = stack.enter_context(Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(spinning.kill)
        run = graph.load.play(images, BUSY_HZ, options.seconds)
    ages = percentiles(run.stages_ms["age_at_publication"])
    latencies = percentiles(run.latencies_ms)
    return BusyResult(
        processes=options.load,
        sent=run.sent,
        received=run.received,
        **{f"{name}_ms": rounded(value) for name, value in latencies._asdict().items()},
        age_p50_ms=rounded(ages.p50),
        age_p99_ms=rounded(ages.p99),
    )


def soak(options: argparse.Namespace, frames: list[UInt8Image]) -> SoakResult:
    """Memory and age of the images over a long time at 30 Hz, minute by minute."""
    images = [serialize(frame) for frame in frames]
    memory, ages, lost = [], [], 0
    with Graph(values_from(options, ENGINE_AND_RANGE), options.modes[0]) as graph:
        for _ in tqdm(range(max(2, round(options.soak / 60))), unit="min", desc="soak"):
            run = graph.load.play(images, HZ, 60.0)
            lost += run.sent - run.received
            memory.append(round(Usage(graph.process).rss_mb(), 2))
            ages.append(round(float(np.median(run.stages_ms["age_at_publication"])), 3))
    return SoakResult(
        minutes=len(memory), lost=lost, rss_mb=memory, age_p50_ms=ages, growth_mb=round(memory[-1] - memory[0], 2)
    )
