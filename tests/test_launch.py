"""fer.launch.py with the real launch system, where that is installed (it is not on PyPI)."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
from fer_msgs.msg import EmotionArray

from fer_perception.resources import share_folder

pytest.importorskip("launch_ros", reason="launch and launch_ros are not on PyPI: source a ROS distribution to run this")

PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(argument.split(":=")) for argument in sys.argv[2:]]
service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


def nodes_in(graph: Any) -> set[str]:
    """Names of the nodes in the graph's namespace."""
    space = graph.node.get_namespace()
    return {name for name, namespace in graph.node.get_node_names_and_namespaces() if namespace == space}


def test_launch_file_runs_the_graph_in_its_namespace(graph: Any, tmp_path: Any) -> None:
    namespace = graph.node.get_namespace().strip("/")
    graph.collect(EmotionArray, "emotions")
    file = share_folder() / "launch" / "fer.launch.py"
    arguments = [str(file), "source:=astronaut", "loop:=true", f"namespace:={namespace}"]
    with open(tmp_path / "launch.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        graph.until(lambda: len(graph.received["emotions"]) > 10)
        graph.until(lambda: {"fer_node", "overlay_node", "source_node"} <= nodes_in(graph))
        assert graph.received["emotions"][-1].emotions[0].label == "happy"
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(30)
    assert status == 0
    assert "Traceback" not in (tmp_path / "launch.log").read_text()
