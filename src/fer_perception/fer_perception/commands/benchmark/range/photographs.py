"""Labelled photographs of one face each, and where the face is in them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.faces.finder import open_finder
from fer_perception.images.decoding import read_image
from fer_perception.images.manifest import labelled_images
from fer_perception.types import Float32Array, UInt8Image

MIN_WIDTH = 90  # pixels: narrower faces have no details to lose
# Points of the mesh: where the face ends at its right and left, and the five key points.
EDGES = (234, 454)
KEYPOINTS = (468, 473, 4, 61, 291)


@dataclass(frozen=True)
class LabelledFace:
    """A photograph, uint8, (H, W, 3), RGB, its label, and the mesh of its face, float32, (478, 2), in its pixels."""

    image: UInt8Image
    label: str
    mesh: Float32Array

    @property
    def width(self) -> float:
        """See :func:`face_width`."""
        return face_width(self.mesh)


def face_width(mesh: Float32Array) -> float:
    """From a face's right to its left edge, in pixels."""
    right, left = mesh[list(EDGES)]
    return float(np.linalg.norm(left - right))


def load_faces(
    manifest: Path, split: str, count: int, labels: Sequence[str], seed: int = 0
) -> tuple[list[LabelledFace], int]:
    """The first usable photographs of a manifest in random order, and how many were looked at for them.

    Usable: the suite's default detector finds exactly one face, a mesh fits, the face is wide enough, and its label is
    one of ``labels``.

    :param manifest: see :func:`~fer_perception.images.manifest.labelled_images`.
    :param count: at most so many.
    :raises FerError: the manifest or an image cannot be read, or nothing is usable.
    """
    listed = labelled_images(manifest, split)
    faces: list[LabelledFace] = []
    looked_at = 0
    with closing(open_finder()) as finder, tqdm(total=count, desc="photographs", unit="face") as bar:
        for index in np.random.default_rng(seed).permutation(len(listed)):
            file, label = listed[index]
            looked_at += 1
            if label not in labels:
                continue
            image = read_image(file)
            found = finder.find(image, mesh=True)
            if len(found) != 1 or found[0].mesh is None:
                continue
            face = LabelledFace(image, label, found[0].mesh[:, :2])
            if face.width < MIN_WIDTH:
                continue
            faces.append(face)
            bar.update()
            if len(faces) == count:
                break
    if not faces:
        raise FerError(
            f"{manifest}: none of {looked_at} photographs shows exactly one face of at least {MIN_WIDTH} pixels' "
            f"width with one of the model's labels ({', '.join(labels)}). Give larger photographs"
        )
    return faces, looked_at
