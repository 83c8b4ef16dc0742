"""An explanation as text for a terminal; needs no torch."""

from __future__ import annotations

from fer_training.evaluation.attention.results import Checks, Explanation, Mean
from fer_training.evaluation.text import aligned, percent


def format_explanation(result: Explanation) -> str:
    """One line for each map, then the checks: maps and controls, gains, randomised weights."""
    lines = [
        f"{result.run}, {result.dataset}, split {result.split}, {result.n} images",
        f"fraction of attention on eyes, brows and mouth; uniform attention has {percent(result.reference)}",
    ]
    for name, entry in result.maps.items():
        line = f"{name}: {percent(entry.fraction, entry.interval)}, {entry.ratio:.2f} times uniform"
        if entry.size:
            line += f"; a map of {entry.size[0]} x {entry.size[1]} reaches {percent(entry.highest)}"
            line += f"; contrast {entry.contrast:.2f}, maps differ by {percent(entry.variation)} from their mean"
        lines.append(line)
    lines += [f"{name}: none, as {reason}" for name, reason in result.absent.items()]
    return "\n".join([*lines, *(_checks(result.checks) if result.checks else [])])


def _checks(checks: Checks) -> list[str]:
    reference = checks.reference
    rows: list[tuple[str, ...]] = [("", "size", "fraction", "points inside", "deletion", "insertion")]
    rows.append(("uniform", "", f"{reference.fraction:.3f}", f"{reference.pointing:.3f}", "", ""))
    for key, entry in {**checks.maps, **checks.controls}.items():
        means = (entry.fraction, entry.pointing, entry.deletion, entry.insertion)
        rows.append((key, f"{entry.size[0]} x {entry.size[1]}", *map(_number, means)))
    gains: list[tuple[str, ...]] = [("gain (deletion, insertion) over", "random of its size", "centre", "landmarks")]
    for key, entry in checks.maps.items():
        found = (entry.gain[name] for name in ("random", "centre", "landmarks"))
        gains.append((key, *(f"{_number(gain.deletion, '+')}, {_number(gain.insertion, '+')}" for gain in found)))
    randomised = checks.randomised
    depths = ", ".join(f"{depth * 100:.0f}%" for depth in randomised.depths)
    shuffled = [
        f"{key}: "
        + ", ".join(
            "not defined" if entry.mean is None else f"{entry.mean:.2f} ({entry.lowest:.2f}..{entry.highest:.2f})"
            for entry in entries
        )
        for key, entries in randomised.maps.items()
    ]
    return [
        f"checks on {checks.n} of {checks.of} images, as many of each label as there are; in brackets 95% "
        "bootstrap intervals",
        *aligned(rows),
        *aligned(gains),
        f"rank correlation with Grad-CAM of networks whose classifier and last {depths} of the feature layers are "
        f"shuffled, {randomised.n} images, {randomised.draws} draws (lowest..highest)",
        *shuffled,
    ]


def _number(entry: Mean, sign: str = "") -> str:
    if entry.mean is None:
        return "not defined"
    text = f"{entry.mean:{sign}.3f}"
    return text if entry.interval is None else f"{text} [{', '.join(f'{end:{sign}.3f}' for end in entry.interval)}]"
