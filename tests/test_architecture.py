"""docs/architecture.md names the modules that there are, and folders stay small enough to read at a glance."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_MODULES = 15
ROW = re.compile(r"\| `(fer_[\w/]+)` \| ([\w, ]+) \|")


def modules() -> dict[str, list[str]]:
    """The modules of each folder, without ``__init__``."""
    found: dict[str, list[str]] = {}
    for package in ("fer_perception", "fer_training"):
        top = ROOT / "src" / package
        for file in sorted((top / package).rglob("*.py")):
            if file.stem != "__init__":
                found.setdefault(str(file.parent.relative_to(top)), []).append(file.stem)
    return found


def test_the_page_lists_the_modules() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert {folder: names.split(", ") for folder, names in ROW.findall(page)} == modules()


def test_folders_are_small() -> None:
    assert {folder: len(names) for folder, names in modules().items() if len(names) > MAX_MODULES} == {}
