"""Verbs about images: group, quality, sequences."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_training.verbs import Run


def add_group(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``group``."""
    parser.description = (
        "Add columns of groups to a manifest that can be measured on the images, so that nobody has to guess about "
        "people: photograph (grey or colour), resolution, and subject (a hash of the file's name without its number)."
    )
    parser.epilog = (
        "example: python -m fer_training group --manifest ~/data/wildfaces --out ~/data/wildfaces_groups; then: "
        "fairness --dataset manifest:~/data/wildfaces_groups --columns photograph resolution"
    )
    parser.add_argument("--manifest", type=Path, required=True, help="folder with labels.csv and images")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--pixels", type=int, default=200, help="between low and high resolution (200)")
    parser.add_argument("--labelled", action="store_true", help="the split adapt becomes train, to train with labels")
    parser.add_argument("--leave-out", action="append", default=[], metavar="EMOTION", help="leave out such images")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.datasets.grouping import write_grouped_manifest

        counts = write_grouped_manifest(
            arguments.manifest.expanduser(), arguments.out, arguments.pixels, arguments.labelled, arguments.leave_out
        )
        for key, count in sorted(counts.items()):
            print(f"{key}: {count}")

    return run


def add_quality(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``quality``."""
    parser.description = (
        "What the quality gate measures on images of one person each, to choose its limits by: face size, sharpness, "
        "yaw (also against that of MediaPipe's mesh)."
    )
    parser.epilog = "example: python -m fer_training quality --images ~/data/wildfaces/images --count 500"
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=500, help="so many, drawn by chance (500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.datasets.quality import measure_quality

        result = measure_quality(arguments.images.expanduser(), arguments.count)
        print(result.model_dump_json(indent=2))
        if arguments.json:
            result.write(arguments.json)

    return run


def add_sequences(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``sequences``."""
    parser.description = (
        "A bag of each labelled sequence of CK+, from the neutral face to the peak of an emotion, on which replay "
        "measures how soon the emotion is predicted and how often predictions flicker."
    )
    parser.epilog = (
        "example: python -m fer_training sequences --ckplus ~/data/CK+ --out bags/ckplus; then: "
        "python -m fer_perception replay bags/ckplus/* --one-face --no-bag --out out/ckplus"
    )
    parser.add_argument("--ckplus", type=Path, required=True, metavar="FOLDER", help="with cohn-kanade-images, Emotion")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets a bag for each sequence")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.datasets.derived.sequences import write_sequences

        print(f"{arguments.out}: {write_sequences(arguments.ckplus.expanduser(), arguments.out)} sequences")

    return run
