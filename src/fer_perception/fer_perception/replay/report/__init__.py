"""The report as one HTML file that needs nothing else: ``page.html.j2`` filled with tables, plots and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fer_perception.replay import images as pictures
from fer_perception.replay.evaluation import Truth, label_frames
from fer_perception.replay.report import plots
from fer_perception.replay.tables import STREAM, Answers

MAX_TIMELINES = 12
MAX_PICTURES = 24


def render(template: str, **values: Any) -> str:
    """A page from a template of this folder."""
    environment = Environment(
        loader=PackageLoader("fer_perception.replay.report", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)


def write_report(
    file: Path, report: dict[str, Any], answers: Answers, truth: Truth, images: bool, show_faces: bool
) -> None:
    """Write the page.

    :param report: the contents of ``report.json``.
    :param images: with pictures.
    :param show_faces: faces in pictures stay recognisable.
    """
    starts = {(stream["bag"], stream["topic"]): stream["start_ns"] for stream in report["streams"]}
    measured = report["all"]["truth"]
    frames = measured["single"]["frames"] if measured else None
    drawn = list(starts)[:MAX_TIMELINES]
    # In a live graph an answer takes longer than the node's own work.
    name = "end_to_end_ms" if answers.frames["end_to_end_ms"].notna().any() else "total_ms"
    page = render(
        "page.html.j2",
        plotly_script=Markup(get_plotlyjs()),
        report=report,
        confusion=Markup(plots.confusion(frames["confusion"], answers.labels)) if frames else None,
        calibration=Markup(plots.reliability_diagram(frames["reliability"])) if frames else None,
        timelines=[_timeline(answers, truth, stream, starts[stream]) for stream in drawn],
        hidden_streams=len(starts) - len(drawn),
        pictures=_pictures(answers, truth, starts, show_faces) if images else [],
        show_faces=show_faces,
        latency=Markup(plots.latency_histogram(answers.frames[name])) if answers.frames[name].notna().any() else None,
        bags={stream["bag"]: stream["files"] for stream in report["streams"]},
    )
    file.write_text(page, encoding="utf-8")


def _timeline(answers: Answers, truth: Truth, stream: tuple[str, str], start_ns: int) -> dict[str, Any]:
    mine, frames = (
        table[(table[list(STREAM)] == list(stream)).all(axis=1)] for table in (answers.emotions, answers.frames)
    )
    dropped_ns = frames.loc[frames["dropped"], "time_ns"].tolist()
    return {
        "name": ", ".join(stream),
        "timeline": Markup(plots.timeline(mine, truth.get(stream, ()), start_ns, dropped_ns)),
        "lines": Markup(plots.probability_lines(mine[mine["prominent"]], answers.labels, start_ns)),
    }


def _pictures(
    answers: Answers, truth: Truth, starts: dict[tuple[str, str], int], show_faces: bool
) -> list[pictures.Picture]:
    """Evenly spaced frames with faces, and where labels are known the most confident wrong answers, one a second."""
    scored = label_frames(answers, truth)
    wrong = scored[scored["answered"] & (scored["label"] != scored["target"])]
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable").drop_duplicates([*STREAM, "unit"])
    worst = wrong.head(MAX_PICTURES // 2)
    prominent = answers.emotions[answers.emotions["prominent"]]
    wanted = MAX_PICTURES - len(worst)
    spaced = prominent.iloc[:: -(-len(prominent) // wanted) or 1]
    chosen = pd.concat([spaced, worst]).drop_duplicates([*STREAM, "frame"], keep="last")
    chosen = chosen.sort_values([*STREAM, "frame"], kind="stable")
    captions = [caption(row, starts[row.bag, row.topic]) for _, row in chosen.iterrows()]
    return pictures.draw_frames(chosen, captions, answers.emotions, show_faces)


def caption(row: pd.Series, start_ns: int) -> str:
    """Where a picture is from and what was answered."""
    shown = row.get("target")
    text = f"{Path(row.bag).name}, {(row.time_ns - start_ns) * 1e-9:.2f} s: "
    text += f"shown {shown}, answered " if isinstance(shown, str) else ""
    return f"{text}{row.label} {row.confidence:.0%}"
