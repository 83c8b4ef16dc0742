"""The table and the plot of what ``benchmark engines`` of ``fer_perception`` measured."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from fer_perception.evaluation.speed import EnginesResult
from fer_training.reporting.entries import NOT_MEASURED
from fer_training.reporting.markdown import table, wrapped

MARKERS = {"fp32": "o", "fp16": "s", "int8": "^"}


def format_speed(run: EnginesResult, image: str) -> str:
    """The table, as Markdown."""
    rows = [
        (
            engine.name,
            engine.precision,
            f"{engine.batch_1.p50_ms:.3f}",
            f"{engine.batch_1.speed_ratio:.2f}",
            f"{engine.batch_8.faces_per_s:,.0f}",
            f"{engine.batch_8.speed_ratio:.2f}",
            f"{engine.parameters / 1e6:.2f} M",
            f"{engine.macs / 1e6:.1f} M",
            f"{engine.bytes / 1e6:.2f} MB",
            f"{engine.accuracy[run.dataset] * 100:.2f}%" if run.dataset in engine.accuracy else NOT_MEASURED,
        )
        for engine in run.engines
    ]
    header = ("bundle", "precision", "ms, one face", "ratio", "faces/s, eight", "ratio")
    first = run.engines[0]
    text = (
        f"{run.machine}. One thread, ONNX Runtime; engines take turns, times are medians, ratios are to {first.name} "
        f"{first.precision} in the same round. By `{EnginesResult.written_by} FILE`."
    )
    sizes = ("parameters", "MACs", "file", f"{run.dataset} test accuracy")
    lines = ["# Speed", "", *wrapped(text), "", *table((*header, *sizes), rows), ""]
    if run.dataset:
        lines += [f"![accuracy on {run.dataset} against latency]({image})", ""]
    return "\n".join(
        [*lines, "<!-- Written by `python -m fer_training report --speed`: changes made here get lost. -->", ""]
    )


def draw_speed(run: EnginesResult) -> Figure:
    """Accuracy against the time for one face; up and to the left is better."""
    measured = [engine for engine in run.engines if run.dataset in engine.accuracy]
    names = list(dict.fromkeys(engine.name for engine in measured))
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for engine in measured:
        axes.plot(
            engine.batch_1.p50_ms,
            100 * engine.accuracy[run.dataset],
            MARKERS.get(engine.precision, "o"),
            color=f"C{names.index(engine.name)}",
            markersize=9,
            label=f"{engine.name}, {engine.precision}: {engine.batch_1.p50_ms:.2f} ms, "
            f"{engine.accuracy[run.dataset] * 100:.2f}%",
        )
    axes.set_xscale("log")
    times = [engine.batch_1.p50_ms for engine in measured]
    axes.set(xlim=(min(times) / 1.5, max(times) * 1.5), ylabel=f"{run.dataset} test accuracy, %")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="ms for one face on one thread, ONNX Runtime", title=run.machine)
    axes.margins(y=0.1)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure
