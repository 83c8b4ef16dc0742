"""``live_replay``: how well and how fast the suite does on a recorded bag in a running graph, drops included.

Starts fer_node as a process of its own, in a ROS domain of its own on this machine, plays the bag's images at their
pace, records the predictions and evaluates them as ``replay`` does: report.html, report.json and the tables, and the
recorded predictions in recording/. With --attach it starts nothing: it shows the bag to the pipeline that runs already
in the ROS graph (with use_sim_time, and no other images); so does replay.launch.py.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from tqdm import tqdm

from fer_perception.commands.number_arguments import number
from fer_perception.commands.processes import end_on_signals, start, stop
from fer_perception.commands.replay import format_report
from fer_perception.commands.replay_options import (
    PIPELINE,
    add_output,
    add_pipeline,
    add_selection,
    refuse_pipeline,
    require_viewer,
    selection_of,
)
from fer_perception.commands.settings_options import values_from
from fer_perception.errors import FerError
from fer_perception.models.shipped import resolve_model
from fer_perception.nodes.bag_player import BagPlayer
from fer_perception.nodes.base.executor_thread import ExecutorThread
from fer_perception.nodes.base.isolation import isolate, use_dds_profile
from fer_perception.nodes.base.ros_start import explained_start
from fer_perception.nodes.recording.prediction_recorder import PredictionRecorder
from fer_perception.replay.bags import image_transport
from fer_perception.replay.evaluate_bags import Options, choose_labelled_topic, evaluate_recording, prepare
from fer_perception.settings import Value

RECORDING = "recording"
START_TIMEOUT_S = 90.0
DRAIN_S = 1.0
POLL_S = 0.1


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line without what is ROS's."""
    parser = argparse.ArgumentParser(
        prog="live_replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  live_replay bags/kitchen --labels kitchen.csv\n"
        "  live_replay bags/kitchen --rate 2 --model my_bundle --out out/live",
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="a bag's folder")
    parser.add_argument("--rate", type=number(0.01, 100), default=1.0, help="so many times as fast as recorded (1)")
    parser.add_argument("--attach", action="store_true", help="start nothing: the pipeline is running")
    add_selection(parser)
    add_pipeline(parser)
    add_output(parser, "out/live_replay")
    options = parser.parse_args(arguments)
    if options.attach:
        refuse_pipeline(parser, options, "--attach: the pipeline that is running")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run, record and evaluate. Interrupted, it gives no verdict."""
    arguments = remove_ros_args(sys.argv)[1:] if arguments is None else arguments
    options = parse_arguments(arguments)
    require_viewer(options)
    selection = selection_of(options)
    transport = image_transport(options.bag, options.topic)  # a bad bag is found out before anything is started
    choose_labelled_topic(options.bag, options.topic, options.labels)
    prepare(options.out, [options.bag])
    recording = options.out / RECORDING
    shutil.rmtree(recording, ignore_errors=True)
    end_on_signals()
    processes = {}
    if options.attach:
        use_dds_profile()
    else:
        isolate()
        options.model = str(resolve_model(options.model))
        settings = values_from(options, PIPELINE) | {"use_sim_time": True, "image_transport": transport}
        processes["fer_node"] = start("fer_node", settings)
    try:
        known = play(processes, options, transport, recording)
    finally:
        stop(processes)
    options.command = shlex.join(["python", "-m", "fer_perception", "live_replay", *arguments])
    options.predictions_topic = str(known.pop("predictions_topic"))
    names = [field.name for field in fields(Options) if hasattr(options, field.name)]
    chosen = Options(**{name: getattr(options, name) for name in names})
    report = evaluate_recording(options.bag, recording, options.out, selection, chosen, known)
    print(format_report(report))
    print(f"written: {options.out}/report.html and the tables beside it" + (f", {options.rrd}" if options.rrd else ""))
    return 0


def play(
    processes: dict[str, subprocess.Popen[bytes]], options: argparse.Namespace, transport: str, recording: Path
) -> dict[str, Value]:
    """Show the bag to the pipeline and record its predictions.

    :param transport: of the images: raw or compressed.
    :return: the pipeline's settings, ``rate`` and ``predictions_topic``.
    :raises FerError: a process ended, a node cannot do its work, or the pipeline does not appear.
    """

    def check() -> None:
        """Pass some time, and see whether all is well."""
        time.sleep(POLL_S)
        for name, process in processes.items():
            if process.poll() is not None:
                raise FerError(f"{name} ended with status {process.returncode}: read its message above")
        if recorder.failure or player.error:
            raise FerError(recorder.failure or player.error)

    with explained_start():
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with ExitStack() as undo:
        undo.callback(rclpy.try_shutdown)
        player = BagPlayer()
        undo.callback(player.destroy_node)
        recorder = PredictionRecorder(recording)
        undo.callback(recorder.finish)
        values = {"bag": str(options.bag), "start_s": options.start_s, "rate": options.rate}
        if options.topic:
            values["topic"] = options.topic[0]
        if options.end_s < float("inf"):
            values["end_s"] = options.end_s
        for result in player.set_parameters([Parameter(name, value=value) for name, value in values.items()]):
            if not result.successful:
                raise FerError(result.reason)
        if player.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            raise FerError(player.error)
        undo.callback(ExecutorThread(player, recorder).close)
        # Each must have found the other before the first image: a publisher knows its subscribers, but not whether
        # they know it; that the pipeline tells.
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not (player.images.get_subscription_count() and recorder.ready):
            check()
            if time.monotonic() > deadline_s:
                raise FerError(
                    f"no pipeline took images from {player.images.topic_name} within {START_TIMEOUT_S:g} s. Is one "
                    f"active in this namespace, with image_transport {transport}? If it is still building a TensorRT "
                    "engine, run build_engine first"
                )
        if recorder.count_publishers(player.images.topic_name) > 1:
            raise FerError(f"{player.images.topic_name} has other publishers. Stop the camera, or remap its images")
        known = recorder.pipeline_settings(list(PIPELINE))
        player.trigger_activate()
        with tqdm(total=player.count, unit="image", desc="live", mininterval=1.0) as bar:
            while not player.finished.is_set():
                check()
                bar.update(player.sent - bar.n)
        time.sleep(DRAIN_S)
    return {**known, "rate": options.rate, "predictions_topic": recorder.predictions_topic}
