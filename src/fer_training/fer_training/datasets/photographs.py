"""From a list of photographs to samples: reading the files, finding and aligning the faces."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from fer_perception.errors import ImageError
from fer_perception.faces.single_face import Region, cut
from fer_perception.images import decoding
from fer_perception.preprocessing.alignment import AlignmentTemplate, align
from fer_perception.preprocessing.normalization import InputSpec, prepare_crop
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets.keypoints import KeyPoints
from fer_training.datasets.samples import DatasetError, Samples, Split
from fer_training.datasets.splits import held_out

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alignment:
    """How faces are cut out of photographs: where a network wants eyes and mouth, and its colour and size."""

    template: AlignmentTemplate
    spec: InputSpec

    def in_colour(self) -> Alignment:
        """The same cut, in colour."""
        spec = self.spec.model_copy(update={"color": "rgb", "mean": [0.5] * 3, "std": [0.25] * 3})
        return Alignment(self.template, spec)


@dataclass(frozen=True)
class Photograph:
    """A labelled image file.

    ``where``: file and row that name it, for errors. ``box``: where its annotation has the face. ``is_crop``: the
    file is a face that was cut out and aligned already. ``soft``: the soft targets over all labels.
    """

    file: Path
    target: int
    where: str
    box: Region | None = None
    is_crop: bool = False
    soft: tuple[float, ...] | None = None
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What must not be in two splits: the person where it is known, else the image."""
        return self.groups.get("subject") or f"{self.file.parent.name}/{self.file.name}"


@dataclass(frozen=True)
class Listing:
    """The photographs of one split, before any of them is opened.

    ``root``: where names begin, and the cache lies. ``used``: all files that the dataset knows, in whatever split.
    ``left_out``: how many images show none of the labels.
    """

    root: Path
    labels: tuple[str, ...]
    photographs: list[Photograph]
    used: Collection[Path]
    left_out: int = 0

    def say_left_out(self, name: str) -> None:
        """Log how many images are left out of the dataset of this name."""
        if self.left_out:
            log.info("%s: %d images that show none of the labels are left out", name, self.left_out)


def without_validation(photographs: list[Photograph], split: Split) -> list[Photograph]:
    """The part of a training set that is ``split``, where the dataset has no validation split of its own."""
    held = held_out(photograph.key for photograph in photographs)
    return [photograph for photograph in photographs if (photograph.key in held) == (split == "val")]


def load_photographs(name: str, split: Split, listing: Listing, alignment: Alignment | None) -> Samples:
    """Open all images of a listing and align their faces; without ``alignment`` they stay as they are.

    Where no face is found, the annotated box or else the whole image is taken instead, and a warning counts them.

    :raises DatasetError: the listing is empty, or an image cannot be read.
    """
    photographs = listing.photographs
    if not photographs:
        raise DatasetError(f"{listing.root}: holds no image of the split '{split}'. Choose another split, or add some")
    _require_files(photographs)
    _require_one_label(photographs)
    listing.say_left_out(name)
    images: list[UInt8Image] = []
    missed: list[str] = []
    names = [_name(photograph.file, listing.root) for photograph in photographs]
    bar = tqdm(photographs, desc=f"{name} {split}", unit="image", mininterval=1.0)
    with KeyPoints(listing.root) if alignment else nullcontext() as keypoints:
        for photograph, relative in zip(bar, names, strict=True):
            image = read_image(photograph.file, photograph.where)
            if keypoints is None or alignment is None or photograph.is_crop:
                images.append(image)
                continue
            points = keypoints.of(photograph.file, relative, image, photograph.box)
            if points is None:
                missed.append(relative)
            images.append(_crop(image, points, photograph.box, alignment))
    if missed:
        log.warning(
            "%s %s: no face found in %d of %d images, e.g. %s: their annotated box or the whole image is taken",
            name,
            split,
            len(missed),
            len(photographs),
            ", ".join(missed[:3]),
        )
    columns = sorted({column for photograph in photographs for column in photograph.groups})
    soft = [photograph.soft for photograph in photographs if photograph.soft is not None]
    return Samples(
        name,
        split,
        listing.labels,
        images,
        np.asarray([photograph.target for photograph in photographs], np.int64),
        names,
        np.asarray(soft, np.float32) if soft else None,
        {column: [photograph.groups.get(column, "") for photograph in photographs] for column in columns},
    )


def _require_files(photographs: list[Photograph]) -> None:
    """Before hours of work: labels without an image are an error, which counts them."""
    missing = [photograph for photograph in photographs if not photograph.file.is_file()]
    if missing:
        others = f", and {len(missing) - 1} more of {len(photographs)} images are" if len(missing) > 1 else ""
        remedy = "Unpack the images again, or delete the row"
        if len(missing) == len(photographs):
            remedy = "None is there: compare names, endings and folders with what was unpacked"
        raise DatasetError(f"{missing[0].where}: {missing[0].file} is missing{others}. {remedy}")


def _require_one_label(photographs: list[Photograph]) -> None:
    """Of a face that the labels show twice, both must say the same."""
    first: dict[tuple[str, Region | None], Photograph] = {}
    for photograph in photographs:
        known = first.setdefault((os.path.normpath(photograph.file), photograph.box), photograph)
        if known.target != photograph.target:
            raise DatasetError(f"{known.where} and {photograph.where}: {known.file} has two labels. Delete one of them")


def read_image(file: Path, where: str = "") -> UInt8Image:
    """An image file as uint8 (H, W, 3) RGB, turned as its EXIF data says.

    :param where: file and row that name it, for the error.
    :raises DatasetError: it is missing, truncated, or no image.
    """
    try:
        return decoding.read_image(file)
    except ImageError as error:
        raise DatasetError(f"{where}: {error}" if where else str(error)) from error


def _crop(image: UInt8Image, points: Float32Array | None, box: Region | None, alignment: Alignment) -> UInt8Image:
    spec = alignment.spec
    if points is None:
        whole = prepare_crop(image if box is None else cut(image, box)[0], spec)
        return whole[..., 0] if spec.color == "grey" else whole
    # As fer_perception.pipeline does it: first the colour, then the alignment.
    source = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if spec.color == "grey" else image
    return align(source, points, alignment.template, spec.width, spec.height)


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
