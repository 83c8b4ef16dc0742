#!/usr/bin/env python3
r"""Add group columns to a manifest that can be measured on the pictures, so that nobody has to guess about people.

    python scripts/group_photographs.py ~/data/wildfaces --out ~/data/wildfaces_groups
    python -m fer_training evaluate --model src/fer_perception/models/baseline \
        --dataset manifest:$HOME/data/wildfaces_groups --split test --groups photograph resolution

``photograph`` is ``grey`` where red, green and blue are the same in every pixel, else ``colour``; ``resolution`` says
whether the shorter side has at least --pixels. In wildfaces the grey ones are press photographs, the others mostly film
stills. ``subject`` is a hash of the file's name without its number, which in wildfaces tells the person, so that no
person is in two splits. Pictures are not copied: the new folder's CSV and its link ``images`` point to them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import sys
from pathlib import Path

from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.types import UInt8Image
from fer_training.datasets.manifest import COLUMNS, DEFAULT_FILE
from fer_training.datasets.photographs import read_picture
from fer_training.datasets.samples import DatasetError

ADDED = ("photograph", "resolution", "subject")


def groups_of(picture: UInt8Image, name: str, pixels: int) -> dict[str, str]:
    """The added columns of one picture.

    :param picture: uint8, (H, W, 3), RGB.
    """
    is_grey = bool((picture == picture[..., :1]).all())
    person = re.sub(r"_?\d+$", "", Path(name).stem)
    return {
        "photograph": "grey" if is_grey else "colour",
        "resolution": f"{pixels} and more" if min(picture.shape[:2]) >= pixels else f"under {pixels}",
        "subject": hashlib.sha256(person.encode()).hexdigest()[:12],
    }


def write_manifest(source: Path, out: Path, pixels: int, labelled: bool, left_out: list[str]) -> dict[str, int]:
    """Write the folder with the new manifest; returns how many pictures are in each pair of groups.

    :param labelled: make the split ``adapt`` the split ``train``, to train with its labels.
    :param left_out: emotions, as the manifest spells them, whose rows are left out.
    :raises FerError: the manifest or a picture cannot be used, or the folder exists.
    """
    file, pictures = source / DEFAULT_FILE, source / "images"
    if out.exists():
        raise FerError(f"{out}: exists. Delete it, or give another folder")
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("emotion") not in left_out]
    except OSError as error:
        raise FerError(f"{file}: cannot be read ({error.strerror}). Give the folder of a manifest") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise DatasetError(f"{file}: needs the columns {', '.join(COLUMNS)} and a row that is not left out")
    counts: dict[str, int] = {}
    for number, row in enumerate(tqdm(rows, unit="picture", mininterval=1.0), 2):
        picture = read_picture(pictures / row["image"], f"{file}, row {number}")
        added = groups_of(picture, row["image"], pixels)
        row.update(added)
        if labelled and row["split"] == "adapt":
            row["split"] = "train"
        key = f"{added['photograph']}, {added['resolution']}"
        counts[key] = counts.get(key, 0) + 1
    out.mkdir(parents=True)
    (out / "images").symlink_to(pictures.resolve())
    with open(out / DEFAULT_FILE, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, *ADDED], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return counts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="folder with labels.csv and images")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--pixels", type=int, default=200, help="between low and high resolution (default 200)")
    parser.add_argument(
        "--labelled", action="store_true", help="the split adapt becomes train, to train with its labels"
    )
    parser.add_argument("--leave-out", action="append", default=[], metavar="EMOTION", help="leave out such pictures")
    options = parser.parse_args()
    try:
        counts = write_manifest(
            options.manifest.expanduser(), options.out, options.pixels, options.labelled, options.leave_out
        )
    except FerError as error:
        sys.exit(f"group_photographs: {error}")
    for key, count in sorted(counts.items()):
        print(f"{key}: {count}")


if __name__ == "__main__":
    main()
