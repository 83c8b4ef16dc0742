"""What the executables do with --help, with arguments that they do not know, without a package, and on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fer_perception.__main__ import EXECUTABLES, NODES
from fer_perception.settings import NODE_SETTINGS, settings_of


def call(*arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """An executable, in a Python that lacks a package."""
    code = f"import sys; sys.modules[{without!r}] = None; from fer_perception.__main__ import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


def test_every_node_has_settings_and_the_other_way_round() -> None:
    assert set(NODES) == set(NODE_SETTINGS)


@pytest.mark.parametrize("name", NODES)
def test_help_describes_each_parameter_and_ends(name: str) -> None:
    result = call(name, "--help")
    assert result.returncode == 0, result.stderr
    words = " ".join(result.stdout.split())
    for setting in settings_of(NODE_SETTINGS[name]).values():
        assert f"{setting.name} (default {setting.default_text}" in words
        assert setting.description in words
    assert f"ros2 run fer_perception {name}" in words


@pytest.mark.parametrize("name", sorted(set(EXECUTABLES) - set(NODES)))
def test_the_other_executables_have_help(name: str) -> None:
    result = call(name, "--help")
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout


@pytest.mark.parametrize("name", [*NODES, "fer_nodes"])
def test_unknown_arguments_are_errors(name: str) -> None:
    cameras = ["--cameras", "front"] if name == "fer_nodes" else []
    result = call(name, *cameras, "--model", "baseline", "--ros-args", "-p", "autostart:=false")
    assert result.returncode == 2
    assert "unrecognized arguments: --model baseline" in result.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("rosbags", ("fer_node",), "fer_node: the Python package rosbags is not installed: pip install rosbags"),
        ("pydantic", ("fer_node", "--help"), "the Python package pydantic is not installed: pip install pydantic"),
        ("yaml", ("fer_node",), "fer_node: the Python package pyyaml is not installed: pip install pyyaml"),
        ("rclpy", ("fer_node",), "fer_node: rclpy is not found: source your ROS distribution's"),
        ("fer_msgs", ("emotion_node",), "emotion_node: fer_msgs is not found: source"),
        ("jinja2", ("replay", "missing"), "replay: jinja2 missing: pip install -r requirements/replay.txt"),
    ],
)
def test_a_missing_package_is_named_in_one_line(
    module: str, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments, without=module)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HOME": None}, "set HOME or ROS_LOG_DIR to a folder that can be written"),
        ({"HOME": "/proc"}, "set HOME or ROS_LOG_DIR to a folder that can be written"),
        ({"ROS_LOG_DIR": "/proc/log"}, "set HOME or ROS_LOG_DIR to a folder that can be written"),
        ({"ROS_DOMAIN_ID": "abc"}, "ROS_DOMAIN_ID is 'abc': set it to a number from 0 to 232, or unset it"),
        ({"ROS_DOMAIN_ID": "233"}, "ROS_DOMAIN_ID is '233'"),
        ({"ROS_DOMAIN_ID": "-1"}, "ROS_DOMAIN_ID is '-1'"),
        (
            {"RMW_IMPLEMENTATION": "rmw_none"},
            "RMW_IMPLEMENTATION is 'rmw_none', which is not installed: set it to rmw_",
        ),
        ({"RCUTILS_COLORIZED_OUTPUT": "yes"}, "RCUTILS_COLORIZED_OUTPUT is 'yes': set it to 0 or 1, or unset it"),
        ({"RCUTILS_LOGGING_USE_STDOUT": "2"}, "RCUTILS_LOGGING_USE_STDOUT is '2'"),
        ({"AMENT_PREFIX_PATH": None}, "source the workspace's install/setup.bash, or scripts/env.sh"),
        ({"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}, "docs/security.md"),
    ],
)
def test_where_ros_cannot_start_one_line_says_what_to_do(
    variables: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROS_LOG_DIR", raising=False)
    monkeypatch.delenv("ROS_HOME", raising=False)
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    result = call("source_node")
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if "onnxruntime" not in line]
    assert line.startswith("source_node: ")
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--params-file", "missing.yaml"), "params file: '--params-file missing.yaml'"),
        (("-r", "image"), "Couldn't parse remap rule: '-r image'"),
        (("--loglevel", "debug"), "--loglevel"),
    ],
)
@pytest.mark.parametrize("name", ["source_node", "fer_nodes"])
def test_wrong_arguments_of_ros_are_one_line(name: str, arguments: tuple[str, ...], message: str) -> None:
    result = call(name, "--ros-args", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def caught(pid: int, number: signal.Signals) -> bool:
    """Whether a process handles a signal itself."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & 1 << (number - 1))
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wait_s", [0.0, 0.5, 1.5, 3.0])
def test_a_node_ends_cleanly_whenever_it_is_told_to(graph: Any, number: signal.Signals, wait_s: float) -> None:
    """While it imports, while it loads its models, and while it runs."""
    node = graph.start("fer_node")
    deadline = time.monotonic() + 60
    while not caught(node.pid, signal.SIGTERM):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(wait_s)
    assert node.stop(number) == 0
    assert "Traceback" not in node.output


def test_more_signals_than_one_do_no_harm(graph: Any) -> None:
    """Ctrl-C in a terminal reaches the launch process and its nodes; launch then tells the nodes again."""
    node = graph.start("source_node", loop=True)
    graph.until(lambda: " Hz, " in node.output)
    while node.running():
        with suppress(ProcessLookupError):
            os.kill(node.pid, signal.SIGINT)
        time.sleep(0.005)
    assert node.status == 0
    assert "Traceback" not in node.output
