"""Folders, modules and functions stay small enough to read at a glance. docs/architecture.md: see test_settings.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src"
MAX_MODULES = 15
MODULES = sorted(
    file for package in ("fer_perception", "fer_training") for file in (SOURCES / package / package).rglob("*.py")
)


def test_folders_are_small() -> None:
    folders = Counter(file.parent for file in MODULES if file.stem != "__init__")
    assert len(folders) > 30
    assert {folder: count for folder, count in folders.items() if count > MAX_MODULES} == {}
