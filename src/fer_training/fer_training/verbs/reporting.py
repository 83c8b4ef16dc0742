"""The verb report."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_perception.errors import FerError
from fer_training.verbs import Run

MEASURED = Path("docs/results/measured")


def add_report(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``report``."""
    parser.description = (
        "Write a model card into every bundle (README.md), and a table and an image of all of them (results.md, "
        "accuracy.png), from their manifests alone: what is not recorded there is 'not measured'. With --claims also "
        "the paper's tables and figures beside our own (claims.md)."
    )
    parser.epilog = (
        "example: python -m fer_training report --bundles src/fer_perception/models --claims --out docs/results"
    )
    parser.add_argument("--bundles", type=Path, help="the folder that holds the bundles' folders")
    parser.add_argument("--out", type=Path, help="folder for what is written beside the model cards")
    parser.add_argument(
        "--speed", type=Path, metavar="FILE", help="result of fer_perception's benchmark engines: speed.md, speed.png"
    )
    parser.add_argument(
        "--claims",
        type=Path,
        metavar="FOLDER",
        nargs="?",
        const=MEASURED,
        help=f"the paper's claims, from what --commands measured into FOLDER ({MEASURED}): claims.md and its figures",
    )
    parser.add_argument(
        "--commands",
        action="store_true",
        help="instead print, as a bash script, the commands that fill --claims, without those that are done",
    )

    def run(arguments: argparse.Namespace) -> None:
        if arguments.commands:
            from fer_training.reporting.paper import measuring_script

            if not arguments.claims:
                raise FerError("--commands: which folder are they to fill? Give --claims")
            print(measuring_script(arguments.claims), end="")
            return
        if not arguments.out or not (arguments.bundles or arguments.claims):
            raise FerError("give --out FOLDER, and --bundles FOLDER, --claims or both")
        if arguments.speed and not arguments.bundles:
            raise FerError("--speed: give --bundles, too")
        files: list[Path] = []
        if arguments.bundles:
            from fer_training.reporting import report

            files += report(arguments.bundles, arguments.out, arguments.speed)
        if arguments.claims:
            from fer_training.reporting.paper import report_claims

            files += report_claims(arguments.claims, arguments.out)
        for file in files:
            print(file)

    return run
