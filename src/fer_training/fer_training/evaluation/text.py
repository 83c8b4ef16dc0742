"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from fer_perception.evaluation.results import Interval


def aligned(rows: Sequence[tuple[str, ...]], left: int = 1) -> list[str]:
    """A line for each row, its first ``left`` columns aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def percent(fraction: float | None, interval: Interval | None = None, digits: int = 2) -> str:
    """A fraction in percent, with its interval in brackets."""
    if fraction is None:
        return "not defined"
    text = f"{fraction * 100:.{digits}f}%"
    return text if interval is None else f"{text} [{', '.join(f'{end * 100:.{digits}f}' for end in interval)}]"


def points(difference: float, interval: Interval | None = None, digits: int = 1) -> str:
    """A difference of fractions in percentage points, with its interval in brackets."""
    text = f"{difference * 100:+.{digits}f}"
    return text if interval is None else f"{text} [{', '.join(f'{end * 100:+.{digits}f}' for end in interval)}]"
