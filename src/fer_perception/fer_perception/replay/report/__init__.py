"""The report as one HTML file that needs nothing else: ``page.html.j2`` filled with tables, plots and images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fer_perception.errors import BagError
from fer_perception.files import written_atomically
from fer_perception.replay.evaluation import Truth, label_frames
from fer_perception.replay.images import FrameImage, draw_frames
from fer_perception.replay.report import plots
from fer_perception.replay.results import ReplayReport, copy_notes, stream_notes
from fer_perception.replay.tables import STREAM, Predictions

log = logging.getLogger(__name__)

MAX_TIMELINES = 12
MAX_IMAGES = 24


def render(template: str, **values: Any) -> str:
    """A page from a template of this folder."""
    environment = Environment(
        loader=PackageLoader("fer_perception.replay.report", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)


def write_report(
    file: Path, report: ReplayReport, predictions: Predictions, truth: Truth, images: bool, show_faces: bool
) -> None:
    """Write the page.

    :param images: show some.
    :param show_faces: faces in images stay recognisable.
    """
    starts = {(stream.bag, stream.topic): stream.start_ns for stream in report.streams}
    frames = report.all.truth.single.frames if report.all.truth else None
    drawn = list(starts)[:MAX_TIMELINES]
    # In a live graph a prediction takes longer than the node's own work.
    name = "end_to_end_ms" if predictions.frames["end_to_end_ms"].notna().any() else "total_ms"
    durations = predictions.frames[name]
    shown: list[FrameImage] = []
    if images:
        try:
            shown = _images(predictions, truth, starts, show_faces)
        except BagError as error:  # the figures do not need them
            log.warning("the report shows no images: %s", error)
    page = render(
        "page.html.j2",
        plotly_script=Markup(get_plotlyjs()),
        report=report,
        stream_notes=stream_notes,
        copy_notes=copy_notes,
        confusion=Markup(plots.confusion(frames.confusion, predictions.labels)) if frames else None,
        calibration=Markup(plots.reliability_diagram(frames.reliability)) if frames else None,
        timelines=[_timeline(predictions, truth, stream, starts[stream]) for stream in drawn],
        hidden_streams=len(starts) - len(drawn),
        images=shown,
        show_faces=show_faces,
        latency=Markup(plots.latency_histogram(durations)) if durations.notna().any() else None,
        bags={stream.bag: stream.files for stream in report.streams},
    )
    with written_atomically(file) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _timeline(predictions: Predictions, truth: Truth, stream: tuple[str, str], start_ns: int) -> dict[str, Any]:
    mine, frames = (
        table[(table[list(STREAM)] == list(stream)).all(axis=1)] for table in (predictions.emotions, predictions.frames)
    )
    dropped_ns = frames.loc[frames["dropped"], "time_ns"].tolist()
    return {
        "name": ", ".join(stream),
        "timeline": Markup(plots.timeline(mine, truth.get(stream, ()), start_ns, dropped_ns)),
        "lines": Markup(plots.probability_lines(mine[mine["prominent"]], predictions.labels, start_ns)),
    }


def _images(
    predictions: Predictions, truth: Truth, starts: dict[tuple[str, str], int], show_faces: bool
) -> list[FrameImage]:
    """Evenly spaced frames with faces, and with labels the most confident wrong predictions, one a second."""
    scored = label_frames(predictions, truth)
    wrong = scored[scored["predicted"] & (scored["label"] != scored["target"])]
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable").drop_duplicates([*STREAM, "unit"])
    worst = wrong.head(MAX_IMAGES // 2)
    prominent = predictions.emotions[predictions.emotions["prominent"]]
    wanted = MAX_IMAGES - len(worst)
    spaced = prominent.iloc[:: -(-len(prominent) // wanted) or 1]
    chosen = pd.concat([spaced, worst]).drop_duplicates([*STREAM, "frame"], keep="last")
    chosen = chosen.sort_values([*STREAM, "frame"], kind="stable")
    captions = [caption(row, starts[row.bag, row.topic]) for _, row in chosen.iterrows()]
    return draw_frames(chosen, captions, predictions.emotions, show_faces)


def caption(row: pd.Series, start_ns: int) -> str:
    """Where an image is from and what was predicted."""
    shown = row.get("target")
    text = f"{Path(row.bag).name}, {(row.time_ns - start_ns) * 1e-9:.2f} s: "
    text += f"ground truth {shown}, predicted " if isinstance(shown, str) else ""
    return f"{text}{row.label} {row.confidence:.0%}"
