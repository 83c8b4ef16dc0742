"""The page of the paper's claims, as Markdown and as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import markdown

from fer_training.reporting.entries import NOT_MEASURED
from fer_training.reporting.markdown import table, wrapped
from fer_training.reporting.paper.claims import CLAIMS, Claim, attempt, measure, reading_text, verdict
from fer_training.reporting.paper.measurements import MEASUREMENTS, VARIABLES, Folder, NotMeasured
from fer_training.reporting.paper.sections import OVERVIEW, SECTIONS, VARIANT_HEADER, Section, draw_overview, variants

TITLE = "The paper's claims, measured"
INTRODUCTION = (
    "Each claim of the paper that is known to us, beside our figure by our own definition, the command that measures "
    "it, and what it was measured on. The paper's text is not at hand and its numbering of tables and figures is not "
    "known to us, so they are grouped by subject. *Undefined* means that the paper's figure came without a definition. "
    "Brackets are 95% intervals. Accuracies do not depend on the machine; times and energy do."
)
HEADER = ("claim", "the paper", "measured", "verdict", "on", "by")
LOCATION = '"$MEASURED"'

HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1150px; margin: 2em auto; padding: 0 1em; }}
h1 {{ font-size: 1.6em; }} h2 {{ font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd; }}
table {{ border-collapse: collapse; margin: .8em 0; }} tr {{ border-bottom: 1px solid #eee; }}
td, th {{ padding: .3em .9em .3em 0; text-align: left; vertical-align: top; }} th {{ border-bottom: 1px solid #ccc; }}
code {{ font-size: .85em; overflow-wrap: anywhere; }} img {{ max-width: 100%; }}
pre {{ background: #f5f5f5; padding: .7em; white-space: pre-wrap; overflow-wrap: anywhere; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def format_page(folder: Folder, out: Path, pictures: Path) -> str:
    """The page as Markdown. Draws its pictures into ``pictures``, a folder in ``out``."""
    lines = [f"# {TITLE}", "", *wrapped(INTRODUCTION), ""]
    drawn = draw_overview(folder, pictures / OVERVIEW)
    lines += _links(drawn, out, "claimed and measured points of accuracy")
    for subject, claims in groupby(CLAIMS, key=lambda claim: claim.subject):
        lines += [f"## {subject}", "", *table(HEADER, [_row(claim, folder) for claim in claims]), ""]
    lines += ["## Accuracy by variant", "", *table(VARIANT_HEADER, variants(folder)), ""]
    for section in SECTIONS:
        lines += _section(section, folder, out, pictures)
    return "\n".join([*lines, *_commands(folder)])


def to_html(text: str, out: Path) -> str:
    """The Markdown page as HTML with its pictures in it; ``out``: what their paths are relative to."""
    body = markdown.markdown(text, extensions=["tables", "fenced_code", "toc"], output_format="html")

    def embed(match: re.Match[str]) -> str:
        data = base64.b64encode((out / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{data}"'

    return HTML.format(title=TITLE, body=re.sub(r'src="([^":]+\.png)"', embed, body))


def _row(claim: Claim, folder: Folder) -> tuple[str, ...]:
    links = ", ".join(f"[{name}](#{name})" for name in claim.sources)
    try:
        reading = measure(claim, folder)
    except NotMeasured as reason:
        return claim.text, claim.claimed_text, f"{NOT_MEASURED}: {reason}", "", "", links
    return claim.text, claim.claimed_text, reading_text(claim, reading), verdict(claim, reading), reading.on, links


def _section(section: Section, folder: Folder, out: Path, pictures: Path) -> list[str]:
    lines = [f"## {section.title}", "", *wrapped(section.text), ""]
    draw = section.draw

    def draw_into(*contents: object) -> list[Path]:
        return draw(pictures, *contents) if draw else []

    try:
        if section.table:
            lines += [*table(section.header, attempt(folder, section.sources, section.table)), ""]
        lines += _links(attempt(folder, section.sources, draw_into), out, section.title.lower())
    except NotMeasured as reason:
        lines += [f"{NOT_MEASURED.capitalize()}: {reason}.", ""]
    links = " and ".join(f"[{name}](#{name})" for name in section.sources)
    return [*lines, f"By {links}.", ""]


def _links(files: Sequence[Path], out: Path, text: str) -> list[str]:
    return [line for file in files for line in (f"![{text}]({file.relative_to(out).as_posix()})", "")]


def _commands(folder: Folder) -> list[str]:
    """Each measurement's command, and whether its weights are known."""
    exports = [f"export {name}={example}" for name, example in VARIABLES.items()]
    lines = [
        "## Commands",
        "",
        *wrapped(
            "In the repository's root, after `make setup-training` and `. scripts/env.sh`. `report --commands` prints "
            "those that are missing or of other weights."
        ),
        "",
        "```bash",
        *exports,
        "export MEASURED=docs/results/measured; mkdir -p $MEASURED",
        "```",
        "",
    ]
    for measurement in MEASUREMENTS:
        lines += [f"### {measurement.name}", "", f"{measurement.what[0].upper()}{measurement.what[1:]}.", ""]
        made_by = [f"# first, for weights that are not in the repository: {measurement.made_by}"]
        lines += [
            "```bash",
            *(made_by if measurement.made_by else []),
            folder.command(measurement, LOCATION),
            "```",
            "",
        ]
    origin = "<!-- Written by `python -m fer_training report --measured`: changes made here get lost. -->"
    return [*lines, origin, ""]
