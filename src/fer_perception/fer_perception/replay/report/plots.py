"""The report's plots, as fragments of HTML; plotly's script is in the page once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fer_perception.evaluation.metrics import Reliability
from fer_perception.labels import EMOTIONS_8, UNKNOWN
from fer_perception.replay.ground_truth import Interval
from fer_perception.visualization.drawing import color_of

MAX_TRACKS = 12
MAX_POINTS = 2000
HISTOGRAM_BINS = 60
CONFIG = {"displaylogo": False, "responsive": True}


def color(label: str) -> str:
    """The colour of a label, as in the overlay."""
    return "rgb({}, {}, {})".format(*color_of(label))


def timeline(
    emotions: pd.DataFrame, intervals: Sequence[Interval], start_ns: int, dropped_ns: Sequence[int] = ()
) -> str:
    """One bar for what was shown and for each track (the longest ones), in the colours of the smoothed labels; and a
    mark for each dropped frame.

    :param emotions: rows of one stream.
    :param start_ns: time zero.
    :param dropped_ns: when the frames without predictions were recorded.
    """
    rows = [("shown", [(i.start_ns, i.end_ns, i.label) for i in intervals])] if intervals else []
    longest = emotions["track_id"].value_counts().index[:MAX_TRACKS]
    for track_id in longest:
        rows.append((f"face {track_id}", _runs(emotions[emotions["track_id"] == track_id])))
    figure = go.Figure()
    for label in (*EMOTIONS_8, UNKNOWN):
        bars = [(name, start, end) for name, runs in rows for start, end, shown in runs if shown == label]
        if bars:
            figure.add_bar(
                name=label,
                orientation="h",
                y=[name for name, _, _ in bars],
                x=[(end - start) * 1e-9 for _, start, end in bars],
                base=[(start - start_ns) * 1e-9 for _, start, _ in bars],
                marker={"color": color(label), "line": {"width": 0}},
                hovertemplate="%{y}: " + label + "<br>from %{base:.2f} s for %{x:.2f} s<extra></extra>",
            )
    if len(dropped_ns):
        rows.append(("dropped", []))
        figure.add_scatter(
            name="dropped",
            mode="markers",
            y=["dropped"] * len(dropped_ns),
            x=[round((time_ns - start_ns) * 1e-9, 3) for time_ns in dropped_ns],
            marker={"color": "#c00", "symbol": "line-ns-open", "size": 12},
            hovertemplate="dropped at %{x:.2f} s<extra></extra>",
        )
    order = [name for name, _ in rows][::-1]
    figure.update_layout(
        barmode="overlay",
        yaxis={"categoryorder": "array", "categoryarray": order},
        bargap=0.25,
        legend_traceorder="normal",
    )
    return _html(figure, height=130 + 28 * len(rows), x_title="seconds after the bag's first message")


def probability_lines(prominent: pd.DataFrame, labels: Sequence[str], start_ns: int) -> str:
    """Smoothed probabilities of the most prominent face over time; of long recordings every n-th frame."""
    step = -(-len(prominent) // MAX_POINTS) or 1
    some = prominent.iloc[::step]
    figure = go.Figure()
    for label in labels:
        figure.add_scatter(
            name=label,
            x=((some["time_ns"] - start_ns) * 1e-9).round(3).tolist(),
            y=some[f"smoothed_{label}"].astype(float).round(4).tolist(),
            line={"color": color(label), "width": 1.5},
            mode="lines",
        )
    figure.update_yaxes(range=[0, 1.02], title="probability")
    return _html(figure, height=260, x_title="seconds after the bag's first message")


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """A confusion matrix: fractions of each row in colour, numbers as text."""
    counts = np.asarray(matrix)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = go.Figure(
        go.Heatmap(
            z=fractions.round(4).tolist(),
            x=list(labels),
            y=list(labels),
            text=counts.tolist(),
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            showscale=False,
            hovertemplate="true %{y}, predicted %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", title="true label")
    return _html(figure, height=380, x_title="predicted label")


def reliability_diagram(bins: Reliability) -> str:
    """How often predictions are right, by their confidence."""
    used = [number for number, count in enumerate(bins.count) if count]
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#bbb", "dash": "dot"}, showlegend=False)
    figure.add_scatter(
        x=[round(bins.confidence[number] or 0, 4) for number in used],
        y=[round(bins.accuracy[number] or 0, 4) for number in used],
        text=[f"{bins.count[number]} frames" for number in used],
        mode="lines+markers",
        showlegend=False,
    )
    figure.update_yaxes(range=[0, 1.02], title="accuracy")
    figure.update_xaxes(range=[0, 1.02])
    return _html(figure, height=380, x_title="confidence")


def latency_histogram(durations_ms: pd.Series) -> str:
    """Time per frame; the slowest hundredth is in the last bar."""
    values = durations_ms.dropna().to_numpy(float)
    top = float(np.percentile(values, 99))
    counts, edges = np.histogram(np.minimum(values, top), bins=HISTOGRAM_BINS)
    middles = ((edges[1:] + edges[:-1]) / 2).round(3).tolist()
    figure = go.Figure(go.Bar(x=middles, y=counts.tolist(), marker={"color": "#4a7fb5"}))
    figure.update_layout(bargap=0.02)
    figure.update_yaxes(title="frames")
    return _html(figure, height=260, x_title="ms per frame")


def _runs(track: pd.DataFrame) -> list[tuple[int, int, str]]:
    """Stretches of one label in a track: start, end, label. Each ends where the next begins."""
    labels, times = track["smoothed_label"].to_numpy(), track["time_ns"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
    ends = [*times[starts[1:]], times[-1]]
    return [(int(times[start]), int(end), str(labels[start])) for start, end in zip(starts, ends, strict=True)]


def _html(figure: go.Figure, height: int, x_title: str) -> str:
    figure.update_layout(
        height=height,
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 10, "b": 45},
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    figure.update_xaxes(title=x_title)
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG))
