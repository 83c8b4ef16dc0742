"""The verbs of fer_training: ``python -m fer_training VERB``, or ``ros2 run fer_training VERB``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from fer_perception.errors import FerError
from fer_training.verbs import datasets, evaluation, export, reporting, training

VERBS = {
    "train": training.add_train,
    "soft_targets": training.add_soft_targets,
    "adapt": training.add_adapt,
    "interpolate": training.add_interpolate,
    "prune": training.add_prune,
    "export": export.add_export,
    "quantize": export.add_quantize,
    "calibrate": evaluation.add_calibrate,
    "evaluate": evaluation.add_evaluate,
    "stress": evaluation.add_stress,
    "fairness": evaluation.add_fairness,
    "explain": evaluation.add_explain,
    "identify": evaluation.add_identify,
    "group": datasets.add_group,
    "quality": datasets.add_quality,
    "report": reporting.add_report,
}


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


def executable() -> None:
    """Entry point of all that ``ros2 run fer_training`` starts; the started file's name is the verb."""
    main([Path(sys.argv[0]).name, *sys.argv[1:]])


if __name__ == "__main__":
    main()
