"""The documentation is a site without a broken link, and says what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    reference = (tmp_path / "api" / "perception.html").read_text(encoding="utf-8")
    assert 'id="fer_perception.pipeline.Pipeline.from_settings"' in reference
    assert "The pipeline that settings describe; to be closed." in reference
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="training.html' in start
    assert "/blob/main/CONTRIBUTING.md" in start


def test_what_is_written_from_the_code_is_up_to_date() -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "write_docs.py"), "--check"], check=True)


def test_answers_are_given_to_questions_alone() -> None:
    """The word for what a model says is prediction."""
    files = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.msg")]
    found = [
        f"{file.relative_to(ROOT)}: {line}"
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"\banswers?\b", line) and file.name != "renamed.md"
    ]
    assert found == []
