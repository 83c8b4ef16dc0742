"""``benchmark``: how fast the pipeline is, what it costs, and how far it sees.

    benchmark [live]      fer_node on a live graph against the bare pipeline: latency, peak rate, memory, energy
    benchmark engines     the networks of bundles alone, side by side
    benchmark overhead    what quality gate and audit log cost
    benchmark range       how far away each detector finds people, what is read in their faces, and what that costs
    benchmark peers       this suite and other systems on the same photographs: speed, and what is found and right

The images lie in memory before anything is timed. Everything stays on this machine; the graph is in a ROS domain of
its own. End to end is from before the publication of an image to the arrival of its EmotionArray.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from itertools import islice
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from fer_perception.commands.benchmark.engines import format_engines, measure_engines
from fer_perception.commands.benchmark.overhead import format_overhead, measure_overhead
from fer_perception.commands.benchmark.peers.measure import format_peers, measure_peers
from fer_perception.commands.benchmark.range.measure import measure_range
from fer_perception.commands.benchmark.range.text import format_range
from fer_perception.commands.benchmark.text import format_live
from fer_perception.commands.number_arguments import positive
from fer_perception.commands.processes import end_on_signals
from fer_perception.commands.settings_options import ENGINE, ENGINE_AND_RANGE, add_settings, values_from
from fer_perception.errors import FerError
from fer_perception.evaluation.range import RangeResult
from fer_perception.evaluation.results import ResultFile
from fer_perception.evaluation.speed import LiveResult, machine
from fer_perception.images.sources import PORTRAIT, open_source
from fer_perception.settings import FaceMode, FerNodeSettings, PipelineSettings
from fer_perception.telemetry.energy import parse_grid_intensity
from fer_perception.telemetry.malloc import keep_freed_memory
from fer_perception.types import UInt8Image

MODES: tuple[FaceMode, ...] = get_args(FaceMode)
VERBS = ("live", "engines", "overhead", "range", "peers")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line; without a verb it is ``live``'s."""
    parser = argparse.ArgumentParser(
        prog="benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  benchmark --json result.json\n  benchmark live --source film.mp4 --modes keypoints\n"
        "  benchmark live --modes keypoints --rounds 1 --soak 600   (ten minutes at 30 Hz)\n"
        "  benchmark live --modes keypoints --rounds 1 --load 2   (while two other processes compute)\n"
        "  benchmark engines --rounds 30 --json engines.json   (all shipped models side by side)\n"
        "  benchmark engines baseline path/to/mine --precision int8\n"
        "  benchmark range path/to/wildfaces/labels.csv --split test --json range.json --plot range.png\n"
        "  benchmark peers path/to/wildfaces/labels.csv --split test --json peers.json",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    live, engines, overhead, range_, peers = (verbs.add_parser(verb) for verb in VERBS)
    _add_live(live)
    engines.add_argument("models", nargs="*", metavar="MODEL", help="all shipped, or these; ratios are to the first")
    add_settings(engines, FerNodeSettings, ["precision", "backend"])
    engines.add_argument("--rounds", type=int, default=3, help="in which each has its turn (3)")
    _add_source(overhead)
    add_settings(overhead, FerNodeSettings, ENGINE)
    overhead.add_argument("--count", type=int, default=600, help="images through each pipeline (600)")
    _add_range(range_)
    _add_peers(peers)
    for verb in (live, engines):
        verb.add_argument(
            "--grid-intensity",
            type=parse_grid_intensity,
            metavar="G_PER_KWH",
            help="gCO2e per kWh of your electricity; without it carbon is not stated",
        )
    for verb in (live, engines, overhead, range_, peers):
        verb.add_argument("--json", type=Path, help="also write the result to this file")
    named = arguments[:1] and (arguments[0] in VERBS or arguments[0] in ("-h", "--help"))
    return parser.parse_args(arguments if named else ["live", *arguments])


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", default=PORTRAIT, help="video, image, folder, or 'astronaut' (640x480, one face)")
    parser.add_argument("--frames", type=int, default=150, help="so many images of the source are used, in turn (150)")


def _add_range(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "How far away each detector finds people, and what is read in their faces: labelled faces,\n"
        "shrunk and put into pictures without people. Then the face stage's time at 30 Hz with one face, eight faces\n"
        "and nobody. See docs/range.md."
    )
    parser.epilog = (
        "examples:\n  benchmark range path/to/labels.csv --faces 20 --rounds 3   (a first impression, in a minute)\n"
        "  benchmark range path/to/wildfaces/labels.csv --split test --json range.json --plot range.png\n"
        "  benchmark range path/to/labels.csv --backgrounds path/to/empty_rooms --model baseline"
    )
    parser.add_argument("manifest", type=Path, help="CSV of photographs: image, emotion, and split if there are some")
    parser.add_argument("--split", default="", help="only the rows with this split (all)")
    parser.add_argument("--faces", type=positive, default=111, help="at most so many of the photographs (111)")
    parser.add_argument("--backgrounds", type=Path, help="folder of pictures without people, beside scikit-image's")
    parser.add_argument(
        "--rounds", type=positive, default=9, help="of clocking, in which each detector has its turn (9)"
    )
    parser.add_argument("--plot", type=Path, help="also draw the result into this PNG")
    add_settings(parser, FerNodeSettings, ENGINE)


def _add_peers(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "This suite, and other systems where requirements/peers.txt is installed, on labelled photographs at 640x480, "
        "on one thread. See docs/speed.md."
    )
    parser.add_argument("manifest", type=Path, help="CSV of photographs: image, emotion, and split if there are some")
    parser.add_argument("--split", default="", help="only the rows with this split (all)")
    parser.add_argument("--photographs", type=positive, default=300, help="at most so many, drawn at random (300)")


def _add_live(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    add_settings(parser.add_argument_group("of node and floor"), FerNodeSettings, ENGINE_AND_RANGE)
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES, help="face modes (both)")
    parser.add_argument("--rates", nargs="+", type=float, default=(10.0, 30.0, 60.0), help="fixed rates in Hz")
    parser.add_argument("--rounds", type=int, default=3, help="at each rate; the table has the best one (3)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each round (10)")
    parser.add_argument("--cameras", type=int, default=0, help="then so many cameras at 30 Hz, by process and shared")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="then 15 Hz beside N processes that compute")
    parser.add_argument("--soak", type=float, default=0.0, help="then run for so many seconds at 30 Hz, watch memory")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    result: ResultFile
    if options.verb == "engines":
        result = measure_engines(
            options.models, options.precision, options.backend, options.rounds, options.grid_intensity
        )
        text = format_engines(result)
    elif options.verb == "overhead":
        keep_freed_memory()
        settings = PipelineSettings.model_validate(values_from(options, ENGINE))
        result = measure_overhead(settings, load_frames(options.source, options.frames), options.count)
        text = format_overhead(result)
    elif options.verb == "range":
        result = measure_reach(options)
        text = format_range(result)
    elif options.verb == "peers":
        keep_freed_memory()
        result = measure_peers(options.manifest, options.split, options.photographs)
        text = format_peers(result)
    else:
        result = measure_live(options)
        text = format_live(result)
    print(text)
    if options.json:
        result.write(options.json)
        print(f"written: {options.json}")
    return 0


def measure_reach(options: argparse.Namespace) -> RangeResult:
    """All that ``benchmark range`` was asked for."""
    if options.plot:
        from fer_perception.commands.benchmark.range.plot import plot_range  # a missing matplotlib is told at once
    settings = PipelineSettings.model_validate(values_from(options, ENGINE))
    result = measure_range(
        settings, options.manifest, options.split, options.faces, options.backgrounds, options.rounds
    )
    if options.plot:
        plot_range(result, options.plot)
    return result


def measure_live(options: argparse.Namespace) -> LiveResult:
    """All that ``benchmark live`` was asked for."""
    from fer_perception.nodes.base.ros_start import check_environment, explained_start

    check_environment()
    import rclpy  # the other verbs do without
    from rclpy.signals import SignalHandlerOptions

    from fer_perception.commands.benchmark.live import measure_mode, runs_of_a_mode
    from fer_perception.commands.benchmark.scenes import (
        measure_busy,
        measure_cameras,
        measure_faces,
        measure_start,
        soak,
    )
    from fer_perception.nodes.base.isolation import isolate

    frames = load_frames(options.source, options.frames)
    end_on_signals()
    isolate()
    keep_freed_memory()
    source = f"{options.source}, {len(frames)} images of {frames[0].shape[1]}x{frames[0].shape[0]}"
    print(f"{source}; {machine()}", flush=True)
    digest = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()
    with explained_start():
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Python's own: an interrupt ends the benchmark
    try:
        with tqdm(total=len(options.modes) * runs_of_a_mode(options), unit="run", dynamic_ncols=True) as bar:
            modes = {mode: measure_mode(options, mode, frames, digest, bar) for mode in options.modes}
        return LiveResult(
            machine=machine(),
            input=source,
            grid_intensity_g_per_kwh=options.grid_intensity,
            modes=modes,
            start=measure_start(options, frames[0]),
            faces=measure_faces(options, frames[0]) if "keypoints" in modes else None,
            cameras=measure_cameras(options, frames) if options.cameras else {},
            busy=measure_busy(options, frames) if options.load else None,
            soak=soak(options, frames) if options.soak else None,
        )
    finally:
        rclpy.try_shutdown()


def load_frames(source: str, count: int) -> list[UInt8Image]:
    """The first images of a source: uint8, (H, W, 3), RGB.

    :raises FerError: it has none.
    """
    frames = list(islice(open_source(source, still_s=0.0).frames(), count))
    if not frames:
        raise FerError(f"{source}: gives no image")
    return frames
