"""The workspace builds with plain colcon, and what it installs works without the sources."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fer_perception.__main__ import EXECUTABLES
from fer_perception.models.shipped import DEFAULT_MODEL, FACE_MODEL
from fer_training.__main__ import VERBS

ROOT = Path(__file__).parents[1]
PREFIXES = [Path(prefix) for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]
(MESSAGES,) = [prefix for prefix in PREFIXES if prefix.name == "fer_msgs"]
INSTALL = MESSAGES.parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("COLCON", "PYTEST"))}
# Without this workspace's own packages but the messages, so that only what was installed is found.
ENVIRONMENT["PYTHONPATH"] = os.pathsep.join(
    path
    for path in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if Path(path).is_relative_to(MESSAGES) or not Path(path).is_relative_to(ROOT)
)
# What lies below: the messages, and the ROS wheels' environment or a sourced distribution.
UNDERLAY = os.pathsep.join(
    str(prefix) for prefix in PREFIXES if prefix == MESSAGES or not prefix.is_relative_to(INSTALL)
)
ENVIRONMENT.update(AMENT_PREFIX_PATH=UNDERLAY, CMAKE_PREFIX_PATH=UNDERLAY)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An install space of the Python packages, made without --symlink-install; setup makes the one with it."""
    return build(tmp_path_factory.mktemp("workspace"), "--packages-select", "fer_perception", "fer_training")


def build(folder: Path, *options: str) -> Path:
    subprocess.run(build_command(folder, *options), cwd=ROOT, env=ENVIRONMENT, check=True)
    return folder / "install"


def build_command(folder: Path, *options: str) -> list[str]:
    bases = [f"--{name}-base={folder / name}" for name in ("build", "install")]
    return ["colcon", f"--log-base={folder / 'log'}", "build", *bases, *options, "--cmake-args", "-GNinja"]


def run_installed(installed: Path, command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = f". {installed}/local_setup.bash && {command}"
    return subprocess.run(["bash", "-c", script], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_the_whole_workspace_builds(tmp_path: Path) -> None:
    installed = build(tmp_path)
    code = "import fer_msgs.msg as m; print(m.__file__, m.EmotionArray().header.frame_id == '')"
    result = run_installed(installed, f'python -c "{code}"', tmp_path)
    assert result.stdout.split() == [str(next(installed.rglob("fer_msgs/msg/__init__.py"))), "True"], result.stderr


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A workspace of fer_perception alone, as a release repository holds it: links out of the package dangle."""
    source = ROOT / "src" / "fer_perception"
    shutil.copytree(source, tmp_path / "fer_perception", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_fer_perception_alone_installs_all_that_the_workspace_installs(alone: Path, installed: Path) -> None:
    subprocess.run(build_command(alone), cwd=alone, env=ENVIRONMENT, check=True)
    share = "fer_perception/share/fer_perception"
    assert list((alone / "install" / share / "launch").iterdir())
    assert files_below(alone / "install" / share) == files_below(installed / share)


def files_below(folder: Path) -> set[Path]:
    """The environment hooks that colcon makes aside: what they are called depends on what else is built."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {file for file in files if len(file.parts) > 1 and file.parts[0] != "hook"}


@pytest.mark.parametrize("folder", ["config", "launch", "models", "security"])
def test_fer_perception_without_its_files_is_not_built(alone: Path, folder: str) -> None:
    shutil.rmtree(alone / "fer_perception" / folder)
    (alone / "fer_perception" / folder).symlink_to(f"../../{folder}")
    result = subprocess.run(build_command(alone), cwd=alone, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode != 0
    assert f"fer_perception: {alone / 'fer_perception' / folder} holds no files" in result.stderr
    assert not (alone / "install/fer_perception/share/fer_perception/package.xml").exists()


def test_everything_a_robot_needs_is_installed(installed: Path) -> None:
    share = installed / "fer_perception" / "share" / "fer_perception"
    for name in (
        "config/fastdds.xml",
        "config/fer.rviz",
        "config/foxglove.json",
        "launch/fer.launch.py",
        "launch/replay.launch.py",
        "models/baseline/manifest.yaml",
        f"models/{FACE_MODEL}",
    ):
        assert (share / name).is_file(), name
    assert list((installed / "fer_perception").rglob("replay/report/page.html.j2"))
    executables = {file.name for file in (installed / "fer_perception" / "lib" / "fer_perception").iterdir()}
    assert executables == set(EXECUTABLES)
    verbs = {file.name for file in (installed / "fer_training" / "lib" / "fer_training").iterdir()}
    assert verbs == set(VERBS)


def test_installed_executables_run_and_find_their_files(installed: Path, tmp_path: Path) -> None:
    code = (
        "import fer_perception, fer_perception.models.shipped as r; print(fer_perception.__file__, r.resolve_model(''))"
    )
    result = run_installed(installed, f'python -c "{code}"', tmp_path)
    assert result.returncode == 0, result.stderr
    module, model = result.stdout.split()
    assert module.startswith(str(installed))
    assert model == str(installed / "fer_perception/share/fer_perception/models" / DEFAULT_MODEL)
    node = installed / "fer_perception/lib/fer_perception/fer_node"
    script = f". {installed}/local_setup.bash && exec {node} --ros-args -p model:=/nowhere"
    options: dict[str, Any] = {"cwd": tmp_path, "env": ENVIRONMENT, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(["bash", "-c", script], **options) as process:
        assert process.stderr is not None
        assert any("/nowhere/manifest.yaml: cannot be read" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)  # it stays alive to be mended
        assert process.wait(60) == 0


def test_the_robot_side_never_imports_torch(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys; "
        "from fer_perception.commands.benchmark import live; "
        "from fer_perception.commands.demo import monitor; "
        "from fer_perception.nodes import face_node, fer_nodes, overlay_node; "
        "from fer_perception.nodes.hri import hri_expression_node, hri_node; "
        "print([name for name in ('torch', 'kornia', 'sklearn', 'pandas', 'plotly') if name in sys.modules])"
    )
    result = run_installed(installed, f'python -c "{code}"', tmp_path)
    assert result.stdout.strip() == "[]", result.stderr


def test_help_of_every_command(installed: Path, tmp_path: Path) -> None:
    for command in (
        "fer_perception",
        "fer_perception demo --help",
        "fer_perception build_engine --help",
        "fer_perception replay --help",
        "fer_perception make_bag --help",
        "fer_training --help",
        "fer_training train --help",
    ):
        result = run_installed(installed, f"python -m {command}", tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()
