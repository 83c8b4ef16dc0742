"""A setting is declared once: parameter, option, launch argument and documentation follow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray

from fer_perception.launching.choices import write_choices
from fer_perception.settings.unused import TOPICS, file_keys, matches

ROOT = Path(__file__).parents[1]

# What each place says about a setting, in a process that imports a copy of the package.
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import fer_perception
import rclpy
from fer_perception.commands.demo.command import parse_arguments as demo
from fer_perception.commands.replay import parse_arguments as replay
from fer_perception.launching.plan import ARGUMENTS
from fer_perception.nodes.face_node import FaceNode
sys.path.insert(0, sys.argv[2])
import yaml
from write_docs import parameter_file, parameters_page

assert fer_perception.__file__.startswith(sys.argv[1])
rclpy.init(args=[])
node = FaceNode()
section = parameters_page().split("## face_node")[1].split("##")[0]
arguments = {argument.name: argument.default for argument in ARGUMENTS}
face_node = yaml.safe_load(parameter_file())["/**/face_node"]["ros__parameters"]
rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
print(json.dumps({
    "parameter": [node.get_parameter(name).value for name in ("face_mode", "min_confidence")],
    "option": [demo([]).face_mode, replay(["bag"]).min_confidence],
    "launch argument": [arguments[name] for name in ("face_mode", "min_confidence")],
    "parameter file": [face_node[name] for name in ("face_mode", "min_confidence")],
    "docs": [row[2].strip(" `") for row in rows if row[1].strip(" `") in ("face_mode", "min_confidence")],
}))
node.destroy_node()
rclpy.shutdown()
"""


def places(package: Path) -> dict[str, list[object]]:
    """What each place says about face_mode and min_confidence."""
    command = [sys.executable, "-c", ASK, str(package), str(ROOT / "scripts")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    found: dict[str, list[object]] = json.loads(process.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("mode", "confidence"), [("keypoints", "0.75"), ("mesh", "0.6")])
def test_a_default_is_the_same_everywhere(tmp_path: Path, mode: str, confidence: str) -> None:
    shutil.copytree(ROOT / "src" / "fer_perception" / "fer_perception", tmp_path / "fer_perception")
    module = tmp_path / "fer_perception" / "settings" / "pipeline.py"
    text = module.read_text(encoding="utf-8")
    for old, new in (('        "keypoints",\n', f'        "{mode}",\n'), ("        0.75,", f"        {confidence},")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    module.write_text(text, encoding="utf-8")
    assert places(tmp_path) == {
        "parameter": [mode, float(confidence)],
        "option": [mode, float(confidence)],
        "launch argument": [mode, confidence],
        "parameter file": [mode, float(confidence)],
        "docs": [mode, confidence],
    }


@pytest.mark.parametrize("name", ["fer_node", "face_node", "emotion_node", "overlay_node", "source_node"])
def test_a_node_starts_with_the_parameter_file(graph: Any, name: str) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    file = ROOT / "src" / "fer_perception" / "config" / "params.yaml"
    namespace = graph.node.get_namespace()
    graph.start_with(name, "--ros-args", "--params-file", str(file), "-r", f"__ns:={namespace}")

    def states() -> set[str]:
        statuses = [s for message in graph.received["/diagnostics"] for s in message.status]
        return {value.value for s in statuses if s.name == f"{namespace}/{name}" for value in s.values[:1]}

    graph.until(lambda: "active" in states())


KEYS = (
    *("/**", "**", "/*", "/fer/*", "/fer/**", "/**/**", "fer_node", "/fer_node", "/**/fer_node", "/*/fer_node"),
    *("/*/*/fer_node", "fer/fer_node", "/fer/fer_node", "/fer/front/fer_node", "/**/front/**", "/**/fer/**/fer_node"),
)


@pytest.mark.parametrize("namespace", ["/", "/fer", "/fer/front"])
def test_a_key_is_of_the_nodes_that_ros_takes_it_for(namespace: str, tmp_path: Path) -> None:
    file, found = tmp_path / "params.yaml", []
    for key in KEYS:
        file.write_text(yaml.safe_dump({key: {"ros__parameters": {"max_faces": 2}}}))
        node = rclpy.create_node(
            "fer_node",
            namespace=namespace,
            cli_args=["--ros-args", "--params-file", str(file)],
            automatically_declare_parameters_from_overrides=True,
        )
        found.append((key, node.has_parameter("max_faces")))
        name = node.get_fully_qualified_name()
        node.destroy_node()
    assert [(key, matches(key, name)) for key in KEYS] == found


def test_the_topics_that_are_known_are_those_of_the_nodes(graph: Any) -> None:
    """Those that a node names itself, not lifecycle's and parameters'."""
    space = graph.node.get_namespace()
    expected = {
        "fer_node": {"image", "camera_info", "emotions", "faces", "landmarks", "latency", "latency_statistics"},
        "face_node": {"image", "camera_info", "faces", "landmarks", "face_latency", "face_latency_statistics"},
        "emotion_node": {"faces", "emotions", "latency", "latency_statistics"},
    }
    for name in expected:
        graph.start(name)

    def topics(name: str) -> set[str]:
        entities = [*graph.node.get_publisher_names_and_types_by_node(name, space)]
        entities += graph.node.get_subscriber_names_and_types_by_node(name, space)
        return {topic.removeprefix(f"{space}/") for topic, _ in entities if not topic.startswith(f"{space}/{name}/")}

    def known() -> bool:
        names = {name for name, namespace in graph.node.get_node_names_and_namespaces() if namespace == space}
        return names >= expected.keys() and all(topics(name) >= expected[name] for name in expected)

    graph.until(known)
    for name in expected:
        assert {topic for topic in topics(name) if not topic.startswith("/")} <= {*TOPICS}


def test_nested_keys_of_a_parameter_file_are_found(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    parameters = {"ros__parameters": {"audit": {"folder": "x"}}}
    file.write_text(yaml.safe_dump({"/**": parameters, "fer": {"fer_node": parameters, "front/fer_node": parameters}}))
    assert file_keys(file) == ["/**", "/fer/fer_node", "/fer/front/fer_node"]


@pytest.mark.parametrize(
    ("name", "arguments", "warnings"),
    [
        (
            "fer_node",
            ["-p", "min_confidense:=0.9", "-p", "modell:=x"],
            ["min_confidense is not .*: min_confidence is", "model is"],
        ),
        ("fer_node", ["-p", "audit.foldr:=x"], ["parameter audit.foldr is not known and not used: audit.folder is"]),
        ("source_node", ["-p", "zzz:=1"], ["parameter zzz is not known and not used: --help lists those that are"]),
        (
            "source_node",
            ["-p", "source_node:loop:=true"],
            ["under source_node is not used.* Write {space}/source_node"],
        ),
        ("source_node", ["--params-file", "{file}"], ["{file}: what is under /source_node is not used"]),
        ("source_node", ["--params-file", "{empty}"], ["{empty}: it sets nothing. Its form is NODE"]),
        ("source_node", ["-r", "imgae:=/x"], ["-r imgae:=/x: no node here has the topic imgae. Write image:=/x"]),
        ("source_node", ["-r", "/image:=/x"], ["no node here has the topic /image. Write image:=/x"]),
        ("source_node", ["-r", "fer_node:image:=/x"], ["no node here is called fer_node. Write source_node"]),
        ("source_node", ["-r", "image:=/x", "-r", "/tf:=tf", "-r", "{space}/image:=/y", "-r", "odom:=/z"], []),
        ("source_node", ["-p", "model:=x", "-p", "use_sim_time:=false"], []),  # of another node: /** may have it
    ],
)
def test_what_nobody_takes_is_told(
    graph: Any, tmp_path: Path, name: str, arguments: list[str], warnings: list[str]
) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    space, file = graph.node.get_namespace(), tmp_path / "params.yaml"
    file.write_text("source_node:\n  ros__parameters:\n    loop: true\n")
    empty = tmp_path / "empty.yaml"
    empty.write_text("loop\n")
    fill = {"space": space, "file": str(file), "empty": str(empty)}
    given = [argument.format(**fill) for argument in arguments]
    process = graph.start_with(name, "--ros-args", "-r", f"__ns:={space}", "-p", "autostart:=false", *given)
    graph.until(lambda: graph.status_of(name))
    unused = [value.value for value in graph.status_of(name).values if value.key == "unused"]
    assert len(unused) == bool(warnings)
    for warning in warnings:
        assert re.search(warning.format(**fill), unused[0])
        assert re.search(warning.format(**fill), process.output)
    assert ("[WARN]" in process.output) == bool(warnings)


@pytest.mark.parametrize("key", ["/**", "/**/fer_node", "/fer/fer_node"])
def test_what_was_chosen_wins_over_files_with_any_key(graph: Any, tmp_path: Path, key: str) -> None:
    chosen = {"max_faces": 7, "min_confidence": 0.5, "model": "42", "loop": True}
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({key: {"ros__parameters": {"max_faces": 2, "model": "baseline", "topic": "a"}}}))
    defaults = ["-p", "max_faces:=3", "-p", "loop:=false"]
    files = [argument for path in (file, write_choices(chosen)) for argument in ("--params-file", str(path))]
    node = rclpy.create_node(
        "fer_node",
        namespace="fer",
        cli_args=["--ros-args", *defaults, *files],
        automatically_declare_parameters_from_overrides=True,
    )
    values = {name: node.get_parameter(name).value for name in (*chosen, "topic")}
    node.destroy_node()
    assert values == {**chosen, "topic": "a"}
