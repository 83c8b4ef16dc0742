"""The checks of maps as text for a terminal; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def format_checks(checks: dict[str, Any]) -> list[str]:
    """One table of maps and controls, one of gains, and a line for each map under randomised weights.

    :param checks: from :class:`fer_training.evaluation.attention.meter.ExplanationMeter`.
    """
    reference = checks["reference"]
    rows = [("", "size", "share", "points inside", "deletion", "insertion")]
    rows.append(("uniform", "", f"{reference['share']:.3f}", f"{reference['pointing']:.3f}", "", ""))
    for key, entry in {**checks["maps"], **checks["controls"]}.items():
        numbers = (_number(entry[name]) for name in ("share", "pointing", "deletion", "insertion"))
        rows.append((key, "{} x {}".format(*entry["size"]), *numbers))
    gains = [("gain (deletion, insertion) over", "random of its size", "centre", "landmarks")]
    for key, entry in checks["maps"].items():
        cells = (
            f"{_number(entry['gain'][name]['deletion'], True)}, {_number(entry['gain'][name]['insertion'], True)}"
            for name in ("random", "centre", "landmarks")
        )
        gains.append((key, *cells))
    randomised = checks["randomised"]
    depths = ", ".join(f"{depth * 100:.0f}%" for depth in randomised["depths"])
    shuffled = [
        f"{key}: "
        + ", ".join(
            "not defined"
            if entry["mean"] is None
            else f"{entry['mean']:.2f} ({entry['lowest']:.2f}..{entry['highest']:.2f})"
            for entry in entries
        )
        for key, entries in randomised["maps"].items()
    ]
    lines = [
        f"checks on {checks['n']} of {checks['of']} pictures, as many of each label as there are; in brackets 95% "
        "bootstrap intervals",
        *_table(rows),
        *_table(gains),
        f"rank correlation with Grad-CAM of networks whose classifier and last {depths} of the feature layers are "
        f"shuffled, {randomised['n']} pictures, {randomised['draws']} draws (lowest..highest)",
        *shuffled,
    ]
    return [f"  {line}" for line in lines]


def _number(entry: dict[str, Any], signed: bool = False) -> str:
    if entry["mean"] is None:
        return "not defined"
    style = "{:+.3f}" if signed else "{:.3f}"
    text = style.format(entry["mean"])
    return text if entry["interval"] is None else f"{text} [{', '.join(style.format(v) for v in entry['interval'])}]"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
