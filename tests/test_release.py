"""What a release says of itself is the same everywhere, and the workflow calls what exists."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

ROOT = Path(__file__).parents[1]
PACKAGES = ("fer_msgs", "fer_perception", "fer_training")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", PACKAGES)
def test_package_xml_and_citation_have_one_version(name: str) -> None:
    assert parse_package(ROOT / "src" / name).version == CITATION["version"]


@pytest.mark.parametrize("name", PACKAGES[1:])
def test_setup_py_and_citation_have_one_version(name: str) -> None:
    command = [sys.executable, "setup.py", "--version"]
    result = subprocess.run(command, cwd=ROOT / "src" / name, check=True, capture_output=True, text=True)
    assert result.stdout.split()[-1] == CITATION["version"]


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
