"""``make_bag``: a rosbag of a video, of images, or of labelled images, for tests and for who has no robot yet.

The source is a video; an image or a folder of images; a folder with one folder of images per emotion
(``happy/*.jpg``); or a CSV with the columns image and emotion (paths begin at the CSV, or at ``images`` beside it).
Labels become std_msgs/String on /ground_truth, where ``replay`` finds them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from fer_perception.commands.number_arguments import number, positive
from fer_perception.errors import ImageError, LabelsError
from fer_perception.files import room_in
from fer_perception.images.class_folders import images_of_classes
from fer_perception.images.decoding import read_image
from fer_perception.images.manifest import labelled_images
from fer_perception.images.sources import DEFAULT_FPS, Source, open_source
from fer_perception.images.visibility import SensorRange
from fer_perception.replay.bags import Bag
from fer_perception.replay.ground_truth import Labels, check_labels, read_labels
from fer_perception.replay.storage.new_bag import TOPIC, Encoding, Item, write_bag

log = logging.getLogger(__name__)


def open_items(
    source: str, hold: int, fps: float, split: str = "", labels: Path | None = None
) -> tuple[float, Iterator[Item]]:
    """The images of a source, labelled where it says how, and how many there are per second.

    :param hold: every image gives so many images.
    :param fps: 0: a video's own times, 30 for images.
    :param split: of a CSV with a column ``split`` only these rows.
    :param labels: of the source's times or images, see :func:`~fer_perception.replay.ground_truth.read_labels`.
    :raises FerError: the source or the labels cannot be used.
    """
    found = _labelled_images(Path(source).expanduser(), split)
    if found:
        if labels:
            raise LabelsError(f"{labels}: {source} has labels of its own")
        return fps or DEFAULT_FPS, _held(found, hold)
    opened = open_source(source, fps, hold / (fps or DEFAULT_FPS))
    if labels is None:
        return opened.fps, (Item(image, time_s=time_s) for image, time_s in opened.timed())
    known = read_labels(labels)
    for note in known.notes:
        log.warning("%s", note)
    return opened.fps, _labelled(opened, known, labels)


def _labelled_images(source: Path, split: str) -> list[tuple[Path, str]]:
    """The images of a CSV or of folders called like emotions; empty where the source is something else."""
    if source.suffix.lower() == ".csv":
        return labelled_images(source, split)
    return images_of_classes(source) if source.is_dir() else []


def _held(found: list[tuple[Path, str]], hold: int) -> Iterator[Item]:
    sensor = SensorRange()
    for file, label in found:
        try:
            image = read_image(file, sensor)
        except ImageError as error:
            log.warning("left out: %s", error)
            continue
        for repeat in range(hold):
            yield Item(image, label, repeat == 0)


def _labelled(source: Source, labels: Labels, file: Path) -> Iterator[Item]:
    """The images with their labels.

    :raises LabelsError: behind the last image, where the labels are not of this source.
    """
    empty, frames = set(labels.intervals), set(labels.frames)
    index, time_s = -1, 0.0
    for index, (image, time_s) in enumerate(source.timed()):
        time_ns = round(time_s * 1e9)
        shown = next((i for i in labels.intervals if i.start_ns <= time_ns < i.end_ns), None)
        empty.discard(shown)
        frames.discard(index)
        yield Item(image, shown.label if shown else labels.frames.get(index, ""), time_s=time_s)
    check_labels(labels, file, time_s, index + 1)
    if empty:
        log.warning("%s: %d of %d labelled intervals hold no image", file, len(empty), len(labels.intervals))
    if frames:
        log.warning("%s: %d of %d labelled frames are not there", file, len(frames), len(labels.frames))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make_bag",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  make_bag film.mp4 --labels film.csv --out bags/film\n"
        "  make_bag dataset/labels.csv --split test --limit 300 --out bags/dataset\n"
        "  make_bag images/ --hold 30 --encoding jpeg --out bags/images",
    )
    parser.add_argument("source", help="video, image, folder of images, folder of folders called like emotions, CSV")
    parser.add_argument("--out", type=Path, required=True, help="the new bag's folder")
    parser.add_argument("--labels", type=Path, help="of a video: a table (start_s, end_s, label) or ELAN's .eaf")
    parser.add_argument(
        "--split", default="", help="of a CSV with a column split: only these rows, as train, val or test"
    )
    parser.add_argument("--hold", type=positive, default=1, metavar="K", help="every image for K images (1)")
    parser.add_argument(
        "--fps", type=number(0.001, 1000), default=0.0, help="images per second (a video's own times; 30)"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N images")
    parser.add_argument("--encoding", choices=get_args(Encoding), default="raw", help="of the images (raw)")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="of the bag (mcap)")
    parser.add_argument("--topic", default=TOPIC, help=f"of the images ({TOPIC}); jpeg and png on TOPIC/compressed")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = parse_arguments(arguments)
    fps, items = open_items(options.source, options.hold, options.fps, options.split, options.labels)
    shown = tqdm(islice(items, options.limit), desc=options.out.name, unit="image", mininterval=1.0)
    with room_in(options.out, "choose another --out, or --encoding jpeg"):
        count = write_bag(shown, options.out, fps, options.encoding, options.topic, options.storage)
    with Bag(options.out) as bag:
        print(f"{options.out}: {count} images, {(bag.end_ns - bag.start_ns) * 1e-9:.1f} s")
    return 0
