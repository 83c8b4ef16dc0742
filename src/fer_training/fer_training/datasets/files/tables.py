"""Rows of CSV files as people and their programs write them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_training.datasets.samples import DatasetError

SEPARATORS = ",;\t"


def read_table(
    file: Path, columns: Sequence[str], remedy: str, *, may_lack_names: bool = False
) -> Iterator[tuple[str, dict[str, str | None]]]:
    """The rows of a CSV: each one's place, for errors, and its values by column, None where the row is too short.

    A byte-order mark, blanks around names and values, the case of names, semicolons and tabs make no difference.

    :param columns: the names that must be there, as the keys are spelt.
    :param remedy: the end of errors.
    :param may_lack_names: the first line may be a row; then the columns are in this order.
    :raises DatasetError: the file cannot be read, or lacks one of the columns.
    """
    csv.field_size_limit(sys.maxsize)
    known = {column.lower(): column for column in columns}
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = next((s for s in SEPARATORS if set(known) <= {_plain(n) for n in first.split(s)}), ",")
            lines = csv.reader(stream, delimiter=separator, skipinitialspace=True)
            if may_lack_names and not known.keys() & {_plain(name) for name in first.split(separator)}:
                names = list(columns)
            else:
                names = [known.get(_plain(name), name.strip()) for name in next(lines, [])]
            if missing := [column for column in columns if column not in names]:
                raise DatasetError(
                    f"{file}: lacks the column(s) {', '.join(missing)}. It has {', '.join(names[:12]) or 'none'}, "
                    f"and needs {', '.join(columns)}. {remedy}"
                )
            if twice := [column for column in columns if names.count(column) > 1]:
                raise DatasetError(f"{file}: has several columns {twice[0]}. Keep one")
            for line in filter(None, lines):
                values: dict[str, str | None] = dict.fromkeys(names)
                values.update(zip(names, map(str.strip, line), strict=False))
                yield f"{file}, line {lines.line_num}", values
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: cannot be read ({error}). {remedy}") from error


def _plain(name: str) -> str:
    return name.strip().strip('"').strip().lower()
