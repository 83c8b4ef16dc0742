"""Predictions over time: the role that the paper gives CK+, and for which it has no figure."""

from __future__ import annotations

from fer_perception.replay.results import Kind
from fer_training.reporting.paper.cells import NO_FIGURE, PERCENT, Cell, Section, Unit
from fer_training.reporting.paper.measurements import DEFAULT, OVER_TIME, VARIANTS
from fer_training.reporting.paper.readings import OverTime, over_time

SECONDS = Unit(" s", digits=2)
PER_MINUTE = Unit(" a minute")
KINDS: dict[Kind, str] = {"single": "single images", "smoothed": "smoothed"}
MEASURES: dict[OverTime, tuple[str, Unit]] = {
    "detected": ("changes of expression that are predicted", PERCENT),
    "seconds": ("median time until then", SECONDS),
    "flicker": ("flicker: changes of the label", PER_MINUTE),
    "accuracy": ("accuracy of labelled images", PERCENT),
}


def _section() -> Section:
    titles = {name: variant.title for name, variant in VARIANTS.items()} | {DEFAULT: "our default model"}
    return Section(
        "Table 2, role of CK+: predictions over time",
        "Single images against predictions smoothed as the nodes do by default, on the same images "
        "([docs/replay.md](../replay.md#ground-truth) has the definitions). CK+: each sequence begins with a neutral "
        "image, and the emotion counts from the second one on. Here: two films of one person each, of which one has "
        "labels, with a single change of expression (docs/results/films): little, but anybody can repeat it.",
        tuple(
            Cell(
                titles[variant],
                f"{title}, {KINDS[kind]}",
                NO_FIGURE,
                unit,
                over_time("films", variant, what, kind),
                over_time("sequences", variant, what, kind),
            )
            for variant in OVER_TIME
            for what, (title, unit) in MEASURES.items()
            for kind in KINDS
        ),
        ("Table 2 gives CK+ the role of temporal robustness, yet no table measures anything over time.",),
    )


SECTION = _section()
