"""What a node's executable does with arguments that are not ROS's."""

from __future__ import annotations

import argparse
import sys
import textwrap

from rclpy.utilities import remove_ros_args

from fer_perception.nodes.base.ros_start import explained_start
from fer_perception.settings import NODE_SETTINGS, Setting, settings_of

WIDTH = 100


def check_arguments(name: str, purpose: str) -> None:
    """Print the help where it was asked for, and refuse what is not ROS's, both by ending the process."""
    settings = settings_of(NODE_SETTINGS[name])
    parser = argparse.ArgumentParser(
        prog=name,
        usage=f"{name} [--help] [--ros-args -p PARAMETER:=VALUE -r TOPIC:=OTHER_TOPIC -r __ns:=NAMESPACE ...]",
        description=f"{purpose[0].upper()}{purpose[1:]}. A lifecycle node.",
        epilog="\n".join(["parameters:", *map(_described, settings.values()), "", *_examples(name, settings)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    with explained_start():
        arguments = remove_ros_args(sys.argv)[1:]
    parser.parse_args(arguments)


def _described(setting: Setting) -> str:
    details = "; ".join(filter(None, (f"default {setting.default_text}", setting.allowed)))
    text = textwrap.fill(setting.description, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {setting.name} ({details})\n{text}"


def _examples(name: str, settings: dict[str, Setting]) -> list[str]:
    lines = ["examples:", f"  ros2 run fer_perception {name}"]
    if "image_transport" in settings:
        lines.append(f"  ros2 run fer_perception {name} --ros-args -r image:=/camera/image_raw")
    if "source" in settings:
        lines.append(f"  ros2 run fer_perception {name} --ros-args -p source:=film.mp4 -p loop:=true")
    return [*lines, f"  ros2 run fer_perception {name} --ros-args --params-file params.yaml -r __ns:=/fer/front"]
