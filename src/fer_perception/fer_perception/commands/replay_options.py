"""What the command lines of ``replay`` and ``live_replay`` share."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from fer_perception.commands.settings_options import add_settings, option
from fer_perception.errors import FerError
from fer_perception.replay.bags import Selection
from fer_perception.replay.ground_truth import LABEL_TOPIC
from fer_perception.settings import ReplaySettings

# The settings that decide about the predictions.
PIPELINE = (
    *(
        "model",
        "precision",
        "backend",
        "prior",
        "image_bits",
        "min_confidence",
        "max_faces",
        "max_lost_s",
        "smoothing_s",
    ),
    *("min_face_px", "min_sharpness", "max_yaw_deg", "abstain_below"),
)


def add_selection(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Topics, times and labels."""
    what = parser.add_argument_group("what")
    what.add_argument("--topic", action="append", default=[], help="image topic (the only one)")
    what.add_argument(
        "--from", dest="start_s", type=float, default=0.0, metavar="S", help="seconds after the bag's start"
    )
    what.add_argument("--to", dest="end_s", type=float, default=float("inf"), metavar="S", help="likewise, exclusive")
    what.add_argument("--labels", action="append", type=Path, default=[], help=".csv or .eaf")
    what.add_argument("--label-topic", default=LABEL_TOPIC, help=f"labels in the bag ({LABEL_TOPIC})")
    return what


def add_pipeline(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The pipeline's settings: ``PIPELINE``."""
    pipeline = parser.add_argument_group("pipeline; the same names as fer_node's parameters")
    add_settings(pipeline, ReplaySettings, PIPELINE)
    return pipeline


def add_output(parser: argparse.ArgumentParser, folder: str) -> argparse._ArgumentGroup:
    """Where and what to write."""
    parser.add_argument("--out", type=Path, default=Path(folder), help=f"output folder ({folder})")
    output = parser.add_argument_group("output")
    output.add_argument("--csv", action="store_true", help="write emotions.csv, too")
    output.add_argument("--no-bag", dest="write_bags", action="store_false", help="write no bags")
    output.add_argument("--no-images", dest="images", action="store_false", help="no images in reports and bags")
    output.add_argument("--rrd", type=Path, metavar="FILE", help="also a recording that 'rerun FILE' shows, of one bag")
    output.add_argument("--show-faces", action="store_true", help="do not redact the faces in reports and recordings")
    return output


def selection_of(options: argparse.Namespace, every: int = 1) -> Selection:
    """The frames that the options choose.

    :raises FerError: --from is negative, or no time lies between --from and --to.
    """
    if not options.start_s >= 0:
        raise FerError(f"--from {options.start_s:g}: must be 0 or more, as it counts from the bag's start")
    if not options.start_s < options.end_s:
        raise FerError(f"--from {options.start_s:g} --to {options.end_s:g}: no time lies between them")
    return Selection(options.start_s, options.end_s, every)


def refuse_pipeline(parser: argparse.ArgumentParser, options: argparse.Namespace, because: str) -> None:
    """End where settings are given for a pipeline that has its own."""
    given = [option(name) for name in PIPELINE if getattr(options, name) != parser.get_default(name)]
    if given:
        parser.error(f"{', '.join(given)}: {because} has its own settings")


def require_viewer(options: argparse.Namespace) -> None:
    """Import what ``--rrd`` needs before the work begins.

    :raises ModuleNotFoundError: it is not installed.
    """
    if options.rrd:
        import_module("fer_perception.replay.report.rerun_file")
