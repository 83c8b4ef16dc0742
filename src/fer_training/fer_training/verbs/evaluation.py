"""Verbs that measure a model: evaluate, calibrate, stress, fairness, explain, identify."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from fer_perception.errors import FerError
from fer_perception.models.bundle import MANIFEST, Precision
from fer_training.datasets import SPLITS
from fer_training.verbs import Run


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    """How a bundle is run."""
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="of a bundle (fp32)")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime (1)")


def _add_dataset(parser: argparse.ArgumentParser, split: str = "test") -> None:
    """One split of a dataset."""
    parser.add_argument("--dataset", required=True, metavar="NAME:PATH")
    parser.add_argument("--split", choices=SPLITS, default=split, help=f"({split})")


def _add_output(parser: argparse.ArgumentParser, plots: str) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help=f"draw {plots}")


def add_evaluate(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``evaluate``."""
    parser.description = (
        "Accuracy, macro-F1, AUROC, calibration error, risk and coverage, and confusion matrix of a bundle or a "
        "training run, with 95% bootstrap intervals."
    )
    parser.epilog = (
        "example: python -m fer_training evaluate --model src/fer_perception/models/baseline "
        "--dataset fer2013:~/data/fer2013 --json result.json --plots out/baseline"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a bundle or of a training run")
    parser.add_argument("--dataset", action="append", required=True, metavar="NAME:PATH", help="may be given again")
    parser.add_argument("--split", choices=SPLITS, default="test", help="(test)")
    _add_bundle(parser)
    parser.add_argument("--flip", action="store_true", help="also with the mean over image and mirror image")
    parser.add_argument(
        "--without-duplicates-of",
        metavar="NAME:PATH",
        default="",
        help="also without the images that have a near-duplicate in this dataset's training split",
    )
    _add_output(parser, "confusion matrix, reliability diagram, and risk and coverage")
    parser.add_argument("--record", action="store_true", help="write the metrics into the bundle's manifest")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluation.evaluate import evaluate, format_result, record

        if arguments.record and not (arguments.model / MANIFEST).exists():
            raise FerError(f"--record: {arguments.model} is no bundle")
        result = evaluate(
            arguments.model,
            arguments.dataset,
            arguments.split,
            arguments.precision,
            arguments.threads,
            arguments.flip,
            arguments.without_duplicates_of,
        )
        print(format_result(result))
        if arguments.json:
            result.write(arguments.json)
        if arguments.plots:
            from fer_training.reporting.plots import plot_result

            print(*plot_result(result, arguments.plots), sep="\n")
        if arguments.record:
            record(arguments.model, result)

    return run


def add_calibrate(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``calibrate``."""
    parser.description = (
        "Fit a bundle's temperature, choose how much of the training data's prior balanced predictions take out (by "
        "macro-F1), and the thresholds below which it abstains (80% of the predictions are kept), on a dataset's "
        "validation split; write them into its manifest."
    )
    parser.epilog = (
        "example: python -m fer_training calibrate --bundle src/fer_perception/models/baseline "
        "--dataset fer2013:~/data/fer2013; then: evaluate --record"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--dataset", required=True, metavar="NAME:PATH", help="what the model was trained on")
    _add_bundle(parser)

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluation.calibration import calibrate, format_calibration

        found = calibrate(arguments.bundle, arguments.dataset, arguments.precision, arguments.threads)
        print(format_calibration(found))

    return run


def add_stress(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``stress``."""
    parser.description = "Accuracy of models under corruptions of the face at five severities, relative to a baseline."
    parser.epilog = (
        "example: python -m fer_training stress --baseline src/fer_perception/models/baseline --model "
        "src/fer_perception/models/hybrid_attention_lite0 --dataset ferplus:~/data/fer2013 --plots out/stress"
    )
    parser.add_argument(
        "--model", type=Path, action="append", required=True, help="folder of a bundle or run; may be given again"
    )
    parser.add_argument("--baseline", type=Path, metavar="MODEL", help="what to compare with (the first --model)")
    _add_dataset(parser)
    _add_bundle(parser)
    parser.add_argument("--corruptions", nargs="*", default=[], metavar="NAME", help="only these (all)")
    parser.add_argument("--images", type=int, default=0, help="so many, always the same (all)")
    _add_output(parser, "accuracy by severity, and a sheet of examples")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluation.robustness import evaluate_stress, format_stress

        result, samples = evaluate_stress(
            [*([arguments.baseline] if arguments.baseline else []), *arguments.model],
            arguments.dataset,
            arguments.split,
            arguments.corruptions,
            arguments.precision,
            arguments.threads,
            images=arguments.images,
        )
        print(format_stress(result))
        if arguments.json:
            result.write(arguments.json)
        if arguments.plots:
            from fer_training.evaluation.robustness.plots import plot_examples, plot_stress

            print(plot_stress(result, arguments.plots))
            print(plot_examples(result, samples, arguments.plots))

    return run


def add_fairness(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``fairness``."""
    parser.description = (
        "Accuracy, macro-F1, recall and equalized odds by group, for the groups that columns of a dataset name."
    )
    parser.epilog = (
        "example: python -m fer_training fairness --model src/fer_perception/models/baseline "
        "--dataset manifest:~/data/robot --columns age light --plots out/fairness"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a bundle or of a training run")
    _add_dataset(parser)
    parser.add_argument("--columns", nargs="+", required=True, metavar="COLUMN", help="whose groups are compared")
    _add_bundle(parser)
    _add_output(parser, "the groups of each column")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluation.fairness import evaluate_fairness, format_fairness

        result = evaluate_fairness(
            arguments.model,
            arguments.dataset,
            arguments.split,
            arguments.columns,
            arguments.precision,
            arguments.threads,
        )
        print(format_fairness(result))
        if arguments.json:
            result.write(arguments.json)
        if arguments.plots:
            from fer_training.evaluation.fairness_plots import plot_groups

            print(*plot_groups(result, arguments.plots), sep="\n")

    return run


def add_explain(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``explain``."""
    parser.description = (
        "Where a training run's network looks: how much of its attention lies on eyes, brows and mouth, and whether "
        "its maps can be believed (deletion, insertion, controls, randomised weights)."
    )
    parser.epilog = (
        "example: python -m fer_training explain --run src/fer_training/checkpoints/hybrid_attention_lite0 "
        "--dataset ferplus:~/data/fer2013 --out out/attention"
    )
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    _add_dataset(parser)
    parser.add_argument("--images", type=int, default=210, help="check on so many; 0: no checks (210)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for images and JSON")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluation.attention.explain import explain
        from fer_training.evaluation.attention.text import format_explanation

        result, files = explain(arguments.run, arguments.dataset, arguments.split, arguments.out, arguments.images)
        print(format_explanation(result))
        print(*files, sep="\n")

    return run


def add_identify(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``identify``."""
    parser.description = (
        "How well people can be told apart by what each privacy mode publishes, and by the network's embedding. An "
        "attacker knows half of each person's images by name and names the person in the others."
    )
    parser.epilog = (
        "example: python -m fer_training identify --bundle src/fer_perception/models/hybrid_attention_lite0 "
        "--manifest ~/data/wildfaces --plots out/identity"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument(
        "--manifest", type=Path, required=True, help="folder of a manifest whose file names are First_Last_0001.jpg"
    )
    parser.add_argument("--most", type=int, default=10, help="images of one person (10)")
    _add_output(parser, "the persons named rightly")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluation.identity import format_identity, measure_identity, plot_identity

        result = measure_identity(arguments.bundle, arguments.manifest.expanduser(), arguments.most)
        print(format_identity(result))
        if arguments.json:
            result.write(arguments.json)
        if arguments.plots:
            print(plot_identity(result, arguments.plots))

    return run
