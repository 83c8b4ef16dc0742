"""What people see of the set-up: a line a step, and on failure the end of the log with a remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# As in a new shell.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("AMENT_PREFIX_PATH", "ROS_DISTRO")}


PREFIXES = [Path(prefix) for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]
pytestmark = pytest.mark.skipif(
    any(not prefix.is_relative_to(ROOT) for prefix in PREFIXES), reason="a ROS distribution is sourced"
)


def run(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=ENVIRONMENT | variables, capture_output=True, text=True, timeout=240
    )


@pytest.mark.parametrize(
    ("variables", "problem", "remedy"),
    [
        ({"PYTHON": "/nowhere/python"}, "/nowhere/python: No such file", "apt install build-essential python3-dev"),
        ({"CXX": "/nowhere/c++"}, "no C++ compiler (c++) is found", "apt install build-essential python3-dev"),
        ({"ROS_DISTRO": "foxy"}, "there are no wheels of ROS 2 foxy", "ROS_DISTRO=kilted or jazzy"),
    ],
)
def test_a_step_that_fails_shows_why_and_what_to_do(variables: dict[str, str], problem: str, remedy: str) -> None:
    result = run("scripts/setup.sh", **variables)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].endswith("... failed")
    assert problem in result.stderr
    assert remedy in result.stderr
    assert "log/setup.log" in result.stderr
    assert problem in (ROOT / "log" / "setup.log").read_text()


def test_a_workspace_that_is_set_up_takes_a_line_a_step() -> None:
    result = run("scripts/setup.sh dev", ROS_DISTRO=os.environ.get("ROS_DISTRO", ""))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) <= 15
    assert all(line.startswith("==> ") for line in lines)
    assert lines[-2].startswith("==> colcon build ... ")
    assert lines[-2].endswith(" s")
    assert "Finished <<< fer_perception" in (ROOT / "log" / "setup.log").read_text()
    assert result.stderr == ""


def test_a_shell_of_another_distribution_is_refused() -> None:
    result = run("AMENT_PREFIX_PATH=$PWD/.venv-foxy . scripts/env.sh", ROS_DISTRO="kilted")
    assert result.returncode == 1
    assert (
        "this shell holds this workspace for another ROS 2 distribution than kilted: use a new shell" in result.stderr
    )


def test_a_shell_of_another_copy_of_the_workspace_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".venv" / ".fer-setup").mkdir(parents=True)
    result = run(f"AMENT_PREFIX_PATH=/opt/ros/kilted:{tmp_path}/.venv . scripts/env.sh")
    assert result.returncode == 1
    assert f"this shell holds another copy of this workspace, in {tmp_path}: use a new shell" in result.stderr


# The whole pipeline on a portrait, and cv_bridge where a sourced distribution has one.
PROBE = """
import importlib.util
import numpy
import cv2
from skimage.data import astronaut
from fer_perception.pipeline import Pipeline
from fer_perception.settings import PipelineSettings

assert numpy.__version__.startswith("1."), numpy.__version__
if importlib.util.find_spec("cv_bridge"):
    from cv_bridge import CvBridge

    message = CvBridge().cv2_to_imgmsg(astronaut(), "rgb8")
    assert (CvBridge().imgmsg_to_cv2(message, "rgb8") == astronaut()).all()
found, emotions = Pipeline.from_settings(PipelineSettings()).process(astronaut(), 0.0)
print(len(found.faces), cv2.__version__)
"""


@pytest.mark.slow
def test_the_suite_runs_beside_packages_that_were_built_with_numpy_1(tmp_path: Path) -> None:
    """As the README says for one's own workspace. It takes packages from the index."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", venv], check=True)
    install = ["-m", "pip", "install", "--quiet", "-r", "requirements/runtime.txt"]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src" / "fer_perception")}
    command = [venv / "bin" / "python", *install, "-c", "requirements/constraints-ros.txt"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    probe = subprocess.run(
        [venv / "bin" / "python", "-c", PROBE], env=environment, capture_output=True, text=True, timeout=240
    )
    assert probe.returncode == 0, probe.stderr
    faces, opencv = probe.stdout.split()
    assert (faces, opencv.partition(".")[0]) == ("1", "4")
