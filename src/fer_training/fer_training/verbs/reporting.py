"""The verb report."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_perception.errors import FerError
from fer_training.verbs import Run


def add_report(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``report``."""
    parser.description = (
        "Write a model card into every bundle (README.md), and a table and an image of all of them (results.md, "
        "accuracy.png), from their manifests alone: what is not recorded there is 'not measured'. With --measured also "
        "the paper's claims beside our own figures (claims.md)."
    )
    parser.epilog = (
        "example: python -m fer_training report --bundles src/fer_perception/models --measured docs/results/measured "
        "--out docs/results"
    )
    parser.add_argument("--bundles", type=Path, help="the folder that holds the bundles' folders")
    parser.add_argument("--out", type=Path, help="folder for what is written beside the model cards")
    parser.add_argument(
        "--speed", type=Path, metavar="FILE", help="result of fer_perception's benchmark engines: speed.md, speed.png"
    )
    parser.add_argument("--measured", type=Path, metavar="FOLDER", help="what --commands measured: claims.md")
    parser.add_argument(
        "--commands",
        action="store_true",
        help="instead print, as a bash script, the commands that fill --measured, without those that are done",
    )

    def run(arguments: argparse.Namespace) -> None:
        if arguments.commands:
            from fer_training.reporting.paper import measuring_script

            if not arguments.measured:
                raise FerError("--commands: which folder are they to fill? Give --measured FOLDER")
            print(measuring_script(arguments.measured), end="")
            return
        if not arguments.out or not (arguments.bundles or arguments.measured):
            raise FerError("give --out FOLDER, and --bundles FOLDER, --measured FOLDER or both")
        if arguments.speed and not arguments.bundles:
            raise FerError("--speed: give --bundles, too")
        files: list[Path] = []
        if arguments.bundles:
            from fer_training.reporting import report

            files += report(arguments.bundles, arguments.out, arguments.speed)
        if arguments.measured:
            from fer_training.reporting.paper import report_claims

            files += report_claims(arguments.measured, arguments.out)
        for file in files:
            print(file)

    return run
