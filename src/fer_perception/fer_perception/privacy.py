"""What leaves the process: three modes, from everything to nothing that shows or measures a face.

``off``: nothing is held back. ``no_images``: no pixels of a face, neither crops nor images in which faces could be
recognised. ``strict``: in addition no pixels at all, no key points, meshes or head orientations, boxes only on a coarse
grid, and ids that end with the first image in which the face is not found and tell nothing of each other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fer_perception.faces.face import Face
from fer_perception.faces.single_face import NO_KEYPOINTS
from fer_perception.geometry import clip
from fer_perception.pipeline import Faces
from fer_perception.settings import Privacy
from fer_perception.types import Box, UInt8Image
from fer_perception.visualization.drawing import redact

# Where a face is, for turning a head to it, is told to 1/32 of the image's longer side: 20 pixels at 640 x 480.
GRID_CELLS = 32


def published(found: Faces, privacy: Privacy, width: int, height: int) -> Faces:
    """What may be told of an image's faces.

    :param width: of the image, in pixels, as ``height``.
    """
    if privacy == "off":
        return found
    if privacy == "no_images":
        return replace(found, crops=[])
    faces = [Face(coarse_box(face.box, width, height), face.confidence, NO_KEYPOINTS) for face in found.faces]
    return Faces(faces, found.track_ids, [])


def coarse_box(box: Box, width: int, height: int) -> Box:
    """The smallest box on the grid that holds a box, clipped to the image: x, y, width, height in pixels."""
    cell = max(1, -(-max(width, height) // GRID_CELLS))
    left, top = box[0] // cell * cell, box[1] // cell * cell
    right, bottom = -(-(box[0] + box[2]) // cell) * cell, -(-(box[1] + box[3]) // cell) * cell
    return clip((left, top, right - left, bottom - top), width, height)


def drawing_ground(image: UInt8Image, faces: list[Face], privacy: Privacy) -> UInt8Image:
    """What results may be drawn into: the image, the image with its faces made unrecognisable, or black.

    :param image: uint8, (H, W, 3).
    """
    if privacy == "off":
        return image
    return np.zeros_like(image) if privacy == "strict" else redact(image, [face.box for face in faces])
