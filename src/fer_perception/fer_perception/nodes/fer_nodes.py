"""``fer_nodes``: one fer_node for each of several cameras, in one process with one network.

The nodes are called fer_node and lie in the namespaces NAMESPACE/CAMERA. ROS parameters and remappings on the command
line are of all of them. Python runs them in one process one after the other: it saves memory, not time.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from rclpy.utilities import remove_ros_args

from fer_perception.nodes.base.managed_node import NAMESPACE, run_nodes
from fer_perception.nodes.base.ros_start import explained_start
from fer_perception.nodes.fer_node import FerNode


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line without what is ROS's."""
    parser = argparse.ArgumentParser(
        prog="fer_nodes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  fer_nodes --cameras front rear --ros-args -p face_mode:=mesh",
    )
    parser.add_argument("--cameras", nargs="+", required=True, help="their names")
    parser.add_argument(
        "--image", default="/{camera}/image_raw", help="each camera's image topic, with {camera} for its name"
    )
    parser.add_argument("--namespace", default=NAMESPACE, help="all namespaces begin with it (default fer)")
    return parser.parse_args(arguments)


def main() -> None:
    """Run the nodes."""
    with explained_start():
        arguments = remove_ros_args(sys.argv)[1:]
    options = parse_arguments(arguments)
    run_nodes(
        [
            partial(FerNode, f"{options.namespace}/{camera}", {"image": options.image.replace("{camera}", camera)})
            for camera in options.cameras
        ]
    )
