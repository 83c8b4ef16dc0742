"""The table and the image over all bundles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from fer_training.datasets import CAMERA
from fer_training.reporting.entries import NOT_MEASURED, Entry, Figures, count_text, network_name, percent_text
from fer_training.reporting.markdown import table, wrapped
from fer_training.reporting.speed import MARKERS

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "macro_f1_common": "macro-F1 of common",
    "auroc": "AUROC",
    "ece": "ECE",
}


class Row(NamedTuple):
    """A bundle at one precision, and its figures on the test split by dataset."""

    entry: Entry
    precision: str
    tests: dict[str, Figures]


def compare(entries: Iterable[Entry]) -> tuple[list[Row], list[str]]:
    """All bundles at all their precisions, and the datasets of whose test split there are figures.

    :return: rows with the best accuracy first, on the first of the datasets; the most measured dataset first,
        of equals the one that was recorded first, and the derived ones last.
    """
    rows = [
        Row(
            entry,
            precision,
            {
                evaluation.dataset: figures
                for evaluation, figures in entry.figures.items()
                if evaluation[1:] == ("test", precision)
            },
        )
        for entry in entries
        for precision in entry.manifest.files
    ]
    names = [dict.fromkeys(name for row in rows if row.entry is entry for name in row.tests) for entry in entries]
    datasets = sorted(
        dict.fromkeys(name for of_one in names for name in of_one),
        key=lambda name: (-sum(name in of_one for of_one in names), name.startswith(CAMERA)),
    )

    def order(row: Row) -> tuple[float, str, str]:
        accuracy = row.tests[datasets[0]].accuracy if datasets and datasets[0] in row.tests else -1.0
        return -accuracy, row.entry.manifest.name, row.precision

    return sorted(rows, key=order), datasets


def format_results(rows: Sequence[Row], datasets: Sequence[str], image: str) -> str:
    """The table over all bundles, as Markdown; in bold the best of a column in which there is a choice."""
    columns: list[tuple[str, list[str]]] = [
        ("bundle", [row.entry.manifest.name for row in rows]),
        ("precision", [row.precision for row in rows]),
        ("network", [network_name(row.entry.training.recipe.get("network"), short=True) for row in rows]),
    ]
    for name, sizes in (
        ("parameters", [row.entry.manifest.parameters for row in rows]),
        ("MACs", [row.entry.manifest.macs for row in rows]),
    ):
        columns.append((name, _bold_best([millions(size) for size in sizes], sizes, min)))
    for dataset in datasets:
        found = [row.tests.get(dataset) for row in rows]
        for metric, name in METRICS.items():
            texts = [percent_text(figures, metric) for figures in found]
            values = [getattr(figures, metric, None) for figures in found]
            columns.append((f"{dataset} {name}", _bold_best(texts, values, min if metric == "ece" else max)))
    lines = [
        "# Results",
        "",
        *wrapped(
            "Every bundle at every precision that it has, on the test splits. In bold the best of a column: the "
            "highest accuracy, macro-F1 and AUROC, the lowest ECE and the smallest size. The intervals, and the data, "
            "recipe and limits of a model, are in the README.md of its bundle."
        ),
        "",
        *table([name for name, _ in columns], zip(*(texts for _, texts in columns), strict=True)),
        "",
    ]
    for dataset in datasets:
        counts = sorted({row.tests[dataset].n for row in rows if dataset in row.tests})
        remark = ": not all were measured on the same images" if len(counts) > 1 else ""
        lines.append(f"- {dataset}: {' or '.join(map(count_text, counts))} images{remark}")
    if datasets:
        lines += ["", f"![accuracy on {datasets[0]} against MACs]({image})", ""]
    else:
        lines += [f"Test splits: {NOT_MEASURED}.", ""]
    origin = (
        "<!-- Written by `python -m fer_training report` from the bundles' manifests: changes made here get lost. -->"
    )
    return "\n".join([*lines, origin, ""])


def draw_accuracy(rows: Sequence[Row], dataset: str) -> Figure:
    """Accuracy with its interval on a dataset's test split against MACs."""
    measured = [row for row in rows if dataset in row.tests]
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    colors = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(row.entry.manifest.name for row in measured))}
    neighbours: Counter[str] = Counter()
    ends: list[float] = []
    for row in measured:
        manifest, figures = row.entry.manifest, row.tests[dataset]
        interval = figures.intervals.get("accuracy")
        ends += interval or (figures.accuracy,)
        # Points of like networks would hide each other: each is drawn a little to the right of the one before.
        like = f"{manifest.macs:.1e}"
        shift = ScaledTranslation(neighbours[like] * 7 / 72, 0, figure.dpi_scale_trans)
        neighbours[like] += 1
        axes.errorbar(
            manifest.macs,
            100 * figures.accuracy,
            [[100 * abs(figures.accuracy - end)] for end in interval] if interval else None,
            fmt=MARKERS[row.precision],
            color=colors[manifest.name],
            markersize=7,
            capsize=4,
            label=f"{manifest.name}, {row.precision}: {figures.accuracy * 100:.2f}%",
            transform=axes.transData + shift,
        )
    macs = [row.entry.manifest.macs for row in measured]
    axes.set_xscale("log")
    # A shifted point does not take part in automatic limits.
    axes.set(xlim=(min(macs) / 2, max(macs) * 2), ylim=(100 * min(ends) - 1, 100 * max(ends) + 1))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(
        xlabel="multiply-accumulate operations for a face (like ones are drawn side by side)",
        ylabel="accuracy, %",
        title=f"{dataset}, test split; bars: 95% intervals, where measured",
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _bold_best(
    texts: list[str], values: Sequence[float | None], best: Callable[[list[tuple[float, str]]], tuple[float, str]]
) -> list[str]:
    shown = [(value, text) for value, text in zip(values, texts, strict=True) if value is not None]
    if len({text for _, text in shown}) < 2:
        return texts
    _, winner = best(shown)
    return [f"**{text}**" if text == winner else text for text in texts]


def millions(count: int) -> str:
    """With two decimals and unit."""
    return f"{count / 1e6:.2f} M"
