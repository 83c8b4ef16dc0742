"""What a release says of itself is the same everywhere, and the workflow calls what exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import Package, parse_package
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGES = ("fer_msgs", "fer_perception", "fer_training")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]

BUILD_TOOLS = {"cmake", "colcon-common-extensions", "ninja", "setuptools"}
# The distribution on PyPI that brings a module, where it has another name.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "mediapipe",
    "distributed": "dask",
    "google": "onnx",  # google.protobuf
    "markupsafe": "jinja2",
    "pympi": "pympi-ling",
    "rerun": "rerun-sdk",
    "rerun_cli": "rerun-sdk",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "torch_pruning": "torch-pruning",
    "yaml": "pyyaml",
}
# Not required: they belong to an installation of CUDA, and package.xml names them.
OPTIONAL_MODULES = {"pycuda", "tensorrt"}
# Required, but not a module of their own in the sources: rosbags.image, torch.utils.tensorboard.
INDIRECT = {"rosbags-image", "tensorboard"}
# What rosdep calls a distribution, between python3- and -pip, where it has another name there.
ROSDEP_NAMES = {
    "pillow": "pil",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "torch": "pytorch",
}


@pytest.mark.parametrize("name", PACKAGES)
def test_package_xml_and_citation_have_one_version(name: str) -> None:
    assert parse_package(ROOT / "src" / name).version == CITATION["version"]


@pytest.mark.parametrize("name", PACKAGES[1:])
def test_setup_py_and_citation_have_one_version(name: str) -> None:
    command = [sys.executable, "setup.py", "--version"]
    result = subprocess.run(command, cwd=ROOT / "src" / name, check=True, capture_output=True, text=True)
    assert result.stdout.split()[-1] == CITATION["version"]


@pytest.mark.parametrize("name", PACKAGES)
def test_package_xml_says_where_to_find_and_whom_to_ask(name: str) -> None:
    package = parse_package(ROOT / "src" / name)
    package.validate()
    urls = {url.type: url.url for url in package.urls}
    assert set(urls) == {"website", "repository", "bugtracker"}
    assert urls == {url.type: url.url for url in parse_package(ROOT / "src" / PACKAGES[0]).urls}
    assert [author.name for author in package.authors] == [author["name"] for author in CITATION["authors"]]
    assert package.licenses == [CITATION["license"]]


def test_fer_perception_requires_what_the_nodes_replay_and_the_view_need(tmp_path: Path) -> None:
    required, extra = requirements_of("fer_perception", tmp_path)
    assert required == {line for line in requirement_file("runtime") if line.name not in BUILD_TOOLS}
    assert extra == requirement_file("replay") | requirement_file("view")


def test_fer_training_requires_what_training_needs(tmp_path: Path) -> None:
    required, extra = requirements_of("fer_training", tmp_path)
    assert requirement_file("training") <= required <= requirement_file("training") | requirement_file("runtime")
    assert not extra


@pytest.mark.parametrize("name", PACKAGES[1:])
def test_a_package_declares_what_it_imports_and_no_more(name: str, tmp_path: Path) -> None:
    required, extra = requirements_of(name, tmp_path)
    distributions = {requirement.name for requirement in required | extra}
    ros = {key for key in dependencies(parse_package(ROOT / "src" / name)) if not key.startswith("python3-")}
    imported = {DISTRIBUTIONS.get(module, module) for module in imported_modules(name) - OPTIONAL_MODULES}
    assert imported == (distributions - INDIRECT) | ros


@pytest.mark.parametrize("name", PACKAGES[1:])
def test_package_xml_names_every_requirement(name: str, tmp_path: Path) -> None:
    """By a key of rosdep, or in a comment."""
    keys = dependencies(parse_package(ROOT / "src" / name))
    comments = re.findall(r"<!-- From PyPI.*?-->", (ROOT / "src" / name / "package.xml").read_text(), re.DOTALL)
    commented = set(re.findall(r"[\w-]+", " ".join(comments)))
    required, extra = requirements_of(name, tmp_path)
    for requirement in required | extra:
        key = f"python3-{ROSDEP_NAMES.get(requirement.name, requirement.name)}"
        assert {key, f"{key}-pip"} & keys or requirement.name in commented, requirement.name


def requirement_file(name: str) -> set[Requirement]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return {Requirement(text) for line in lines if (text := line.split("#")[0].strip())}


def requirements_of(name: str, folder: Path) -> tuple[set[Requirement], set[Requirement]]:
    """What setup.py requires, and what it requires for extras."""
    command = [sys.executable, "setup.py", "egg_info", "--egg-base", str(folder)]
    subprocess.run(command, cwd=ROOT / "src" / name, check=True, capture_output=True)
    lines = [line.partition(";") for line in PathDistribution(folder / f"{name}.egg-info").requires or []]
    required = {Requirement(text) for text, _, marker in lines if not marker}
    return required, {Requirement(text) for text, _, marker in lines if "extra ==" in marker}


def dependencies(package: Package) -> set[str]:
    return {dependency.name for dependency in package.exec_depends}


def imported_modules(name: str) -> set[str]:
    """Modules of other packages that a package's sources and launch files import, by their first name."""
    found = set()
    for folder in (name, "launch"):
        for path in (ROOT / "src" / name / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                    found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {name}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_changelog_ends_with_this_release(name: str) -> None:
    changelog = get_changelog_from_path(str(ROOT / "src" / name), name)
    released = {version: date for version, date, _ in changelog.foreach_version()}
    newest = max(released, key=lambda version: [int(part) for part in version.split(".")])
    assert newest == CITATION["version"]
    assert released[newest] == datetime.combine(CITATION["date-released"], datetime.min.time())
    assert all(changelog.get_content_of_version(version) for version in released)


def test_the_workflow_calls_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(step.get("run", "") for step in STEPS)))
    assert called == {"lint", "test"}
    assert called <= targets


def test_the_workflow_takes_wheels_and_python_versions_that_the_set_up_takes() -> None:
    jobs: list[dict[str, Any]] = WORKFLOW["jobs"]["wheels"]["strategy"]["matrix"]["include"]
    assert {job["distro"] for job in jobs} == {path.stem[4:] for path in (ROOT / "requirements").glob("ros-*.txt")}
    assert {job["python"] for job in jobs} == {"3.10", "3.11", "3.12", "3.13"}
    assert [job["distro"] for job in jobs if job.get("lint")] == ["kilted"]
