"""A setting is declared once: parameter, option, launch argument and documentation follow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
from write_docs import parameters_page

assert fer_perception.__file__.startswith(sys.argv[1])
rclpy.init(args=[])
node = FaceNode()
section = parameters_page().split("## face_node")[1].split("##")[0]
rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
print(json.dumps({
    "parameter": [node.get_parameter(name).value for name in ("face_mode", "min_confidence")],
    "option": [demo([]).face_mode, replay(["bag"]).min_confidence],
    "launch argument": [argument.default for argument in ARGUMENTS if argument.name == "face_mode"],
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
        "launch argument": [mode],
        "docs": [mode, confidence],
    }
