"""The page of the paper's claims."""

from __future__ import annotations

from fer_training.reporting.entries import NOT_MEASURED
from fer_training.reporting.markdown import bullets, table, wrapped
from fer_training.reporting.paper.cells import Cell, Section, Source
from fer_training.reporting.paper.drawing import image_of, measured
from fer_training.reporting.paper.figures import FIGURES
from fer_training.reporting.paper.folder import Folder, NotMeasured
from fer_training.reporting.paper.matrix import format_matrix
from fer_training.reporting.paper.measurements import DEFAULT, MEASUREMENTS, VARIABLES, VARIANTS
from fer_training.reporting.paper.networks import INTRODUCTION as NETWORKS
from fer_training.reporting.paper.networks import format_networks
from fer_training.reporting.paper.over_time import SECTION as OVER_TIME
from fer_training.reporting.paper.statements import BEYOND, TEXT
from fer_training.reporting.paper.tables import TABLES

INTRODUCTION = (
    "*Optimised facial emotion recognition for edge deployment*, Journal of Theoretical and Applied Information "
    "Technology 103(24), 31 December 2025, table by table and figure by figure: each of its numbers beside ours. Its "
    'authors call every number of it "calculated data". *On the paper\'s data or board* is measured as the paper says, '
    "where that is at hand to whoever measures; *here* is by the definition above the table. Brackets are 95% "
    "intervals. Accuracies do not depend on the machine; times and energy do. Each figure is read from a file that "
    "one [command](#commands) writes."
)
VARIANT_TEXT = (
    "Tables 2 and 3 name data and variants. The variants, each built on the one before, are bundles here: "
    + ", ".join(f"{v.title} (`{v.bundle}`, {v.precision})" for v in VARIANTS.values())
    + f"; beside them our default model, `{DEFAULT}`. `scripts/reproduce.sh` makes all of them. Of the data sets "
    "FER2013 is at hand; AffectNet, RAF-DB and CK+ are given to institutions by agreement; their commands are below."
)
COMMANDS = (
    "In the repository's root, after `make setup-training` and `. scripts/env.sh`. `report --claims --commands` prints "
    "those that are missing or of other weights."
)


def format_page(folder: Folder) -> str:
    """The page as Markdown, beside which the files of :func:`.drawing.draw_figures` lie."""
    lines = ["# The paper's claims, measured", "", *wrapped(INTRODUCTION), ""]
    lines += ["## Table 1: related work", "", *wrapped(NETWORKS), "", *format_networks(folder), ""]
    lines += ["## Tables 2 and 3: data and variants", "", *wrapped(VARIANT_TEXT), ""]
    for section in TABLES:
        lines += _section(section, folder)
    lines += format_matrix(folder)
    for section in FIGURES:
        lines += _section(section, folder, image_of(section))
    for section in (OVER_TIME, TEXT, BEYOND):
        lines += _section(section, folder)
    return "\n".join([*lines, *_commands(folder)])


def _section(section: Section, folder: Folder, image: str = "") -> list[str]:
    lines = [f"## {section.title}", "", *wrapped(section.definition), ""]
    if image and measured(folder, section.cells):
        lines += [f"![{section.title}]({image})", ""]
    has_same = any(cell.same for cell in section.cells)
    middle = ("on the paper's data or board", "here") if has_same else ("here",)
    header = ("", "", "the paper", *middle, "on", "by")
    lines += [*table(header, [_row(cell, folder, has_same) for cell in section.cells]), ""]
    if section.contradictions:
        lines += ["The paper against itself:", "", *bullets(section.contradictions), ""]
    return lines


def _row(cell: Cell, folder: Folder, has_same: bool) -> tuple[str, ...]:
    here, on = _figure(cell, cell.ours, folder)
    same, same_on = _figure(cell, cell.same, folder)
    names = dict.fromkeys(name for source in (cell.same, cell.ours) if source for name in source.names)
    links = ", ".join(f"[{name}](#{name})" for name in names)
    where = "; ".join(dict.fromkeys(text for text in (same_on, on) if text))
    return (cell.row, cell.column, cell.claimed_text, *([same] if has_same else []), here, where, links)


def _figure(cell: Cell, source: Source | None, folder: Folder) -> tuple[str, str]:
    """Our figure as text, and on what it was measured."""
    if source is None:
        return "-", ""
    try:
        reading = source.measure(folder)
    except NotMeasured as reason:
        return f"{NOT_MEASURED}: {reason}", ""
    return reading.text(cell.unit), reading.on


def _commands(folder: Folder) -> list[str]:
    """Each measurement's command."""
    exports = [f"export {name}={example}" for name, example in VARIABLES.items()]
    location = "export MEASURED=docs/results/measured; mkdir -p $MEASURED"
    lines = ["## Commands", "", *wrapped(COMMANDS), "", "```bash", *exports, location, "```", ""]
    for measurement in MEASUREMENTS:
        needs = f" Needs {measurement.condition.text}." if measurement.condition else ""
        what = f"{measurement.what[0].upper()}{measurement.what[1:]}.{needs}"
        lines += [f"### {measurement.name}", "", *wrapped(what), "", "```bash"]
        if measurement.made_by:
            lines.append(f"# first, for what is not in the repository: {measurement.made_by}")
        lines += [folder.command(measurement, '"$MEASURED"'), "```", ""]
    origin = "<!-- Written by `python -m fer_training report --claims`: changes made here get lost. -->"
    return [*lines, origin, ""]
