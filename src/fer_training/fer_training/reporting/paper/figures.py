"""The paper's Figures 1 to 6, number by number."""

from __future__ import annotations

from typing import NamedTuple

from fer_training.reporting.paper.cells import (
    FPS,
    GRAMS,
    JOULES,
    MILLISECONDS,
    NO_FIGURE,
    PERCENT,
    PLAIN,
    Cell,
    Section,
    Source,
)
from fer_training.reporting.paper.measurements import DEFAULT, OTHERS, PROPOSED, VARIANTS
from fer_training.reporting.paper.readings import (
    cost,
    deletion,
    domain,
    efficiency,
    largest_gap,
    latency,
    less_from_one,
    looking_at_landmarks,
    macs,
    mean_stressed,
    named,
    retained,
)

BY_REGION, BY_DELETION = "attention on the regions", "deletion"
ATTENTION = Section(
    "Figure 1: attention on eyes, brows and mouth",
    "The paper shows a picture. Here: the fraction of Grad-CAM's map that lies on eyes, brows and mouth, and how much "
    "smaller the area under the deletion curve is than that of random maps, as a fraction of that: 0 is no better than "
    "random. `explain` also draws the maps over faces.",
    tuple(
        Cell(VARIANTS[variant].title, column, NO_FIGURE, PERCENT, read(variant))
        for variant in ("baseline", PROPOSED)
        for column, read in ((BY_REGION, looking_at_landmarks), (BY_DELETION, deletion))
    ),
)

# Precision: our variant; images a second, ms, accuracy retained.
PRECISIONS = {
    "FP32": (PROPOSED, 18, 60, 1.0),
    "FP16": ("quantized_fp16", 26, 40, 0.99),
    "INT8": ("quantized", 34, 28, 0.98),
}
QUANTIZATION = Section(
    "Figure 2: FP32, FP16 and INT8",
    "Landmark-Compressed in three precisions; here on a CPU, accuracy on FER+.",
    tuple(
        cell
        for precision, (variant, fps, ms, kept) in PRECISIONS.items()
        for cell in (
            Cell(precision, "throughput", fps, FPS, cost(variant, "fps"), cost(variant, "fps", "engines_jetson")),
            Cell(precision, "latency", ms, MILLISECONDS, cost(variant, "ms"), cost(variant, "ms", "engines_jetson")),
            Cell(precision, "accuracy retained", kept, PERCENT, retained(PROPOSED, variant, "ferplus")),
        )
    ),
    (
        "INT8 has 34 FPS and 28 ms here, 28 FPS and 35 ms in Tables 4 and 8.",
        "FP32 has 18 FPS and 60 ms here; the same network, Landmark-Compressed, has 25 FPS and 40 ms in Table 4.",
    ),
)


class Axis(NamedTuple):
    """An axis of the radar: 0 to 1, larger is better. ``baseline`` and ``proposed``: how it is read."""

    name: str
    definition: str
    baseline: Source
    proposed: Source


AXES = (
    Axis(
        "accuracy",
        "macro-F1 on wildfaces, images of another domain than those of the training",
        domain("baseline", "macro_f1", "manifest"),
        domain(PROPOSED, "macro_f1", "manifest"),
    ),
    Axis(
        "efficiency",
        "images a second, one face at a time on a CPU, as a fraction of those of the fastest of the five variants; the "
        "proposed network in INT8",
        efficiency("baseline"),
        efficiency("quantized"),
    ),
    Axis(
        "robustness",
        "1 less the mean corruption error: mean accuracy under thirteen corruptions at five strengths, on FER+",
        mean_stressed("baseline"),
        mean_stressed(PROPOSED),
    ),
    Axis(
        "fairness",
        "1 less the largest gap in accuracy between groups of wildfaces (grey and coloured photographs, resolutions)",
        less_from_one(largest_gap("baseline")),
        less_from_one(largest_gap(PROPOSED)),
    ),
    Axis(
        "interpretability",
        "how much smaller the area under the deletion curve of Grad-CAM is than that of random maps, as a fraction "
        "of that",
        deletion("baseline"),
        deletion(PROPOSED),
    ),
)
RADAR = Section(
    "Figure 3: radar of accuracy, efficiency, robustness, fairness, interpretability",
    "The paper draws the proposed network larger than the Baseline on all axes, without figures or definitions. "
    "Here the proposed one is Landmark-Compressed, and each axis goes from 0 to 1: "
    + "; ".join(f"*{axis.name}*, {axis.definition}" for axis in AXES)
    + ". Wildfaces' coloured photographs are mostly small film stills with labels that are hard to see: this gap "
    "is one between kinds of photographs, not between people ([docs/fairness.md](../fairness.md)).",
    (
        *(Cell(VARIANTS["baseline"].title, axis.name, NO_FIGURE, PLAIN, axis.baseline) for axis in AXES),
        *(Cell("proposed", axis.name, NO_FIGURE, PLAIN, axis.proposed) for axis in AXES),
    ),
)

# Stage: our variant, relative compute, relative latency.
STAGES = {
    "data set": ("", 100, 70),
    "backbone": ("baseline", 85, 65),
    "attention": ("hybrid_attention", 82, 60),
    "adaptation": ("dual_adaptive", 78, 58),
    "pruning": ("landmark_compressed", 50, 40),
    "quantization": ("quantized", 30, 25),
    "deployment": ("", 28, 23),
}


def _stages() -> Section:
    _, compute, time = STAGES["backbone"]
    cells = []
    for stage, (variant, of_compute, of_time) in STAGES.items():
        cells += [
            Cell(stage, "compute", of_compute, PLAIN, macs(variant, compute) if variant else None),
            Cell(stage, "latency", of_time, PLAIN, latency(variant, time) if variant else None),
        ]
    return Section(
        "Figure 4: relative compute and latency by stage",
        "The paper's numbers have no unit. Ours are relative to the Baseline, which has the paper's 85 and 65; "
        "compute is MACs, which quantization leaves as they are. A data set and a deployment have no network of "
        "their own.",
        tuple(cells),
        ("Attention and adaptation add operations to the backbone; the figure has fewer after each.",),
    )


# Network: our variant, privacy sensitivity, normalised accuracy.
PRIVACY_POINTS = {
    "baseline": ("baseline", 0.35, 0.85),
    "adaptive": ("dual_adaptive", 0.60, 0.88),
    "proposed": (PROPOSED, 0.80, 0.90),
}
PRIVACY, ACCURACY = "privacy", "accuracy"
SENSITIVITY = Section(
    "Figure 5: privacy sensitivity against accuracy",
    "The paper defines neither axis. Here privacy is 1 less the fraction of persons whom an attacker names from the "
    "published probabilities (docs/attention.md), and accuracy is that on FER+.",
    tuple(
        cell
        for network, (variant, privacy, accuracy) in PRIVACY_POINTS.items()
        for cell in (
            Cell(network, PRIVACY, privacy, PLAIN, less_from_one(named(variant))),
            Cell(network, ACCURACY, accuracy, PLAIN, domain(variant, "accuracy", "ferplus")),
        )
    ),
)

# Network: our variant, joules, grams of CO2.
ENERGY = {
    VARIANTS["baseline"].title: ("baseline", 0.22, 0.60),
    VARIANTS["quantized"].title: ("quantized", 0.11, 0.30),
    f"proposed hybrid ({OTHERS[DEFAULT].title})": (DEFAULT, 0.09, 0.24),
}
CARBON = Section(
    "Figure 6: energy and carbon per inference",
    "As Table 4. Carbon is energy times the carbon intensity of the electricity (`--grid-intensity`).",
    tuple(
        cell
        for network, (variant, joules, grams) in ENERGY.items()
        for cell in (
            Cell(network, "energy", joules, JOULES, cost(variant, "joules"), cost(variant, "joules", "engines_jetson")),
            Cell(network, "carbon", grams, GRAMS, cost(variant, "grams"), cost(variant, "grams", "engines_jetson")),
        )
    ),
    (
        "The Baseline takes 0.22 J here and 0.15 J in Table 4, the quantized network 0.11 J and 0.14 J.",
        "0.60 g for 0.22 J are 9,800 kg of CO2 per kWh; electricity has 0.02 to 1 kg. The figure is some ten thousand "
        "times too large.",
        "The hybrid network takes less than the quantized one here, and more in Table 4 (0.17 and 0.14 J).",
    ),
)
FIGURES = (ATTENTION, QUANTIZATION, RADAR, _stages(), SENSITIVITY, CARBON)
