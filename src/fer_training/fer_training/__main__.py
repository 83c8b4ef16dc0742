"""The verbs of fer_training: ``python -m fer_training VERB``, or ``ros2 run fer_training VERB``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from fer_perception.errors import FerError, missing_package
from fer_training.verbs import datasets, evaluation, export, reporting, training

VERBS = {
    "train": (training.add_train, "train a network"),
    "soft_targets": (
        training.add_soft_targets,
        "cache the predictions of an ensemble, or FER+'s votes, for distillation",
    ),
    "adapt": (training.add_adapt, "adapt a network to another domain without its labels"),
    "interpolate": (training.add_interpolate, "mix the weights of two training runs"),
    "prune": (training.add_prune, "remove channels, guided by the facial landmarks, and train on"),
    "export": (export.add_export, "write a bundle from a training run"),
    "quantize": (export.add_quantize, "add FP16 and INT8 files to a bundle"),
    "calibrate": (evaluation.add_calibrate, "choose temperature and abstention threshold on validation data"),
    "evaluate": (evaluation.add_evaluate, "accuracy, macro-F1, AUROC and calibration on a dataset"),
    "stress": (evaluation.add_stress, "accuracy under occlusion, bad light, blur, noise and turns"),
    "fairness": (evaluation.add_fairness, "accuracy by groups of images"),
    "explain": (evaluation.add_explain, "attention maps, and tests whether they can be trusted"),
    "identify": (evaluation.add_identify, "measure how well a person is recognised by what the nodes publish"),
    "group": (datasets.add_group, "add columns of groups, measured on the images, to a manifest"),
    "quality": (datasets.add_quality, "measure what the quality gate measures on images"),
    "sequences": (datasets.add_sequences, "CK+'s sequences as bags, for what replay measures over time"),
    "report": (reporting.add_report, "model cards, tables of results and speed, the paper's claims"),
}


def main(arguments: list[str] | None = None) -> None:
    """Command line. A user's error ends in one line, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="fer_training", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (add, purpose) in VERBS.items():
        subparser = verbs.add_parser(name, help=purpose)
        subparser.set_defaults(execute=add(subparser))
    parsed = parser.parse_args(arguments)
    try:
        parsed.execute(parsed)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fer_"):
            raise
        sys.exit(f"{parsed.verb}: {missing_package(error)}")
    except (FerError, OSError) as error:
        sys.exit(f"{parsed.verb}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def executable() -> None:
    """Entry point of all that ``ros2 run fer_training`` starts; the started file's name is the verb."""
    main([Path(sys.argv[0]).name, *sys.argv[1:]])


if __name__ == "__main__":
    main()
