"""``demo``: runs source, pipeline and overlay as separate processes over DDS, watches, records and summarises.

Everything stays on this machine, in a ROS domain of its own. Writes into the output folder:
summary.json, overlay.mp4, snapshot.png and bag/ (rosbag2, mcap). With --view it also shows all of it in a browser.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from fer_perception.commands.demo.summary import SessionSummary, format_summary
from fer_perception.commands.processes import end_on_signals, start, stop
from fer_perception.commands.settings_options import add_settings, values_from
from fer_perception.errors import FerError
from fer_perception.files import made_folder
from fer_perception.images.sources import PORTRAIT, open_source
from fer_perception.nodes.base.isolation import isolate
from fer_perception.settings import FerNodeSettings, Value
from fer_perception.telemetry.priority import give_way

START_TIMEOUT_S = 90.0
DRAIN_S = 1.0
PIPELINE = ("model", "face_mode")
CAMERA_SECONDS = 10.0
BAG, SUMMARY, VIDEO, SNAPSHOT = "bag", "summary.json", "overlay.mp4", "snapshot.png"
BAG_FILES = {f"{BAG}.mcap", "metadata.yaml"}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  demo\n  demo --source holiday.mp4\n  demo --source 0 --seconds 30   (the first camera)",
    )
    parser.add_argument("--source", default=PORTRAIT, help="camera index, video, image, folder, or 'astronaut'")
    add_settings(parser, FerNodeSettings, PIPELINE)
    parser.add_argument("--attention", action="store_true", help="also draw where the network looked")
    parser.add_argument("--view", action="store_true", help="show it in a browser; needs requirements/view.txt")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="output folder (default out/demo)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help="so many, beginning again at the source's end; default: to the source's end, of a camera 10",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status is 1 when no frame was processed."""
    options = parse_arguments(arguments)
    source = open_source(options.source)  # a bad source is found out before anything is started
    if source.live and not options.seconds:
        options.seconds = CAMERA_SECONDS
    with made_folder(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
    remove_results(options.out)
    isolate()
    end_on_signals()
    shown: dict[str, Value] = {"privacy": "off", "show_attention": options.attention}
    processes = {
        "fer_node": start("fer_node", values_from(options, PIPELINE)),
        "overlay_node": start("overlay_node", shown),
    }
    if options.view:
        processes["view_node"] = start("view_node", {**shown, "view_port": 0})
    try:
        # So many subscribers wait for the first image: pipeline, overlay, view and the recorder in this process.
        processes["source_node"] = start(
            "source_node",
            {
                "source": _source_text(options.source),
                "duration_s": float(options.seconds),
                "loop": options.seconds > 0,
                "wait_for_subscribers": 4 if options.view else 3,
            },
        )
        summary = watch(processes, options.out, source.fps)
        result = summary.result()
        (options.out / SUMMARY).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(format_summary(result))
        print(f"written: {', '.join(str(path) for path in sorted(options.out.iterdir()))}")
        if options.view and sys.stdin.isatty():
            stop({name: process for name, process in processes.items() if name != "view_node"})
            with suppress(EOFError, KeyboardInterrupt):
                input("the view stays until you press Enter ")
    finally:
        stop(processes)
    if not summary.frames_processed:
        print("demo: no frame was processed", file=sys.stderr)
        return 1
    return 0


def remove_results(folder: Path) -> None:
    """Delete what an earlier run wrote, so that it is never taken for this one's.

    :raises FerError: what is called like the demo's bag is something else.
    """
    bag = folder / BAG
    if bag.exists():
        if not bag.is_dir() or {file.name for file in bag.iterdir()} - BAG_FILES:
            raise FerError(f"{bag}: exists and is no bag of an earlier demo. Move it away, or choose another --out")
        shutil.rmtree(bag)
    for name in (SUMMARY, VIDEO, SNAPSHOT):
        (folder / name).unlink(missing_ok=True)


def watch(processes: dict[str, subprocess.Popen[bytes]], out: Path, fps: float) -> SessionSummary:
    """Record until the source has ended or the user interrupts.

    :raises FerError: a node died, or nothing was sent for too long.
    """
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from fer_perception.commands.demo.monitor import DemoMonitor
    from fer_perception.nodes.base.ros_start import explained_start

    give_way()  # to the nodes, which have been started
    with explained_start():
        rclpy.init()
    monitor = DemoMonitor(out / BAG, out / VIDEO, out / SNAPSHOT, fps)
    executor = SingleThreadedExecutor()
    executor.add_node(monitor)
    print(f"starting {', '.join(processes)} in ROS domain {os.environ['ROS_DOMAIN_ID']} ...", flush=True)
    try:
        begun_s = time.monotonic()
        while processes["source_node"].poll() is None:
            executor.spin_once(timeout_sec=0.1)
            for name, process in processes.items():
                if process.poll() not in (None, 0):
                    raise FerError(f"{name} ended with status {process.returncode}: read its message above")
            if monitor.failure:
                raise FerError(monitor.failure)
            begun = monitor.summary.frames_sent or monitor.summary.frames_processed
            if not begun and time.monotonic() - begun_s > START_TIMEOUT_S:
                raise FerError(f"no image was sent within {START_TIMEOUT_S:g} s. Is the machine very busy?")
        if processes["source_node"].returncode:
            raise FerError(f"source_node ended with status {processes['source_node'].returncode}: see above")
        drained_s = time.monotonic() + DRAIN_S
        while time.monotonic() < drained_s:
            executor.spin_once(timeout_sec=0.1)
    except (KeyboardInterrupt, ExternalShutdownException):
        print("interrupted: the summary is of what was seen until now", flush=True)
    finally:
        executor.shutdown()
        monitor.finish()
        rclpy.try_shutdown()
    return monitor.summary


def _source_text(source: str) -> str:
    """The source as a parameter: a path made absolute."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source
