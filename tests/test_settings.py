"""A setting is declared once: parameter, option, launch argument and documentation follow."""

from __future__ import annotations

import json
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
