"""Groups that can be measured on the images themselves, for the verb ``group``.

``photograph`` is ``grey`` where red, green and blue are the same in every pixel, else ``colour``; ``resolution`` says
whether the shorter side has at least so many pixels. In wildfaces the grey ones are press photographs, the others
mostly film stills. ``subject`` is a hash of the file's name without its number, which in wildfaces tells the person, so
that no person is in two splits.
"""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path

from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.splits import split_named
from fer_perception.types import UInt8Image
from fer_training.datasets.files.tables import read_table
from fer_training.datasets.manifest import COLUMNS, DEFAULT_FILE
from fer_training.datasets.photographs import read_image
from fer_training.datasets.samples import DatasetError

ADDED = ("photograph", "resolution", "subject")


def groups_of(image: UInt8Image, name: str, pixels: int) -> dict[str, str]:
    """The added columns of one image.

    :param image: uint8, (H, W, 3), RGB.
    """
    is_grey = bool((image == image[..., :1]).all())
    person = re.sub(r"_?\d+$", "", Path(name).stem)
    return {
        "photograph": "grey" if is_grey else "colour",
        "resolution": f"{pixels} and more" if min(image.shape[:2]) >= pixels else f"under {pixels}",
        "subject": hashlib.sha256(person.encode()).hexdigest()[:12],
    }


def write_grouped_manifest(source: Path, out: Path, pixels: int, labelled: bool, left_out: list[str]) -> dict[str, int]:
    """Write the folder with the new manifest; returns how many images are in each pair of groups.

    Images are not copied: the new folder's link ``images`` points to them.

    :param labelled: make the split ``adapt`` the split ``train``, to train with its labels.
    :param left_out: emotions, as the manifest spells them, whose rows are left out.
    :raises FerError: the manifest or an image cannot be used, or the folder exists.
    """
    file, images = source / DEFAULT_FILE, source / "images"
    if out.exists():
        raise FerError(f"{out}: exists. Delete it, or give another folder")
    named = read_table(file, COLUMNS, "Give the folder of a manifest")
    rows = [(where, row) for where, row in named if row["emotion"] not in left_out]
    if not rows:
        raise DatasetError(f"{file}: needs a row that is not left out")
    counts: dict[str, int] = {}
    for where, row in tqdm(rows, unit="image", mininterval=1.0):
        name = row["image"] or ""
        added = groups_of(read_image(images / name, where), name, pixels)
        row.update(added)
        if labelled and split_named(row["split"]) == "adapt":
            row["split"] = "train"
        key = f"{added['photograph']}, {added['resolution']}"
        counts[key] = counts.get(key, 0) + 1
    out.mkdir(parents=True)
    (out / "images").symlink_to(images.resolve())
    with open(out / DEFAULT_FILE, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, *ADDED], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for _, row in rows)
    return counts
