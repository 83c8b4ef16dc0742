"""The launch files with the real launch system, where that is installed (it is not on PyPI).

What they decide is tested without it in src/fer_perception/test/test_launch_plan.py.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fer_msgs.msg import EmotionArray
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import Image

from fer_perception.models.shipped import share_folder
from fer_perception.nodes.base.qos import IMAGE_QOS
from fer_perception.replay.storage.new_bag import Item, write_bag

pytest.importorskip("launch_ros", reason="launch and launch_ros are not on PyPI: source a ROS distribution to run this")

PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(argument.split(":=")) for argument in sys.argv[2:]]
service = LaunchService(noninteractive=True)
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""
HOUR_MS = 3_600_000


def nodes_in(graph: Any) -> set[str]:
    """Names of the nodes in the graph's namespace."""
    space = graph.node.get_namespace()
    return {
        name
        for name, namespace in graph.node.get_node_names_and_namespaces()
        if namespace == space and not name.startswith("_")
    }


def command(graph: Any, file: str, *arguments: str) -> list[str]:
    """Launches a file in the graph's namespace."""
    path = str(share_folder() / "launch" / file)
    return [sys.executable, "-c", PROGRAM, path, f"namespace:={graph.node.get_namespace().strip('/')}", *arguments]


def run(graph: Any, file: str, *arguments: str) -> tuple[int, str]:
    """Launches a file that ends by itself: exit status and output."""
    result = subprocess.run(
        command(graph, file, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240
    )
    return result.returncode, result.stdout


def parameters(graph: Any, node: str, *names: str) -> list[Any]:
    """The values of a running node's parameters."""
    client = graph.node.create_client(GetParameters, f"{node}/get_parameters")
    graph.until(client.service_is_ready)
    future = client.call_async(GetParameters.Request(names=names))
    graph.until(future.done)
    return [parameter_value_to_python(value) for value in future.result().values]


@contextmanager
def launched(graph: Any, log: Path, *arguments: str) -> Iterator[None]:
    """fer.launch.py in the graph's namespace; afterwards it has ended by SIGINT without a traceback."""
    with open(log, "w") as stream:
        process = subprocess.Popen(
            command(graph, "fer.launch.py", *arguments),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(120)
    assert status == 0
    assert "Traceback" not in log.read_text()
    assert "failed to terminate" not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "nodes"),
    [
        ((), {"fer_node", "overlay_node", "source_node"}),
        (("split:=true", "overlay:=false"), {"face_node", "emotion_node", "source_node"}),
        (("prebuild:=true", "overlay:=false"), {"fer_node", "source_node"}),
    ],
)
def test_launch_file_runs_the_graph_in_its_namespace(
    graph: Any, tmp_path: Path, arguments: tuple[str, ...], nodes: set[str]
) -> None:
    graph.collect(EmotionArray, "emotions")
    log = tmp_path / "launch.log"
    with launched(graph, log, "source:=astronaut", "loop:=true", *arguments):
        graph.until(lambda: len(graph.received["emotions"]) > 10)
        graph.until(lambda: nodes_in(graph) - {"test"} == nodes)
        assert graph.received["emotions"][-1].emotions[0].label == "happy"
    output = log.read_text()
    assert ("the faces' pixels are on the topic faces" in output) == ("split:=true" in arguments)
    if "prebuild:=true" in arguments:
        assert output.index("[build_engine-1]: process has") < output.index("[fer_node-2]: process started")


def test_texts_stay_texts_and_a_namespace_may_be_absolute(graph: Any, tmp_path: Path) -> None:
    given = ("autostart:=false", "model:=42", "privacy:=off", "source:=0", "image_rotation:=90")
    with launched(graph, tmp_path / "launch.log", *given, f"namespace:={graph.node.get_namespace()}"):
        assert parameters(graph, "fer_node", "autostart", "model", "privacy") == [False, "42", "off"]
        assert parameters(graph, "fer_node", "image_rotation", "publish_tf", "camera_info") == [90, False, ""]
        assert parameters(graph, "source_node", "source", "loop") == ["0", False]
        assert parameters(graph, "overlay_node", "privacy", "show_attention") == ["off", False]


@pytest.mark.parametrize("key", ["/**", "/**/fer_node", "{namespace}/fer_node"])
def test_arguments_win_over_the_parameter_file_and_the_file_over_defaults(graph: Any, tmp_path: Path, key: str) -> None:
    key = key.format(namespace=graph.node.get_namespace())
    params = tmp_path / "params.yaml"
    params.write_text(f"{key}:\n  ros__parameters:\n    max_faces: 2\n    min_confidence: 0.5\n")
    given = ("source:=none", "overlay:=false", "max_faces:=7", f"params_file:={params}")
    with launched(graph, tmp_path / "launch.log", *given):
        assert parameters(graph, "fer_node", "max_faces", "min_confidence") == [7, 0.5]


def test_what_nobody_takes_is_a_warning(graph: Any, tmp_path: Path) -> None:
    params, log = tmp_path / "params.yaml", tmp_path / "launch.log"
    params.write_text("fer_node:\n  ros__parameters:\n    max_faces: 2\n")
    given = ("source:=none", "overlay:=false", "privcy:=strict", f"params_file:={params}")
    with launched(graph, log, *given):
        assert parameters(graph, "fer_node", "max_faces", "privacy") == [10, "no_images"]
    assert "[WARNING] [launch.user]: the argument privcy:= is not known and not used: privacy:= is" in log.read_text()
    assert (
        f"what is under /fer_node is not used, as no node here has that name. Write {graph.node.get_namespace()}"
        in (log.read_text())
    )


@pytest.mark.parametrize(
    ("file", "arguments", "message"),
    [
        ("fer.launch.py", ("precision:=fp8",), "precision:=fp8: use 'auto', 'fp32', 'fp16' or 'int8'"),
        ("fer.launch.py", ("cameras:=front,rear left",), "cameras:=front,rear left: 'rear left' cannot be a namespace"),
        ("fer.launch.py", ("split:=true", "privacy:=strict"), "privacy:=strict: split:=true sends the faces' pixels"),
        ("replay.launch.py", ("bag:=missing",), "missing: there is no such bag"),
        ("replay.launch.py", (), "missing required argument 'bag'"),
    ],
)
def test_wrong_arguments_start_nothing(graph: Any, file: str, arguments: tuple[str, ...], message: str) -> None:
    status, output = run(graph, file, *arguments)
    assert status == 1
    assert message in output
    assert "process started" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("shared", ["true", "false"])
def test_each_camera_has_a_namespace(graph: Any, tmp_path: Path, portrait: Any, shared: str) -> None:
    space = graph.node.get_namespace()
    cameras = ("front", "rear")
    for camera in cameras:
        graph.collect(EmotionArray, f"{camera}/emotions")
    images = {camera: graph.node.create_publisher(Image, f"{camera}/camera", IMAGE_QOS) for camera in cameras}
    arguments = [f"cameras:={','.join(cameras)}", f"image:={space}/{{camera}}/camera", f"shared_process:={shared}"]
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    smoothing_s: 0.25\n    face_mode: mesh\n")

    def answered() -> bool:
        for publisher in images.values():
            publisher.publish(graph.image(portrait))
        graph.spin(0.2)
        return all(graph.received[f"{camera}/emotions"] for camera in cameras)

    with launched(graph, tmp_path / "launch.log", *arguments, f"params_file:={params}"):
        graph.until(answered)
        for camera in cameras:  # the file wins over the arguments
            assert parameters(graph, f"{camera}/fer_node", "smoothing_s", "face_mode") == [0.25, "mesh"]


@pytest.mark.parametrize("split", ["false", "true"])
def test_a_bag_is_played_to_the_graph_and_evaluated(graph: Any, tmp_path: Path, portrait: Any, split: str) -> None:
    """Compressed images; the launch ends by itself."""
    write_bag((Item(portrait, "happy") for _ in range(30)), tmp_path / "bag", 20.0, encoding="jpeg")
    options = f"options:=--no-images --out {tmp_path / 'out'}"
    arguments = [f"bag:={tmp_path / 'bag'}", options, f"split:={split}", "overlay:=false"]
    status, output = run(graph, "replay.launch.py", *arguments)
    assert status == 0, output
    assert "Traceback" not in output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    space = graph.node.get_namespace()
    assert report["live"]["predictions_topic"] == f"{space}/emotions"
    assert report["all"]["frames"] == 30
    assert report["all"]["truth"]["predicted"] == 30 - report["all"]["dropped"] > 0
    assert report["all"]["truth"]["single"]["frames"]["accuracy"] == 1.0
    # In the bag's time: without use_sim_time the ages would be years.
    assert abs(report["all"]["latency_ms"]["age_at_publication"]["p50"]) < HOUR_MS
    graph.until(lambda: nodes_in(graph) == {"test"})
