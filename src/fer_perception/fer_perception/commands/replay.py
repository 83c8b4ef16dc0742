"""``replay``: how well and how fast the suite would have done on recorded bags. Needs no ROS.

Runs the pipeline on every image of the bags, as fast as the machine allows, and writes into the output folder:
emotions.parquet (a row per face), frames.parquet (a row per image, with durations), report.html and report.json,
and bags/ with a copy of each bag that holds the predictions. An interrupted run goes on when it is started again.

With --predictions it runs nothing: it evaluates what was recorded while a live pipeline saw the bag's images.

With --compare it sets the results of two runs on the same bags against each other: compare.html, compare.json.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from dataclasses import fields
from pathlib import Path

from fer_perception.commands.number_arguments import positive
from fer_perception.commands.replay_options import (
    PIPELINE,
    add_output,
    add_pipeline,
    add_selection,
    refuse_pipeline,
    require_viewer,
    selection_of,
)
from fer_perception.commands.settings_options import add_settings, values_from
from fer_perception.replay.comparison import compare, format_comparison
from fer_perception.replay.evaluate_bags import Options, evaluate_bags, evaluate_recording
from fer_perception.replay.recorded import PREDICTIONS_TOPIC
from fer_perception.replay.results import Measures, ReplayReport, copy_notes, stream_notes
from fer_perception.settings import ReplaySettings


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  replay bags/kitchen\n  replay bags/* --model my_bundle --jobs 4 --out out/new\n"
        "  replay bags/kitchen --labels kitchen.csv --from 10 --to 60\n"
        "  replay bags/kitchen --predictions recording\n"
        "  replay bags/kitchen --rrd kitchen.rrd   (then: rerun kitchen.rrd)\n"
        "  replay --compare out/old out/new --out out/compare",
    )
    parser.add_argument("bags", nargs="*", type=Path, metavar="BAG", help="a bag's folder")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="output folders of two runs")
    parser.add_argument(
        "--predictions", type=Path, metavar="RECORDING", help="a bag with the predictions of a live pipeline"
    )
    parser.add_argument(
        "--predictions-topic",
        default=PREDICTIONS_TOPIC,
        help=f"fer_msgs/EmotionArray in the recording ({PREDICTIONS_TOPIC})",
    )
    what = add_selection(parser)
    what.add_argument("--every", type=positive, default=1, metavar="N", help="only every N-th image")
    pipeline = add_pipeline(parser)
    add_settings(pipeline, ReplaySettings, ["one_face"])
    how = parser.add_argument_group("how")
    how.add_argument("--jobs", type=positive, default=1, metavar="N", help="so many processes, for several bags (1)")
    how.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster, instead of --jobs")
    add_output(parser, "out/replay")
    options = parser.parse_args(arguments)
    if bool(options.bags) == bool(options.compare):
        parser.error("give bags, or --compare with two output folders")
    if options.rrd and len(options.bags) != 1:
        parser.error("--rrd: a recording is of one bag")
    if options.predictions:
        refuse_pipeline(parser, options, "--predictions: the pipeline that made them")
        if len(options.bags) != 1:
            parser.error("--predictions: they are of one bag")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status is 1 where a bag could not be evaluated, or its copy not be written."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if options.compare:
        print(format_comparison(compare(tuple(options.compare), options.out, options.images, options.show_faces)))
        print(f"written: {options.out}/compare.html, {options.out}/compare.json")
        return 0
    options.command = shlex.join(["python", "-m", "fer_perception", "replay", *arguments])
    require_viewer(options)
    selection = selection_of(options, options.every)
    chosen = Options(**{field.name: getattr(options, field.name) for field in fields(Options)})
    if options.predictions:
        report = evaluate_recording(options.bags[0], options.predictions, options.out, selection, chosen)
    else:
        settings = ReplaySettings.model_validate(values_from(options, [*PIPELINE, "one_face"]))
        report = evaluate_bags(options.bags, options.out, settings, selection, chosen)
    print(format_report(report))
    print(f"written: {options.out}/report.html and the tables beside it" + (f", {options.rrd}" if options.rrd else ""))
    return 1 if report.failures or report.bags_not_written else 0


def format_report(report: ReplayReport) -> str:
    """The report in short, for a terminal."""
    lines = [f"{report.model.id}, {report.model.engine}"]
    lines += [_measures_line(f"{stream.bag} {stream.topic}", stream, stream.missing) for stream in report.streams]
    lines.append(_measures_line("all", report.all))
    for stream in report.streams:
        lines += [f"{stream.bag}: rejected, {n} times: {reason}" for reason, n in list(stream.rejected.items())[:5]]
        lines += [f"{stream.bag}: {note}" for note in stream_notes(stream)]
    lines += copy_notes(report)
    lines += [f"copy not written: {bag}: {reason}" for bag, reason in (report.bags_not_written or {}).items()]
    return "\n".join([*lines, *(f"not evaluated: {failure}" for failure in report.failures)])


def _measures_line(name: str, measures: Measures, missing: int = 0) -> str:
    counts = {"rejected": sum(measures.rejected.values()), "dropped": measures.dropped, "missing": missing}
    line = f"{name}: {measures.frames} frames, {measures.with_face} with a face"
    line += "".join(f", {count} {what}" for what, count in counts.items() if count)
    refused = ", ".join(f"{count} {reason}" for reason, count in measures.refused.items())
    line += f"; faces refused: {refused}" if refused else ""
    if measures.truth:
        line += f"; {measures.truth.labelled} labelled, coverage {measures.truth.coverage:.2%}"
        metrics = measures.truth.single.frames
        line += f", accuracy {metrics.accuracy:.2%}, macro-F1 {metrics.macro_f1:.2%}" if metrics else ""
    return line
