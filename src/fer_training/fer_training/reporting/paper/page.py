"""The page of the paper's claims."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fer_training.evaluation.text import percent
from fer_training.reporting.entries import NOT_MEASURED
from fer_training.reporting.markdown import table, wrapped
from fer_training.reporting.paper.claims import CLAIMS, POINTS, Claim, Reading, only, results
from fer_training.reporting.paper.folder import Folder, NotMeasured
from fer_training.reporting.paper.measurements import MEASUREMENTS, VARIABLES

INTRODUCTION = (
    "Each claim of the paper that is known to us, beside our figure by our own definition, the command that measures "
    "it, and what it was measured on. The paper's text is not at hand and its numbering of tables and figures is not "
    "known to us, so they are grouped by subject. *Undefined* means that the paper's figure came without a definition. "
    "Brackets are 95% intervals. Accuracies do not depend on the machine; times and energy do."
)
COMMANDS = (
    "In the repository's root, after `make setup-training` and `. scripts/env.sh`. `report --commands` prints those "
    "that are missing or of other weights."
)
HEADER = ("claim", "the paper", "measured", "verdict", "on", "by")
VARIANTS = {
    "baseline": "baseline: MobileNetV2",
    "without_attention": "the same, trained longer",
    "with_attention": "the same with hybrid attention",
    "robust": "EfficientNet-Lite0 with hybrid attention, robust to bad light",
    "compressed": "the same, pruned",
    "quantized": "the same, pruned, INT8",
}
VARIANT_HEADER = ("variant", "accuracy", "macro-F1", "AUROC", "ECE", "on", "by")
BESIDE_A_POINT: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9}


def format_page(folder: Folder, image: str) -> str:
    """The page as Markdown; ``image``: what :func:`draw_overview` writes, relative to the page."""
    lines = ["# The paper's claims, measured", "", *wrapped(INTRODUCTION), ""]
    lines += [f"![claimed and measured points of accuracy]({image})", ""] if _points(folder) else []
    for subject, claims in groupby(CLAIMS, key=lambda claim: claim.subject):
        lines += [f"## {subject}", "", *table(HEADER, [_row(claim, folder) for claim in claims]), ""]
    lines += ["## Accuracy by variant", "", *table(VARIANT_HEADER, [_variant(n, folder) for n in VARIANTS]), ""]
    return "\n".join([*lines, *_commands(folder)])


def draw_overview(folder: Folder, file: Path) -> list[Path]:
    """Claimed and measured points of accuracy or macro-F1 side by side; nothing where none is measured."""
    found = _points(folder)
    if not found:
        return []
    figure = Figure(figsize=(11, 1.6 + 0.55 * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, (_, claimed, reading) in enumerate(found):
        first = place == 0
        if reading.interval:
            axes.plot(np.multiply(100, reading.interval), [place] * 2, color="tab:blue", linewidth=2)
        label = "measured, with its 95% interval where known" * first
        axes.plot(100 * reading.value, place, "o", color="tab:blue", label=label)
        axes.annotate(f"{100 * reading.value:+.1f}", (100 * reading.value, place), (0, 7), **BESIDE_A_POINT)
        axes.plot(100 * claimed, place, "D", color="tab:red", fillstyle="none", label="claimed" * first)
        axes.annotate(f"{100 * claimed:+.1f}", (100 * claimed, place), (0, -15), **BESIDE_A_POINT)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{text}\n({reading.on})" for text, _, reading in found], fontsize=9)
    title = "The paper's claims in points, and what was measured"
    axes.set(xlabel="points", ylim=(len(found) - 0.4, -0.6), title=title)
    axes.margins(x=0.12)
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(file, dpi=110)
    return [file]


def _points(folder: Folder) -> list[tuple[str, float, Reading]]:
    """Text, claimed and measured figure of the claims in points that are measured."""
    found = []
    for claim in CLAIMS:
        if claim.unit is POINTS and not isinstance(claim.claimed, str):
            try:
                found.append((claim.text, claim.claimed, claim.measure(folder)))
            except NotMeasured:
                continue
    return found


def _row(claim: Claim, folder: Folder) -> tuple[str, ...]:
    links = ", ".join(f"[{name}](#{name})" for name in claim.sources)
    try:
        reading = claim.measure(folder)
    except NotMeasured as reason:
        return claim.text, claim.claimed_text, f"{NOT_MEASURED}: {reason}", "", "", links
    return claim.text, claim.claimed_text, claim.reading_text(reading), claim.verdict(reading), reading.on, links


def _variant(source: str, folder: Folder) -> tuple[str, ...]:
    name, link = VARIANTS[source], f"[{source}](#{source})"
    try:
        (evaluation,) = results(folder, (source,))
    except NotMeasured as reason:
        return (name, f"{NOT_MEASURED}: {reason}", *[NOT_MEASURED] * 3, "", link)
    on, metrics = only(evaluation)
    means = (percent(getattr(metrics, key), metrics.intervals[key]) for key in ("accuracy", "macro_f1"))
    return (name, *means, percent(metrics.auroc), percent(metrics.ece), on, link)


def _commands(folder: Folder) -> list[str]:
    """Each measurement's command."""
    exports = [f"export {name}={example}" for name, example in VARIABLES.items()]
    location = "export MEASURED=docs/results/measured; mkdir -p $MEASURED"
    lines = ["## Commands", "", *wrapped(COMMANDS), "", "```bash", *exports, location, "```", ""]
    for measurement in MEASUREMENTS:
        lines += [f"### {measurement.name}", "", f"{measurement.what[0].upper()}{measurement.what[1:]}.", "", "```bash"]
        if measurement.made_by:
            lines.append(f"# first, for weights that are not in the repository: {measurement.made_by}")
        lines += [folder.command(measurement, '"$MEASURED"'), "```", ""]
    origin = "<!-- Written by `python -m fer_training report --measured`: changes made here get lost. -->"
    return [*lines, origin, ""]
