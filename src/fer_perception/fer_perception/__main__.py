"""Runs an executable by name where no ros2 CLI is installed: ``python -m fer_perception NAME [ARGUMENTS]``."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

EXECUTABLES = {
    "fer_node": ("fer_perception.nodes.fer_node", "camera images to faces, emotions and latencies"),
    "fer_nodes": ("fer_perception.nodes.fer_nodes", "one fer_node for each of several cameras, in one process"),
    "face_node": ("fer_perception.nodes.face_node", "the first half of fer_node: camera images to faces with crops"),
    "emotion_node": ("fer_perception.nodes.emotion_node", "the second half: faces with crops to emotions"),
    "source_node": ("fer_perception.nodes.source_node", "camera, video, image or folder to images"),
    "bag_player": ("fer_perception.nodes.bag_player", "a bag's images at their pace, and /clock"),
    "overlay_node": ("fer_perception.nodes.overlay_node", "draws the results into the images"),
    "view_node": ("fer_perception.nodes.view_node", "shows images and results in a browser, without ROS tools"),
    "hri_node": ("fer_perception.nodes.hri.hri_node", "the results as REP 155 names them, in hri_msgs"),
    "hri_expression_node": (
        "fer_perception.nodes.hri.hri_expression_node",
        "expressions of the faces that another REP 155 node tracks",
    ),
    "demo": ("fer_perception.commands.demo.command", "runs the three nodes on a source, records and summarises"),
    "benchmark": (
        "fer_perception.commands.benchmark.command",
        "speed of fer_node on a live graph, of networks alone, of gate and audit log; how far faces are found",
    ),
    "replay": ("fer_perception.commands.replay", "evaluates the pipeline on recorded bags"),
    "live_replay": ("fer_perception.commands.live_replay", "the same in a running graph, drops included"),
    "make_bag": ("fer_perception.commands.make_bag", "a bag of a video, of images or of labelled images"),
    "build_engine": (
        "fer_perception.commands.build_engine",
        "builds a model's TensorRT engine ahead of the first start",
    ),
    "audit": ("fer_perception.commands.audit", "checks audit logs for tampering"),
    "fetch_face_model": (
        "fer_perception.commands.fetch_face_model",
        "downloads MediaPipe's face model, checked by its hash",
    ),
}

# They need requirements/replay.txt.
EVALUATION = ("replay", "live_replay", "make_bag")
# They are in the graph, too; of benchmark only a part is.
OTHER_ROS = ("demo", "live_replay")
NODE_MODULES = "fer_perception.nodes."
# They take ROS's arguments alone; fer_nodes has some of its own.
NODES = tuple(
    name for name, (module, _) in EXECUTABLES.items() if module.startswith(NODE_MODULES) and name != "fer_nodes"
)


def run(name: str) -> None:
    """Import the module of an executable and run its ``main``; a user's error ends in one line, not a traceback."""
    from fer_perception.errors import FerError, missing_package

    module, purpose = EXECUTABLES[name]
    try:
        if module.startswith(NODE_MODULES):
            # Its imports take seconds, and nothing is open yet: to end now is a clean end.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: os._exit(0))
        elif name == "make_bag":
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # half a bag is removed
        if module.startswith(NODE_MODULES) or name in OTHER_ROS:
            from fer_perception.nodes.base.ros_start import check_environment

            check_environment()
        if name in NODES:
            from fer_perception.nodes.base.command_line import check_arguments

            check_arguments(name, purpose)
        if name in EVALUATION:
            from fer_perception.replay import require_packages

            require_packages()
        sys.exit(import_module(module).main())
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fer_perception"):
            raise
        sys.exit(f"{name}: {missing_package(error)}")
    except (FerError, OSError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def main() -> None:
    """Take the executable's name off the command line and run it."""
    if len(sys.argv) < 2 or sys.argv[1] not in EXECUTABLES:
        print(__doc__, *(f"  {name:18}{text}" for name, (_, text) in EXECUTABLES.items()), sep="\n")
        sys.exit(0 if sys.argv[1:] in ([], ["-h"], ["--help"]) else f"unknown executable: {sys.argv[1]}")
    name = sys.argv.pop(1)
    sys.argv[0] = name
    run(name)


def executable() -> None:
    """Entry point of all that ``ros2 run fer_perception`` starts; the started file's name says which one it is."""
    run(Path(sys.argv[0]).name)


if __name__ == "__main__":
    main()
