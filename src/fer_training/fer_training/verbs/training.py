"""Verbs that make a run: train, adapt, prune, interpolate, and soft_targets for them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_training.verbs import Run

if TYPE_CHECKING:
    from fer_training.runs.config import TrainConfig


def take_config(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verbs that make a run."""
    parser.add_argument("config", type=Path, help="YAML file, see src/fer_training/configs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the file")


def config_of(arguments: argparse.Namespace) -> TrainConfig:
    """The configuration that :func:`take_config`'s arguments name."""
    from fer_training.runs.config import load_config

    return load_config(arguments.config, arguments.overrides)


def add_train(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``train``."""
    parser.description = "Train a network, or go on with an interrupted run."
    parser.epilog = (
        "example: python -m fer_training train src/fer_training/configs/baseline.yaml data=fer2013:~/data/fer2013 "
        "epochs=30 network.options.width=0.5"
    )
    take_config(parser)

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.supervised import train

        print(train(config_of(arguments)))

    return run


def add_adapt(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``adapt``."""
    parser.description = "Adapt a trained network to unlabelled images of another domain, or go on with that."
    parser.epilog = (
        "example: python -m fer_training adapt src/fer_training/configs/dual_adaptive.yaml "
        "data=ferplus+fer2013:~/data/fer2013 adaptation.start=runs/hybrid_attention "
        "'adaptation.targets=[manifest:~/data/robot]'"
    )
    take_config(parser)

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.domain_adaptation import adapt

        print(adapt(config_of(arguments)))

    return run


def add_prune(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``prune``."""
    parser.description = (
        "Remove the channels of a trained network that do least for its predictions, by default as seen in the regions "
        "of eyes, brows and mouth, and train what is left; or go on with that."
    )
    parser.epilog = (
        "example: python -m fer_training prune src/fer_training/configs/landmark_compressed.yaml "
        "data=ferplus+fer2013:~/data/fer2013 pruning.start=runs/dual_adaptive pruning.macs=0.35"
    )
    take_config(parser)
    parser.add_argument(
        "--compare",
        action="store_true",
        help="instead prune once by each criterion, fine-tune for pruning.step_epochs, and write a table",
    )

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.pruning import compare_criteria, prune

        work = compare_criteria if arguments.compare else prune
        print(work(config_of(arguments)))

    return run


def add_interpolate(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``interpolate``."""
    parser.description = (
        "Interpolate between the weights of a run and those of the run that it started from, or of another that "
        "started from that. Of two that learnt different label sets the new run has both."
    )
    parser.epilog = (
        "example: python -m fer_training interpolate --start runs/hybrid_attention_lite0_long "
        "--tuned runs/hybrid_attention_lite0_bad_light --data fer2013:~/data/fer2013 "
        "--out runs/hybrid_attention_lite0_robust"
    )
    parser.add_argument("--start", type=Path, required=True, help="run folder")
    parser.add_argument(
        "--tuned", type=Path, required=True, help="folder of a run that was trained on from it, or beside it"
    )
    parser.add_argument("--fraction", type=float, default=0.5, help="of the tuned weights (default 0.5)")
    parser.add_argument("--data", required=True, metavar="NAME:PATH", help="what the runs were trained on")
    parser.add_argument("--out", type=Path, required=True, help="the new run's folder")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.interpolation import interpolate

        print(interpolate(arguments.start, arguments.tuned, arguments.fraction, arguments.data, arguments.out))

    return run


def add_soft_targets(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``soft_targets``."""
    parser.description = (
        "Cache the predictions of an ensemble of runs or bundles, or the votes of FER+'s annotators, as soft targets "
        "for distillation."
    )
    parser.epilog = (
        "example: python -m fer_training soft_targets --model runs/a --model runs/b --data fer2013:~/data/fer2013 "
        "--out runs/teachers.safetensors; then: train CONFIG distillation.soft_targets=runs/teachers.safetensors"
    )
    teachers = parser.add_mutually_exclusive_group(required=True)
    teachers.add_argument("--model", type=Path, action="append", help="a run's or bundle's folder; may be given again")
    teachers.add_argument("--annotators", action="store_true", help="FER+'s votes on the images of fer2013")
    parser.add_argument("--data", required=True, metavar="NAME:PATH", help="the student's training data")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .safetensors file")
    parser.add_argument("--device", default="cpu", help="of runs: cpu (default) or cuda")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.soft_targets import soft_targets_of_annotators, soft_targets_of_models

        if arguments.annotators:
            fraction = soft_targets_of_annotators(arguments.data, arguments.out)
            print(f"{arguments.out}: the votes give {fraction:.1%} of the validation split's labels")
        else:
            soft_targets_of_models(arguments.model, arguments.data, arguments.out, arguments.device)

    return run
