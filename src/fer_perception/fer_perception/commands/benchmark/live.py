"""``benchmark``: how fast fer_node is on a live graph, and how far from the bare pipeline.

The images lie in memory before anything is measured. For each face mode the same images go through the bare pipeline
in a loop without ROS (the floor), and then over DDS through a fer_node in a process of its own, back to a subscriber:
at fixed rates, several rounds, and at the highest rate with at most 1% loss, found by bisection. End to end is from
before the publication of an image to the arrival of its EmotionArray. Where a sensor of power is found, the energy of
the whole machine is measured, without images and at 30 Hz; the node's CPU time always. Everything stays on this
machine, in a ROS domain of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import psutil
import rclpy
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

from fer_perception.commands.benchmark.engines import format_engines, measure_engines
from fer_perception.commands.benchmark.load import LoadNode, Run, serialize
from fer_perception.commands.processes import end_on_signals, start, stop
from fer_perception.commands.settings_options import add_settings, values_from
from fer_perception.errors import FerError
from fer_perception.faces.detector import FaceFinder
from fer_perception.images.sources import PORTRAIT, open_source
from fer_perception.models.shipped import resolve_face_model
from fer_perception.nodes.base.isolation import isolate
from fer_perception.nodes.base.managed_node import NAMESPACE
from fer_perception.pipeline import Pipeline
from fer_perception.settings import FaceMode, FerNodeSettings, PipelineSettings
from fer_perception.telemetry.energy import carbon_text, grams_co2e, parse_grid_intensity
from fer_perception.telemetry.malloc import keep_freed_memory
from fer_perception.telemetry.power import PowerMeter
from fer_perception.telemetry.timing import percentiles
from fer_perception.types import UInt8Image

MODES: tuple[FaceMode, ...] = get_args(FaceMode)
ENGINE = ("model", "precision", "backend", "threads")
MAX_LOSS = 0.01
SEARCH_STEPS = 7
SEARCH_S = 2.0
WARM_UP = 30
FLOOR_FRAMES = 150
SOAK_HZ = 30.0
ENERGY_HZ = 30.0

Result = dict[str, Any]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  benchmark --json result.json\n  benchmark --source film.mp4 --modes keypoints\n"
        "  benchmark --modes keypoints --rounds 1 --soak 600   (ten minutes at 30 Hz)\n"
        "  benchmark --engines --rounds 30 --json engines.json   (all shipped models side by side, without a graph)\n"
        "  benchmark --engines baseline path/to/mine --precision int8",
    )
    parser.add_argument("--source", default=PORTRAIT, help="video, picture, folder, or 'astronaut' (640x480, one face)")
    parser.add_argument("--frames", type=int, default=150, help="so many images of the source are used, in turn")
    add_settings(parser.add_argument_group("of node and floor"), FerNodeSettings, ENGINE)
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES, help="face modes")
    parser.add_argument("--rates", nargs="+", type=float, default=(10.0, 30.0, 60.0), help="fixed rates in Hz")
    parser.add_argument("--rounds", type=int, default=3, help="rounds at each rate; the table has the best one's")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each round")
    parser.add_argument("--cameras", type=int, default=0, help="then so many cameras at 30 Hz, by process and shared")
    parser.add_argument("--soak", type=float, default=0.0, help="then run for so many seconds at 30 Hz, watch memory")
    parser.add_argument(
        "--engines",
        nargs="*",
        metavar="MODEL",
        help="instead compare the networks of bundles, all shipped or these, on one thread; ratios are to the first",
    )
    parser.add_argument(
        "--grid-intensity",
        metavar="G_PER_KWH",
        help="gCO2e per kWh of your electricity; without it carbon is not stated",
    )
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse_arguments(arguments)
    intensity = None if options.grid_intensity is None else parse_grid_intensity(options.grid_intensity)
    if options.engines is not None:
        rows = measure_engines(options.engines, options.precision, options.backend, options.rounds, intensity)
        print(format_engines(rows))
        write_json(options.json, {"machine": machine(), "engines": rows})
        return 0
    frames = load_frames(options.source, options.frames)
    end_on_signals()
    isolate()
    keep_freed_memory()
    result: Result = {
        "machine": machine(),
        "input": f"{options.source}, {len(frames)} images of {size_text(frames[0])}",
    }
    print(f"{result['input']}; {result['machine']}", flush=True)
    digest = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()
    steps = len(options.rates) * options.rounds + SEARCH_STEPS + 1
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Python's own: an interrupt ends the benchmark
    try:
        with tqdm(total=len(options.modes) * steps, unit="run", dynamic_ncols=True) as bar:
            for mode in options.modes:
                result[mode] = {**measure_mode(options, mode, frames, bar), "input_sha256": digest}
                state_carbon(result[mode]["energy"], intensity)
        if "keypoints" in options.modes:
            result["faces"] = measure_faces(options, frames[0])
        if options.cameras:
            result["cameras"] = measure_cameras(options, frames)
        if options.soak:
            result["soak"] = soak(options, frames)
    finally:
        rclpy.try_shutdown()
    print(table(result))
    write_json(options.json, result)
    return 0


def write_json(file: Path | None, result: Result) -> None:
    """Write the result, where a file is wanted."""
    if file:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"written: {file}")


def load_frames(source: str, count: int) -> list[UInt8Image]:
    """The first images of a source: uint8, (H, W, 3), RGB.

    :raises FerError: it has none.
    """
    frames = list(islice(open_source(source, still_s=0.0).frames(), count))
    if not frames:
        raise FerError(f"{source}: gives no image")
    return frames


def measure_mode(options: argparse.Namespace, mode: str, frames: list[UInt8Image], bar: tqdm) -> Result:
    """Floor, fixed rates, and peak of one face mode."""
    images = [serialize(frame) for frame in frames]
    floors: list[list[float]] = []
    runs: dict[float, list[Run]] = {rate: [] for rate in options.rates}
    cpu_ms: list[float] = []
    with Graph(options, mode) as graph, closing(bare_pipeline(options)) as pipeline:
        graph.load.play(images, 30.0, WARM_UP / 30)
        for _ in range(options.rounds):
            for rate in options.rates:
                # The floor is sampled before every run: a shared machine's speed changes by the minute.
                bar.set_description(f"{mode}: floor")
                floors.append(floor(pipeline, mode, frames))
                bar.set_description(f"{mode}: {rate:g} Hz")
                usage = Usage(graph.process)
                runs[rate].append(graph.load.play(images, rate, options.seconds))
                cpu_ms.append(usage.cpu_s() * 1000 / max(1, runs[rate][-1].answered))
                if rate == 30:
                    cpu_percent, rss_mb = usage.cpu_percent(), usage.rss_mb()
                bar.update()
        durations = np.concatenate(floors)
        floor_fps = 1000 / float(np.mean(durations))
        peak_fps = search_peak(graph.load, images, floor_fps, min(SEARCH_S, options.seconds), (mode, bar))
        energy = measure_energy(graph.load, images, options.seconds)
        classifier = pipeline.emotions.classifier
        if 30 not in options.rates:
            cpu_percent, rss_mb = float("nan"), Usage(graph.process).rss_mb()
    p50, _, p99 = percentiles(durations)
    best = {rate: min(rounds, key=lambda run: (run.loss, run.summary()["p99_ms"])) for rate, rounds in runs.items()}
    return {
        "engine": f"{classifier.model_id}, {classifier.engine_name}",
        "energy": energy,
        "floor": {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "fps": round(floor_fps, 1)},
        "rates": {f"{rate:g}": run.summary() for rate, run in best.items()},
        "rounds": {f"{rate:g}": [run.summary() for run in rounds] for rate, rounds in runs.items()},
        "peak_fps": round(peak_fps, 1),
        "peak_share_of_floor": round(peak_fps / floor_fps, 3),
        "cpu_percent": cpu_percent,
        "cpu_ms_per_image": round(float(np.median(cpu_ms)), 3),
        "rss_mb": rss_mb,
    }


def floor(pipeline: Pipeline, mode: str, frames: list[UInt8Image]) -> list[float]:
    """Milliseconds per image of the bare pipeline."""
    durations = []
    for index in range(WARM_UP + FLOOR_FRAMES):
        begin_s = time.perf_counter()
        pipeline.process(frames[index % len(frames)], index / 30, mesh=mode == "mesh")
        durations.append((time.perf_counter() - begin_s) * 1000)
    return durations[WARM_UP:]


def bare_pipeline(options: argparse.Namespace) -> Pipeline:
    """The core's pipeline as fer_node makes it."""
    return Pipeline.from_settings(PipelineSettings.model_validate(values_from(options, ENGINE)))


def measure_energy(load: LoadNode, images: list[bytearray], seconds: float) -> Result:
    """Power of the machine without images and at 30 Hz, and what an image adds: all that the sensor sees, with the
    publication of the images by this process. Where nothing is measured, only the reason.
    """
    meter = PowerMeter()
    meter.start()
    with closing(meter):
        if not meter.sensor:
            return {"reason": meter.reason}
        first_j, begin_s = meter.energy_j(), time.monotonic()
        time.sleep(seconds)
        second_j, middle_s = meter.energy_j(), time.monotonic()
        run = load.play(images, ENERGY_HZ, seconds)
        last_j, end_s = meter.energy_j(), time.monotonic()
    if math.isnan(last_j):
        return {"reason": meter.reason}
    idle_w = (second_j - first_j) / (middle_s - begin_s)
    image_j = (last_j - second_j - idle_w * (end_s - middle_s)) / max(1, run.answered)
    images_w = image_j * run.answered / run.seconds
    return {
        "sensor": meter.sensor,
        "idle_w": round(idle_w, 3),
        "w_at_30_hz": round(idle_w + images_w, 3),
        "j_per_image": round(image_j, 4),
    }


def state_carbon(energy: Result, grid_intensity: float | None) -> None:
    """Add the carbon of a thousand images to an energy that was measured; None: not stated."""
    if "sensor" in energy:
        stated = grid_intensity is not None
        grams = round(grams_co2e(1000 * energy["j_per_image"], grid_intensity or 0.0), 6) if stated else None
        energy.update(grid_intensity_g_per_kwh=grid_intensity, g_co2e_per_1000_images=grams)


def search_peak(
    load: LoadNode, images: list[bytearray], floor_fps: float, seconds: float, progress: tuple[str, tqdm]
) -> float:
    """The highest rate at which at most 1% of the images is lost, in answers per second; by bisection."""
    mode, bar = progress
    low, high, peak = 0.0, 1.2 * floor_fps, 0.0
    for step in range(SEARCH_STEPS + 1):
        rate = (low + high) / 2 if step else floor_fps / 2
        bar.set_description(f"{mode}: peak, {rate:.0f} Hz")
        run = load.play(images, rate, seconds)
        if run.loss <= MAX_LOSS:
            low, peak = rate, max(peak, run.answered / run.seconds)
        else:
            high = rate
        bar.update()
    return peak


def measure_faces(options: argparse.Namespace, frame: UInt8Image) -> Result:
    """Stages with one face and with eight in an image of the same size, at 30 Hz on the live graph, medians in ms."""
    one, eight = (tile_face(frame, columns, rows) for columns, rows in ((1, 1), (4, 2)))
    result: Result = {}
    counts: dict[str, int] = {}
    with Graph(options, "keypoints") as graph:
        for _ in range(options.rounds):
            for name, image in (("one", one), ("eight", eight)):
                run = graph.load.play([serialize(image)], 30.0, options.seconds / 2)
                for stage in ("detect", "align", "infer"):
                    result.setdefault(name, {}).setdefault(stage, []).extend(run.stages_ms[stage])
                counts[name] = max(run.faces)
    for name, stages in result.items():
        stages.update({stage: round(float(np.median(values)), 3) for stage, values in stages.items()})
        stages["frame"] = round(sum(stages.values()), 3)
        stages["count"] = counts[name]
    result["frame_ratio"] = round(result["eight"]["frame"] / result["one"]["frame"], 2)
    result["emotion_ratio"] = round(result["eight"]["infer"] / result["one"]["infer"], 2)
    return result


def tile_face(frame: UInt8Image, columns: int, rows: int) -> UInt8Image:
    """An image of the frame's size with the frame's face in each of columns x rows tiles.

    :raises FerError: the frame holds no face.
    """
    with closing(FaceFinder(resolve_face_model(""))) as finder:
        faces = finder.find(frame)
    if not faces:
        raise FerError("the first image holds no face: choose another --source")
    x, y, width, height = faces[0].box
    tile_width, tile_height = frame.shape[1] // columns, frame.shape[0] // rows
    side = max(width, height) * 1.6
    scale = min(tile_width, tile_height) / side
    matrix = np.asarray(
        [
            [scale, 0, tile_width / 2 - scale * (x + width / 2)],
            [0, scale, tile_height / 2 - scale * (y + height / 2)],
        ]
    )
    tile = cv2.warpAffine(frame, matrix, (tile_width, tile_height), borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.tile(tile, (rows, columns, 1)))


def soak(options: argparse.Namespace, frames: list[UInt8Image]) -> Result:
    """Memory and age of the images over a long time at 30 Hz, minute by minute."""
    images = [serialize(frame) for frame in frames]
    memory, ages, lost = [], [], 0
    with Graph(options, options.modes[0]) as graph:
        for _ in tqdm(range(max(2, round(options.soak / 60))), unit="min", desc="soak"):
            run = graph.load.play(images, SOAK_HZ, 60.0)
            lost += run.sent - run.answered
            memory.append(round(Usage(graph.process).rss_mb(), 2))
            ages.append(round(float(np.median(run.stages_ms["age_at_publication"])), 3))
    return {
        "minutes": len(memory),
        "lost": lost,
        "rss_mb": memory,
        "age_p50_ms": ages,
        "growth_mb": memory[-1] - memory[0],
    }


def measure_cameras(options: argparse.Namespace, frames: list[UInt8Image]) -> Result:
    """Several cameras at 30 Hz: a process for each against one process for all, which share the network."""
    cameras = [f"camera{number}" for number in range(1, options.cameras + 1)]
    parameters = values_from(options, ENGINE)
    each = [
        partial(start, "fer_node", ros_arguments=["-r", f"__ns:=/{NAMESPACE}/{camera}"], **parameters)
        for camera in cameras
    ]
    arguments = ["--image", f"/{NAMESPACE}/{{camera}}/image", "--cameras", *cameras]
    shared = [partial(start, "fer_nodes", arguments=arguments, **parameters)]
    result: Result = {}
    for shape, starters in (("process_each", each), ("shared_process", shared)):
        processes = {str(number): starter() for number, starter in enumerate(starters)}
        loads = [LoadNode(f"{NAMESPACE}/{camera}") for camera in cameras]
        try:
            for load in loads:
                load.await_pipeline()
            usages = [Usage(process) for process in processes.values()]
            with ThreadPoolExecutor(len(loads)) as pool:
                # Each load writes its stamps into images of its own.
                images = [list(map(serialize, frames)) for _ in loads]
                futures = [
                    pool.submit(load.play, own, 30.0, options.seconds) for load, own in zip(loads, images, strict=True)
                ]
                runs = [future.result() for future in futures]
            latencies = percentiles(latency for run in runs for latency in run.latencies_ms)
            result[shape] = {
                "sent": sum(run.sent for run in runs),
                "answered": sum(run.answered for run in runs),
                **{f"{name}_ms": round(value, 3) for name, value in latencies._asdict().items()},
                "cpu_percent": round(sum(usage.cpu_percent() for usage in usages), 1),
                "rss_mb": round(sum(usage.rss_mb() for usage in usages), 1),
            }
        finally:
            for load in loads:
                load.close()
            stop(processes)
    return result


class Graph:
    """A fer_node in a process of its own, and the load's node in this one."""

    def __init__(self, options: argparse.Namespace, mode: str) -> None:
        self.process = start("fer_node", face_mode=mode, **values_from(options, ENGINE))
        self.load = LoadNode()

    def __enter__(self) -> Graph:
        try:
            self.load.await_pipeline()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.load.close()
        stop({"fer_node": self.process})


class Usage:
    """CPU time of a process from now on, and its memory."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = psutil.Process(process.pid)
        self._process.cpu_percent()
        self._begin_s = self._cpu_s()

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def cpu_s(self) -> float:
        """User and system time in seconds since the start; the system counts in hundredths."""
        return self._cpu_s() - self._begin_s

    def cpu_percent(self) -> float:
        """Of one core, since the start."""
        return self._process.cpu_percent()

    def rss_mb(self) -> float:
        """Resident memory."""
        return round(self._process.memory_info().rss / 1e6, 2)


def machine() -> str:
    """Processor, cores, Python."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def size_text(frame: UInt8Image) -> str:
    """Width x height."""
    return f"{frame.shape[1]}x{frame.shape[0]}"


def energy_text(energy: Result) -> str:
    """Energy for people."""
    if "sensor" not in energy:
        return f"not measured ({energy['reason']})"
    return (
        f"{energy['idle_w']:.2f} W without images, {energy['w_at_30_hz']:.2f} W at 30 Hz, "
        f"{energy['j_per_image'] * 1000:.1f} mJ an image above the former, by {energy['sensor']}; "
        f"carbon: {carbon_text(energy['j_per_image'], energy.get('grid_intensity_g_per_kwh'))}"
    )


def table(result: Result) -> str:
    """The result for people."""
    lines = ["", f"{'':34}{'sent':>6}{'answered':>9}{'p50':>8}{'p95':>8}{'p99':>8}{'jitter':>8}   ms"]
    for mode in (mode for mode in MODES if mode in result):
        data = result[mode]
        low, high, fps = data["floor"]["p50_ms"], data["floor"]["p99_ms"], data["floor"]["fps"]
        lines.append(f"{mode + ', floor: bare pipeline':34}{'':15}{low:8.2f}{'':8}{high:8.2f}{'':11}{fps:.0f} FPS")
        for rate, run in data["rates"].items():
            values = "".join(f"{run[key]:8.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "jitter_ms"))
            lines.append(f"{f'{mode}, {rate} Hz, end to end':34}{run['sent']:6}{run['answered']:9}{values}")
        lines.append(
            f"{mode}, peak at 1% loss: {data['peak_fps']:.0f} FPS, {data['peak_share_of_floor']:.2f} of the floor's; "
            f"at 30 Hz {data['cpu_percent']:.0f}% of a core, {data['cpu_ms_per_image']:.1f} ms CPU an image, "
            f"{data['rss_mb']:.0f} MB; {data['engine']}"
        )
        lines.append(f"{mode}, energy: {energy_text(data['energy'])}")
    if "faces" in result:
        faces = result["faces"]
        for name in ("one", "eight"):
            stages = "  ".join(f"{stage} {faces[name][stage]:.2f}" for stage in ("detect", "align", "infer", "frame"))
            lines.append(f"{str(faces[name]['count']) + ' face(s), medians in ms':34}{stages}")
        lines.append(f"eight to one: frame {faces['frame_ratio']} x, emotion stage {faces['emotion_ratio']} x")
    for shape, run in result.get("cameras", {}).items():
        values = "".join(f"{run[key]:8.2f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
        lines.append(
            f"{shape.replace('_', ' ') + ', all cameras, 30 Hz':34}{run['sent']:6}{run['answered']:9}{values}"
            f"           {run['cpu_percent']:.0f}% of a core, {run['rss_mb']:.0f} MB"
        )
    if "soak" in result:
        data = result["soak"]
        lines.append(
            f"soak: {data['minutes']} min at 30 Hz, {data['lost']} lost, memory {data['rss_mb'][0]:.1f} to "
            f"{data['rss_mb'][-1]:.1f} MB, age of the image at publication {data['age_p50_ms'][0]:.1f} to "
            f"{data['age_p50_ms'][-1]:.1f} ms"
        )
    return "\n".join(lines)
