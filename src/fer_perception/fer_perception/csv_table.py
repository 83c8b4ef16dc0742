"""Tables as people and their programs write them: CSV of any separator, with comments, in any common encoding."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SEPARATORS = "\t;,|"


class Row(NamedTuple):
    """A row: its line in the file, from 1, and its cells by column, without blanks around them."""

    line: int
    cells: Mapping[str, str]


def read_table(file: Path, known: re.Pattern[str]) -> tuple[list[str], list[Row]]:
    """The columns and rows of a CSV.

    The separator is the one that is most frequent in the header. Empty lines, lines that begin with #, and other lines
    before the header are left out; the header itself may begin with #. Column names come in small letters, with _ for
    whatever is no letter or digit: "Start [s]" is start_s.

    :param known: fits names of columns; the first line with two of them is the header.
    :raises OSError: the file cannot be read.
    :raises ValueError: it is no text, or a known column is there twice.
    """
    lines = _text(file.read_bytes()).splitlines()
    filled = [number for number, line in enumerate(lines) if line.strip()]
    heads = [number for number in filled if len({c for c in _header(lines[number])[1] if known.fullmatch(c)}) >= 2]
    head = next(iter(heads or [number for number in filled if not lines[number].startswith("#")]), None)
    if head is None:
        return [], []
    separator, columns = _header(lines[head])
    if twice := [column for column in columns if known.fullmatch(column) and columns.count(column) > 1]:
        raise ValueError(f"it has several columns {twice[0]}; keep one")
    rows = []
    # Lines are split before: a cell of labels holds no line break.
    for number in filled:
        if number <= head or lines[number].lstrip().startswith("#"):
            continue
        cells = next(csv.reader([lines[number]], delimiter=separator, skipinitialspace=True))
        if any(cell.strip() for cell in cells):
            rows.append(Row(number + 1, {c: cell.strip() for c, cell in zip(columns, cells, strict=False) if c}))
    return [column for column in columns if column], rows


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\x00" in content:
        raise ValueError("it holds zeros")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # what older programs on Windows write


def _header(line: str) -> tuple[str, list[str]]:
    """The separator and the columns of a header."""
    line = line.lstrip("# \ufeff")
    separator = max(SEPARATORS, key=line.count)
    cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return separator, [re.sub(r"[^a-z0-9]+", "_", cell.lower()).strip("_") for cell in cells]
