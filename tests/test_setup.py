"""What people see of the set-up: a line a step, and on failure the end of the log with a remedy."""

from __future__ import annotations

import os
import subprocess
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
