"""Folders, modules and functions stay small enough to read at a glance. docs/architecture.md: see test_docs.py."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src"
MAX_MODULES, MAX_LINES, MAX_FUNCTION_LINES = 15, 400, 60
PACKAGES = [SOURCES / name / name for name in ("fer_perception", "fer_training")]
MODULES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))


def test_folders_are_small() -> None:
    folders = Counter(file.parent for file in MODULES if file.stem != "__init__")
    assert len(folders) > 30
    assert {folder: count for folder, count in folders.items() if count > MAX_MODULES} == {}


def test_modules_are_short() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
    assert {file: length for file, length in lengths.items() if length > MAX_LINES} == {}


def test_functions_are_short() -> None:
    functions = [
        (node.end_lineno - node.lineno + 1, file.name, node.name)
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    assert len(functions) > 1000
    assert [found for found in functions if found[0] > MAX_FUNCTION_LINES] == []
