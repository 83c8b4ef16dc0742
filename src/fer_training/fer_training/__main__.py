"""The verbs of fer_training: ``python -m fer_training VERB``, or ``ros2 run fer_training VERB``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from fer_perception.bundle import MANIFEST, Precision
from fer_perception.errors import FerError
from fer_training.datasets import SPLITS


def add_train(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``train``."""
    parser.description = "Train a network, or go on with an interrupted run."
    parser.epilog = (
        "example: python -m fer_training train src/fer_training/configs/baseline.yaml data=fer2013:~/data/fer2013 "
        "epochs=30 network.options.width=0.5"
    )
    parser.add_argument("config", type=Path, help="YAML file, see src/fer_training/configs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the file")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.config import load_config
        from fer_training.train import train

        print(train(load_config(arguments.config, arguments.overrides)))

    return run


def add_evaluate(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``evaluate``."""
    parser.description = "Accuracy, macro-F1, AUROC and confusion matrix of a bundle or a training run."
    parser.epilog = (
        "example: python -m fer_training evaluate --model src/fer_perception/models/baseline "
        "--dataset fer2013:~/data/fer2013 --split test --json result.json"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a bundle or of a training run")
    parser.add_argument("--dataset", action="append", required=True, metavar="NAME:PATH", help="may be given again")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="of a bundle (default fp32)")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--record", action="store_true", help="write the metrics into the bundle's manifest")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluate import evaluate, format_result, record

        if arguments.record and not (arguments.model / MANIFEST).exists():
            raise FerError(f"--record: {arguments.model} is no bundle")
        result = evaluate(arguments.model, arguments.dataset, arguments.split, arguments.precision, arguments.threads)
        print(format_result(result))
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        if arguments.record:
            record(arguments.model, result)

    return run


def add_export(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``export``."""
    parser.description = "Make a model bundle from a training run."
    parser.epilog = "example: python -m fer_training export --run runs/baseline --out src/fer_perception/models"
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--out", type=Path, required=True, help="the bundle becomes the folder OUT/NAME")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.export import export

        print(export(arguments.run, arguments.out))

    return run


VERBS = {"train": add_train, "evaluate": add_evaluate, "export": add_export}


def main(arguments: list[str] | None = None) -> None:
    """Command line. A user's error ends in one line, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="fer_training", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, add in VERBS.items():
        subparser = verbs.add_parser(name)
        subparser.set_defaults(execute=add(subparser))
    parsed = parser.parse_args(arguments)
    try:
        parsed.execute(parsed)
    except (FerError, OSError) as error:
        sys.exit(f"{parsed.verb}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def train() -> None:
    """Entry point of ``ros2 run fer_training train``."""
    main(["train", *sys.argv[1:]])


def evaluate() -> None:
    """Entry point of ``ros2 run fer_training evaluate``."""
    main(["evaluate", *sys.argv[1:]])


def export() -> None:
    """Entry point of ``ros2 run fer_training export``."""
    main(["export", *sys.argv[1:]])


if __name__ == "__main__":
    main()
