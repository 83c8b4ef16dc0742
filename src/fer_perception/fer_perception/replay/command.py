"""``replay``: how well and how fast the suite would have done on recorded bags. Needs no ROS.

Runs the pipeline on every image of the bags, as fast as the machine allows, and writes into the output folder:
emotions.parquet (a row per face), frames.parquet (a row per image, with durations), report.html and report.json,
and bags/ with a copy of each bag that holds the answers. An interrupted run goes on when it is started again.

With --compare it sets the results of two runs on the same bags against each other: compare.html, compare.json.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from fer_perception.backends import Backend, PrecisionChoice
from fer_perception.errors import FerError
from fer_perception.replay.arguments import number, positive
from fer_perception.replay.bags import Selection
from fer_perception.replay.comparison import compare, format_comparison
from fer_perception.replay.evaluate_bags import Options, evaluate_bags
from fer_perception.replay.ground_truth import LABEL_TOPIC
from fer_perception.replay.offline import Settings
from fer_perception.resources import resolve_model


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  replay bags/kitchen\n  replay bags/* --model my_bundle --jobs 4 --out out/new\n"
        "  replay bags/kitchen --labels kitchen.csv --from 10 --to 60\n"
        "  replay --compare out/old out/new --out out/compare",
    )
    parser.add_argument("bags", nargs="*", type=Path, metavar="BAG", help="a bag's folder")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="output folders of two runs")
    parser.add_argument("--out", type=Path, default=Path("out/replay"), help="output folder (out/replay)")
    what = parser.add_argument_group("what")
    what.add_argument("--topic", action="append", default=[], help="image topic; may be given again (the only one)")
    what.add_argument(
        "--from", dest="start_s", type=float, default=0.0, metavar="S", help="seconds after the bag's start"
    )
    what.add_argument("--to", dest="end_s", type=float, default=float("inf"), metavar="S", help="likewise, exclusive")
    what.add_argument("--every", type=positive, default=1, metavar="N", help="only every N-th image")
    what.add_argument("--labels", action="append", type=Path, default=[], help=".csv or .eaf; may be given again")
    what.add_argument("--label-topic", default=LABEL_TOPIC, help=f"labels in the bag ({LABEL_TOPIC})")
    pipeline = parser.add_argument_group("pipeline; the same names as fer_node's parameters")
    pipeline.add_argument("--model", default="", help="bundle: a folder or the name of a shipped one")
    pipeline.add_argument("--precision", choices=get_args(PrecisionChoice), default="auto")
    pipeline.add_argument("--backend", choices=get_args(Backend), default="auto")
    pipeline.add_argument("--min-confidence", type=number(0.3, 1), default=Settings.min_confidence)
    pipeline.add_argument("--max-faces", type=positive, default=Settings.max_faces)
    pipeline.add_argument("--max-lost-s", type=number(0, 60), default=Settings.max_lost_s)
    pipeline.add_argument("--smoothing-s", type=number(0, 60), default=Settings.smoothing_s)
    pipeline.add_argument(
        "--one-face", action="store_true", help="every image shows one face: less sure ones count, as in fer_training"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--jobs", type=positive, default=1, metavar="N", help="so many processes, for several bags (1)")
    how.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster, instead of --jobs")
    how.add_argument("--csv", action="store_true", help="write emotions.csv, too")
    how.add_argument("--no-bag", dest="write_bags", action="store_false", help="write no bags")
    how.add_argument("--no-images", dest="images", action="store_false", help="no picture in reports and bags")
    how.add_argument("--show-faces", action="store_true", help="do not blur the faces in reports")
    options = parser.parse_args(arguments)
    if bool(options.bags) == bool(options.compare):
        parser.error("give bags, or --compare with two output folders")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status is 1 where a bag could not be evaluated."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if options.compare:
        print(format_comparison(compare(tuple(options.compare), options.out, options.images, options.show_faces)))
        print(f"written: {options.out}/compare.html, {options.out}/compare.json")
        return 0
    if not 0 <= options.start_s < options.end_s:
        raise FerError(f"--from {options.start_s:g} --to {options.end_s:g}: no time lies between them")
    options.model = str(resolve_model(options.model))
    options.command = shlex.join(["python", "-m", "fer_perception", "replay", *arguments])
    report = evaluate_bags(
        options.bags,
        options.out,
        Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)}),
        Selection(options.start_s, options.end_s, options.every),
        Options(**{field.name: getattr(options, field.name) for field in fields(Options)}),
    )
    print(format_report(report))
    print(f"written: {options.out}/report.html and the tables beside it")
    return 1 if report["failures"] else 0


def format_report(report: dict[str, Any]) -> str:
    """The report in short, for a terminal."""
    lines = [f"{report['model']['id']}, {report['model']['engine']}"]
    for stream in [*report["streams"], {"bag": "all", "topic": "", **report["all"]}]:
        rejected = sum(stream["rejected"].values())
        line = f"{stream['bag']} {stream['topic']}: {stream['frames']} frames, {stream['with_face']} with a face"
        line += f", {rejected} rejected" if rejected else ""
        line += f", {stream['missing']} missing" if stream.get("missing") else ""
        truth = stream["truth"]
        if truth:
            line += f"; {truth['labelled']} labelled, coverage {truth['coverage']:.2%}"
            if truth["single"]["frames"]:
                values = truth["single"]["frames"]
                line += f", accuracy {values['accuracy']:.2%}, macro-F1 {values['macro_f1']:.2%}"
        lines.append(line)
    lines += [f"rejected, {count} times: {reason}" for reason, count in list(report["all"]["rejected"].items())[:5]]
    lines += [f"not evaluated: {failure}" for failure in report["failures"]]
    return "\n".join(lines)
