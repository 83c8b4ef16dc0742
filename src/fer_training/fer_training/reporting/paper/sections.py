"""The tables and pictures beside the claims, from the same measurements."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from fer_training.evaluation.fairness_plots import plot_groups
from fer_training.evaluation.robustness.pictures import plot_stress
from fer_training.reporting.entries import NOT_MEASURED
from fer_training.reporting.paper.claims import CLAIMS, POINTS, Reading, attempt, measure, only
from fer_training.reporting.paper.measurements import FLAGSHIP, Folder, Json, NotMeasured
from fer_training.reporting.plots import draw_confusion
from fer_training.reporting.speed import SpeedRun, draw_speed

Rows = list[tuple[str, ...]]


class Section(NamedTuple):
    """A heading with a table, a picture, or both.

    ``table`` and ``draw`` take the contents of ``sources``; ``draw`` also the folder for pictures, and returns those
    that it wrote. ``text`` says how to read them.
    """

    title: str
    text: str
    sources: tuple[str, ...]
    header: tuple[str, ...] = ()
    table: Callable[..., Rows] | None = None
    draw: Callable[..., list[Path]] | None = None


VARIANTS = {
    "baseline": "baseline: MobileNetV2",
    "without_attention": "the same, trained on",
    "with_attention": "the same with hybrid attention",
    "flagship": "flagship: EfficientNet-Lite0 with hybrid attention",
    "compressed": "flagship, pruned",
    "quantized": "flagship, pruned, INT8",
}
VARIANT_HEADER = ("variant", "accuracy", "macro-F1", "AUROC", "ECE", "on", "by")
OVERVIEW = "claims.png"
BESIDE_A_POINT: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9}


def variants(folder: Folder) -> Rows:
    """Accuracy by variant; what is missing, with its reason."""
    rows: Rows = []
    for source, name in VARIANTS.items():
        link = f"[{source}](#{source})"
        try:
            cells = attempt(folder, (source,), _metrics)
        except NotMeasured as reason:
            cells = (f"{NOT_MEASURED}: {reason}", *[NOT_MEASURED] * 3, "")
        rows.append((name, *cells, link))
    return rows


def _metrics(evaluation: Json) -> tuple[str, ...]:
    on, metrics = only(evaluation)
    texts = []
    for key in ("accuracy", "macro_f1"):
        low, high = (end * 100 for end in metrics["intervals"][key])
        texts.append(f"{metrics[key] * 100:.2f}% [{low:.2f}, {high:.2f}]")
    auroc = metrics["auroc"]
    return (*texts, "not defined" if auroc is None else f"{auroc * 100:.2f}%", f"{metrics['ece'] * 100:.2f}%", on)


def draw_overview(folder: Folder, file: Path) -> list[Path]:
    """Claimed and measured points of accuracy or macro-F1 side by side; nothing where none is measured."""
    found: list[tuple[str, float, Reading]] = []
    for claim in CLAIMS:
        if claim.unit is POINTS and not isinstance(claim.claimed, str):
            try:
                found.append((claim.text, claim.claimed, measure(claim, folder)))
            except NotMeasured:
                continue
    if not found:
        return []
    figure = Figure(figsize=(11, 1.6 + 0.55 * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, (_, claimed, reading) in enumerate(found):
        first = place == 0
        if reading.interval:
            axes.plot(np.multiply(100, reading.interval), [place] * 2, color="tab:blue", linewidth=2)
        axes.plot(
            100 * reading.value,
            place,
            "o",
            color="tab:blue",
            label="measured, with its 95% interval where known" * first,
        )
        axes.annotate(f"{100 * reading.value:+.1f}", (100 * reading.value, place), (0, 7), **BESIDE_A_POINT)
        axes.plot(100 * claimed, place, "D", color="tab:red", fillstyle="none", label="claimed" * first)
        axes.annotate(f"{100 * claimed:+.1f}", (100 * claimed, place), (0, -15), **BESIDE_A_POINT)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{text}\n({reading.on})" for text, _, reading in found], fontsize=9)
    axes.set(
        xlabel="points", ylim=(len(found) - 0.4, -0.6), title="The paper's claims in points, and what was measured"
    )
    axes.margins(x=0.12)
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(file, dpi=110)
    return [file]


def _confusions(pictures: Path, *evaluations: Json) -> list[Path]:
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    for axes, evaluation in zip(figure.subplots(1, 2), evaluations, strict=True):
        on, metrics = only(evaluation)
        draw_confusion(axes, metrics)
        axes.set_title(f"{Path(evaluation['model']).name}, {on}: {metrics['accuracy'] * 100:.1f}%")
    figure.suptitle("Confusion; shares are of the row")
    return _save(figure, pictures / "confusion.png")


def _abstention(pictures: Path, *evaluations: Json) -> list[Path]:
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for number, evaluation in enumerate(evaluations):
        on, metrics = only(evaluation)
        found = metrics["risk_coverage"]
        curve, at_80 = found["curve"], found["at_80"]
        name, colour = Path(evaluation["model"]).name, f"C{number}"
        axes.plot(np.multiply(100, curve["coverage"]), np.multiply(100, curve["accuracy"]), color=colour, label=name)
        point = 100 * at_80["coverage"], 100 * at_80["accuracy"]
        label = f"80% answered: {point[1]:.1f}%, {100 * at_80['gain']:+.1f} points"
        axes.plot(*point, "o", color=colour, label=label)
    axes.set(xlabel="faces answered, the surest first, %", ylabel="of these right, %", xlim=(0, 101))
    axes.set_title(f"What abstaining buys, {on}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return _save(figure, pictures / "abstention.png")


def _engines(run: Json) -> Rows:
    rows: Rows = []
    for row in run["engines"]:
        one, eight, energy = row["batch_1"], row["batch_8"], row["energy"]
        joules = one["joules"]
        rows.append(
            (
                escape(f"{row['name']} {row['precision']}"),
                f"{one['p50_ms']:.3f}",
                f"{one['speed_ratio']:.2f}",
                f"{eight['faces_per_s']:,.0f}",
                f"{one['cpu_ms']:.3f}",
                f"{NOT_MEASURED}: {escape(str(energy.get('reason', 'the sensor failed')))}"
                if joules is None
                else f"{joules * 1000:.3f}",
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['macs'] / 1e6:.1f} M",
                f"{row['bytes'] / 1e6:.2f}",
                escape(run["machine"]),
            )
        )
    return rows


def _speed(pictures: Path, run: Json) -> list[Path]:
    speed = SpeedRun.model_validate(run)
    if not speed.dataset:
        raise NotMeasured("no bundle of `engines.json` has a recorded accuracy (`evaluate --record`)")
    return _save(draw_speed(speed), pictures / "speed.png")


def _stress(stress: Json) -> Rows:
    rows: Rows = []
    parts = {"none": stress["clean"], **stress["corruptions"], **stress["families"]}
    for part, entries in parts.items():
        for model, entry in entries.items():
            if "gain" in entry:
                low, high = (end * 100 for end in entry["interval"])
                error = entry.get("corruption_error")
                rows.append(
                    (
                        part.replace("_", " "),
                        f"{entries[stress['baseline']]['accuracy'] * 100:.1f}%",
                        f"{entry['accuracy'] * 100:.1f}%" + ("" if model == FLAGSHIP else f" ({escape(model)})"),
                        f"{entry['gain'] * 100:+.1f} [{low:+.1f}, {high:+.1f}]",
                        "" if error is None else f"{error:.2f}",
                    )
                )
    return rows


def _groups(evaluation: Json) -> Rows:
    _, metrics = only(evaluation)
    rows: Rows = []
    for column, found in metrics["groups"].items():
        for name, entry in found["by_group"].items():
            low, high = (end * 100 for end in entry["intervals"]["accuracy"])
            rows.append(
                (
                    escape(f"{column}: {name}") + ("" if entry["conclusive"] else " (not conclusive)"),
                    f"{entry['n']:,}",
                    f"{entry['accuracy'] * 100:.1f}% [{low:.1f}, {high:.1f}]",
                    "" if entry["macro_f1"] is None else f"{entry['macro_f1'] * 100:.1f}%",
                )
            )
    return rows


def _draw_groups(pictures: Path, evaluation: Json) -> list[Path]:
    return plot_groups(evaluation, pictures)


def _attention(evaluation: Json) -> Rows:
    _, metrics = only(evaluation)
    checks = metrics["attention"]["checks"]
    rows: Rows = []
    for name, entry in {**checks["maps"], **checks["controls"]}.items():
        gain = entry.get("gain", {}).get("random")
        rows.append(
            (
                escape(name),
                _mean(entry["share"], 100, "%"),
                _mean(entry["deletion"]),
                _mean(entry["insertion"]),
                f"{_mean(gain['deletion'])}; {_mean(gain['insertion'])}" if gain else "",
            )
        )
    return rows


def _mean(entry: Json, scale: float = 1, unit: str = "") -> str:
    if entry["mean"] is None:
        return "not defined"
    digits = 1 if unit else 3
    text = f"{entry['mean'] * scale:.{digits}f}{unit}"
    if entry["interval"]:
        low, high = (end * scale for end in entry["interval"])
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text


def _draw_attention(pictures: Path, evaluation: Json) -> list[Path]:
    from fer_training.evaluation.attention.pictures import draw_checks

    on, metrics = only(evaluation)
    checks = metrics["attention"]["checks"]
    file = pictures / "attention.png"
    draw_checks(file, f"{on}; {checks['n']} of them checked", checks)
    return [file]


def _identity(result: Json) -> Rows:
    rows: Rows = []
    for name, entry in result["identified"].items():
        cells = []
        for attack in ("nearest_neighbour", "linear_probe"):
            low, high = (end * 100 for end in entry[attack]["interval"])
            cells.append(f"{entry[attack]['share'] * 100:.1f}% [{low:.1f}, {high:.1f}]")
        rows.append((escape(name.replace("_", " ")), escape(entry["mode"]) or "none", *cells))
    return rows


def _draw_identity(pictures: Path, result: Json) -> list[Path]:
    entries = result["identified"]
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    axes = figure.subplots()
    for offset, attack in ((-0.2, "nearest_neighbour"), (0.2, "linear_probe")):
        shares = np.array([entry[attack]["share"] for entry in entries.values()])
        ends = np.array([entry[attack]["interval"] for entry in entries.values()])
        errors = 100 * np.abs(ends - shares[:, None]).T
        places = np.arange(len(entries)) + offset
        axes.bar(places, 100 * shares, 0.38, yerr=errors, capsize=3, label=attack.replace("_", " "))
    chance = 100 * max(result["chance"].values())
    axes.axhline(chance, color="black", linestyle="--", linewidth=1, label=f"chance, {chance:.2f}%")
    ticks = [f"{name.replace('_', ' ')}\n{entry['mode'] or 'no mode'}" for name, entry in entries.items()]
    axes.set_xticks(range(len(entries)), ticks)
    axes.set(
        ylabel="persons named rightly, %", xlabel="what is known of a face, and the strictest mode that publishes it"
    )
    axes.set_title(f"{result['persons']} persons, {result['asked_pictures']} pictures to name; bars: 95%")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.legend()
    return _save(figure, pictures / "identity.png")


def _save(figure: Figure, file: Path) -> list[Path]:
    figure.savefig(file, dpi=100)
    return [file]


SECTIONS = (
    Section(
        "Confusion",
        "Of a hundred faces that show the emotion of a row, how many are taken for that of a column.",
        ("baseline", "flagship"),
        draw=_confusions,
    ),
    Section(
        "Speed by engine",
        "One thread. Ratios are to the first engine in the same round.",
        ("engines",),
        ("engine", "ms, one face", "ratio", "faces/s, eight", "CPU ms", "mJ", "parameters", "MACs", "MB", "on"),
        _engines,
        _speed,
    ),
    Section(
        "Accuracy under corruptions",
        "Means over five severities. Gain: points over the baseline. CE: corruption error, where 1 is as good as the "
        "baseline and less is better.",
        ("stress",),
        ("corruption", "baseline", "flagship", "gain", "CE"),
        _stress,
        lambda pictures, stress: [plot_stress(stress, pictures)],
    ),
    Section(
        "Groups",
        "Each column of groups by itself. Groups that show different emotions differ in accuracy for that alone.",
        ("groups",),
        ("group", "images", "accuracy", "macro-F1"),
        _groups,
        _draw_groups,
    ),
    Section(
        "Where the flagship looks",
        "Share on eyes, brows and mouth; areas under the deletion (lower is better) and insertion curves (higher is "
        "better), and their gains over random maps of the same size. The maps over faces are not part of this page, as "
        "they show the dataset's pictures: the command writes them.",
        ("attention",),
        ("map", "share", "deletion", "insertion", "gains (deletion; insertion)"),
        _attention,
        _draw_attention,
    ),
    Section(
        "Who is recognised",
        "Persons named rightly from what a mode of privacy publishes, by an attacker who knows other pictures of them.",
        ("identity",),
        ("what is known", "mode", "nearest neighbour", "linear probe"),
        _identity,
        _draw_identity,
    ),
    Section(
        "Abstention",
        "How often answers are right when only the surest are given.",
        ("baseline", "flagship"),
        draw=_abstention,
    ),
)
