"""What the paper says beside its tables, and what this suite measures beyond it."""

from __future__ import annotations

from fer_training.reporting.paper.cells import FPS, NO_FIGURE, PERCENT, POINTS, RATIO, Cell, Section, Source
from fer_training.reporting.paper.measurements import DEFAULT, PROPOSED
from fer_training.reporting.paper.readings import (
    abstention,
    criterion,
    difference,
    faster_than_light_fer,
    largest_gap,
    live,
    loss_ratio,
    named,
    overhead,
)
from fer_training.reporting.paper.tables import STRESS

GAIN = "Dual-Adaptive over Baseline"
TEXT = Section(
    "The text beside the tables",
    "Differences between the same variants here, on the same images.",
    (
        Cell("macro-F1 on the data set of the training (FER+)", GAIN, "3 to 4 points", POINTS,
             difference("baseline", "dual_adaptive", "macro_f1", "ferplus")),
        Cell("macro-F1 there", "Hybrid-Attention over Baseline", 0.029, POINTS,
             difference("baseline", "hybrid_attention", "macro_f1", "ferplus")),
        *(
            Cell(f"accuracy in another domain: {title}", GAIN, "3 to 4 points", POINTS,
                 difference("baseline", "dual_adaptive", "accuracy", dataset))
            for title, dataset in (
                ("wildfaces", "manifest"),
                ("FER+ by camera", "camera/ferplus"),
                ("wildfaces by camera", "camera/manifest"),
            )
        ),
        *(
            Cell(f"accuracy lost under {stress}", "Dual-Adaptive's of the Baseline's", "about half", RATIO,
                 loss_ratio(corruption))
            for stress, (corruption, *_) in STRESS.items()
        ),
        *(
            Cell("fairness: largest gap in accuracy between groups", title, NO_FIGURE, POINTS, largest_gap(variant))
            for title, variant in (("Baseline", "baseline"), ("proposed", PROPOSED))
        ),
        Cell("throughput: Quantized over Light-FER", "on a CPU; the paper's on a Jetson Nano", 28 / 5.5, RATIO,
             Source(("engines_compared",), faster_than_light_fer)),
    ),
)  # fmt: skip
BEYOND = Section(
    "Beyond the paper",
    "What the paper has no figure for.",
    (
        Cell("accuracy: pruned by landmarks over pruned by magnitude", "Landmark-Compressed", NO_FIGURE, POINTS,
             Source(("criteria",), criterion)),
        Cell("persons named by the probabilities, which mode `strict` publishes", "proposed", NO_FIGURE, PERCENT,
             named(PROPOSED)),
        Cell("persons named by the network's embedding, which is not published", "proposed", NO_FIGURE, PERCENT,
             named(PROPOSED, "embedding")),
        Cell("accuracy of the surest 80% of the predictions, over all", "our default model", NO_FIGURE, POINTS,
             Source((f"domains_{DEFAULT}",), abstention)),
        Cell("images a second of a live graph", "our default model", NO_FIGURE, FPS, Source(("live",), live)),
        Cell("median latency with quality gate and audit log, over none", "Baseline", NO_FIGURE, PERCENT,
             Source(("overhead",), overhead)),
    ),
)  # fmt: skip
