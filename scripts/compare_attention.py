#!/usr/bin/env python3
"""Designs of attention side by side: the same start, images, recipe and budget, several seeds, on validation data.

    python scripts/compare_attention.py --baseline runs/baseline --data ferplus+fer2013:PATH --out out/attention

Each design continues the baseline's training for a short schedule, by the recipe of hybrid_attention.yaml, once for
each seed. The figure is macro-F1 on the validation split, its mean over the label sets; its difference from the same
network without attention has a 95% interval over images and seeds, both drawn with replacement and the same for both
(paired bootstrap). A run is validated once, at its end, so nothing is selected. Runs that are there already are not
trained again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import scores
from fer_perception.evaluation.results import RESAMPLES, Interval, Result, ResultFile, interval
from fer_training.datasets import Alignment, Samples, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.reporting.markdown import table
from fer_training.runs.config import TrainConfig, load_config
from fer_training.runs.folder import load_run
from fer_training.training.supervised import train

CONFIG = Path(__file__).parents[1] / "src/fer_training/configs/hybrid_attention.yaml"
NONE = "none"
HYBRID = ["network.options.attended_stages=[3,5]"]
DESIGNS = {
    NONE: ["network.options.attended_stages=[]", "attention_weight=0"],
    "maps after stages 3 and 5": HYBRID,
    "maps after stages 2 and 5": ["network.options.attended_stages=[2,5]"],
    "maps, coordinate attention in blocks": [*HYBRID, "network.options.block_attention=coordinate"],
    "maps, squeeze and excite in blocks": [*HYBRID, "network.options.block_attention=squeeze_excite"],
    "maps, efficient channel attention in blocks": [*HYBRID, "network.options.block_attention=efficient_channel"],
}

Predictions = npt.NDArray[np.int64]


class DesignResult(Result):
    """One design. ``macro_f1``: by seed. ``difference``: from the network without attention, None of that itself."""

    design: str
    parameters: int
    macro_f1: list[float]
    difference: float | None
    interval: Interval | None


class AttentionResult(ResultFile):
    """What this script writes."""

    written_by = "python scripts/compare_attention.py"
    data: str
    steps: int
    designs: list[DesignResult]


def compare(options: argparse.Namespace) -> AttentionResult:
    """Train what is not there, and compare.

    :raises FerError: baseline or data cannot be used.
    """
    predictions: dict[str, list[list[Predictions]]] = {}  # by design, seed and label set
    parameters = {}
    for seed in options.seeds:
        for number, (design, overrides) in enumerate(DESIGNS.items()):
            config = _config(options, f"design{number}_{seed}", [*overrides, f"seed={seed}"])
            network, _ = load_run(train(config), config)
            parameters[design] = sum(weights.numel() for weights in network.parameters())
            spec = config.input.spec()
            samples = load_dataset(options.data, "val", Alignment(FER2013_TEMPLATE, spec))
            sizes = [*map(len, samples.heads.values())]
            probabilities = predict(network, prepare_images(samples, spec), spec, heads=sizes)
            parts = np.split(probabilities, np.cumsum(sizes)[:-1], 1)
            predictions.setdefault(design, []).append([part.argmax(1) for part in parts])
    differences = bootstrap(samples, predictions)
    ones = np.ones(len(samples))
    found = {
        design: [macro_f1(samples, of_seed, ones) for of_seed in by_seed] for design, by_seed in predictions.items()
    }
    return AttentionResult(
        data=options.data.partition(":")[0],
        steps=options.steps,
        designs=[
            DesignResult(
                design=design,
                parameters=parameters[design],
                macro_f1=values,
                difference=None if design == NONE else float(np.mean(values) - np.mean(found[NONE])),
                interval=None if design == NONE else differences[design],
            )
            for design, values in found.items()
        ],
    )


def _config(options: argparse.Namespace, name: str, overrides: Sequence[str]) -> TrainConfig:
    common = [
        f"name={name}",
        f"out={options.out}",
        f"data={options.data}",
        f"pretrained={options.baseline}/best.safetensors",
        "epochs=1",  # so that no epoch is selected
        "warmup_epochs=0",
        f"steps_per_epoch={options.steps}",
        "ema_decay=0.99",  # few steps have to be enough for the average
        *options.override,
    ]
    return load_config(CONFIG, [*common, *overrides])


def bootstrap(samples: Samples, predictions: dict[str, list[list[Predictions]]]) -> dict[str, Interval]:
    """Of each design but none the interval of its difference, over images and seeds."""
    rng = np.random.default_rng(0)
    values: dict[str, list[float]] = {design: [] for design in predictions if design != NONE}
    seeds = len(predictions[NONE])
    for _ in range(RESAMPLES):
        weights = rng.multinomial(len(samples), np.full(len(samples), 1 / len(samples))).astype(float)
        drawn = rng.integers(0, seeds, seeds)
        means = {
            design: np.mean([macro_f1(samples, by_seed[seed], weights) for seed in drawn])
            for design, by_seed in predictions.items()
        }
        for design, of_design in values.items():
            of_design.append(float(means[design] - means[NONE]))
    return {design: interval(np.asarray(of_design)) for design, of_design in values.items()}


def macro_f1(samples: Samples, predictions: Sequence[Predictions], weights: npt.NDArray[np.float64]) -> float:
    """The mean over label sets, images counting by their weights.

    :param predictions: of each label set, (N,).
    """
    found, column = [], 0
    for labels, predicted in zip(samples.heads.values(), predictions, strict=True):
        targets = samples.distributions()[:, column : column + len(labels)]
        column += len(labels)
        has_label = targets.any(1)
        cells = targets.argmax(1)[has_label] * len(labels) + predicted[has_label]
        confusion = np.bincount(cells, weights[has_label], len(labels) ** 2).reshape(1, len(labels), len(labels))
        found.append(float(scores(confusion.astype(np.int64))["macro_f1"][0]))
    return float(np.mean(found))


def format_result(result: AttentionResult) -> str:
    """The table, in Markdown."""
    rows = []
    for design in result.designs:
        difference = ""
        if design.difference is not None and design.interval is not None:
            low, high = (f"{end * 100:+.1f}" for end in design.interval)
            difference = f"{design.difference * 100:+.1f} [{low}, {high}]"
        by_seed = ", ".join(f"{value * 100:.1f}" for value in design.macro_f1)
        mean = f"{np.mean(design.macro_f1) * 100:.1f}% ({by_seed})"
        rows.append((design.design, f"{design.parameters / 1e6:.2f} M", mean, difference))
    return "\n".join(table(("attention", "parameters", "macro-F1 (by seed)", "against none, points"), rows))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, required=True, help="run that all designs start from")
    parser.add_argument("--data", required=True, metavar="NAME:PATH", help="what the baseline was trained on")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=330, help="of each run (330)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--override", nargs="*", default=[], metavar="KEY=VALUE", help="of every run's configuration")
    options = parser.parse_args(arguments)
    try:
        result = compare(options)
    except (FerError, OSError) as error:
        sys.exit(f"compare_attention: {error}")
    print(format_result(result))
    if options.json:
        result.write(options.json)


if __name__ == "__main__":
    main()
