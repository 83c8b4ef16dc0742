"""Plain Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    cells = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


def bullets(texts: Iterable[str]) -> list[str]:
    """The lines of a list."""
    return [line for text in texts for line in wrapped(f"- {text}", "  ")]


def wrapped(text: str, indent: str = "") -> list[str]:
    """A paragraph's lines."""
    return textwrap.wrap(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
