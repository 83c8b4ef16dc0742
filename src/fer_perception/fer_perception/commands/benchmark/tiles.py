"""Images of several faces, made of an image of one."""

from __future__ import annotations

from contextlib import closing

import cv2
import numpy as np

from fer_perception.errors import FerError
from fer_perception.faces.finder import open_finder
from fer_perception.types import UInt8Image


def tile_face(frame: UInt8Image, columns: int, rows: int) -> UInt8Image:
    """An image of the frame's size with the frame's face in each of columns x rows tiles.

    :raises FerError: the frame holds no face.
    """
    with closing(open_finder()) as finder:
        faces = finder.find(frame)
    if not faces:
        raise FerError("the first image holds no face: choose another --source")
    x, y, width, height = faces[0].box
    tile_width, tile_height = frame.shape[1] // columns, frame.shape[0] // rows
    side = max(width, height) * 1.6
    scale = min(tile_width, tile_height) / side
    matrix = np.asarray(
        [
            [scale, 0, tile_width / 2 - scale * (x + width / 2)],
            [0, scale, tile_height / 2 - scale * (y + height / 2)],
        ]
    )
    tile = cv2.warpAffine(frame, matrix, (tile_width, tile_height), borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.tile(tile, (rows, columns, 1)))
