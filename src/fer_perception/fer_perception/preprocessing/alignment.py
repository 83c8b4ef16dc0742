"""Similarity alignment: turn, scale and shift a face so that eyes and mouth lie where the network learnt them."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from fer_perception.types import Float32Array, UInt8Image

MAX_OVERSAMPLING = 4


class AlignmentTemplate(BaseModel):
    """Where three points of a face lie in the crop, as fractions of its width and height.

    Right and left are the person's own, so the right eye lies at the smaller x.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    right_eye: tuple[float, float]
    left_eye: tuple[float, float]
    mouth: tuple[float, float]

    @property
    def id(self) -> str:
        """Says whether two templates are the same: 8 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]

    def points(self, width: int, height: int) -> Float32Array:
        """The three points in pixels of a crop of this size: float32, (3, 2), pixel centres at whole numbers."""
        fractions = np.asarray([self.right_eye, self.left_eye, self.mouth], np.float32)
        return fractions * np.asarray([width, height], np.float32) - np.float32(0.5)


def similarity_transform(source: npt.ArrayLike, target: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring ``source`` closest to ``target`` (least squares).

    A similarity of the plane is w = a z + b with complex a and b, for which least squares has a closed form. It is
    the result of Umeyama (1991) without reflection.

    :param source: (N, 2) x and y, N at least 2.
    :param target: (N, 2).
    :return: float64, (2, 3), as OpenCV's ``warpAffine`` takes it.
    """
    # Python's own complex numbers: for three points eight times as fast as numpy.
    z = [complex(x, y) for x, y in np.asarray(source, np.float64).tolist()]
    w = [complex(x, y) for x, y in np.asarray(target, np.float64).tolist()]
    z_mean, w_mean = sum(z) / len(z), sum(w) / len(w)
    spread = sum(abs(point - z_mean) ** 2 for point in z)
    product = sum((p - z_mean).conjugate() * (q - w_mean) for p, q in zip(z, w, strict=True))
    # Coinciding points have no scale: keep the size and only shift.
    a = product / spread if spread > 0 else 1 + 0j
    b = w_mean - a * z_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(
    image: UInt8Image,
    eyes_and_mouth: npt.ArrayLike,
    template: AlignmentTemplate,
    width: int,
    height: int,
    to_grey: bool = False,
) -> UInt8Image:
    """Cut an aligned face out of an image.

    :param image: uint8, (H, W) or (H, W, 3), any colour order.
    :param eyes_and_mouth: (3, 2) x and y in pixels: right eye, left eye, mouth centre.
    :param to_grey: of an RGB image make a grey crop.
    :return: uint8, (height, width) or (height, width, 3). What lies outside the image repeats its border.
    """
    matrix = similarity_transform(eyes_and_mouth, template.points(width, height))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    # A large face shrunk by bilinear sampling alone would alias: warp to a multiple of the size and average.
    factor = int(np.clip(round(1 / max(scale, 1e-6)), 1, MAX_OVERSAMPLING))
    # The same transform to the larger crop, pixel centres at whole numbers in both.
    matrix = matrix * factor
    matrix[:, 2] += (factor - 1) / 2
    # Only what the crop shows is made grey.
    left, top, right, bottom = _shown(matrix, width * factor, height * factor, image)
    image = image[top:bottom, left:right]
    matrix[:, 2] += matrix[:, :2] @ (left, top)
    if to_grey:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    crop = cv2.warpAffine(
        image, matrix, (width * factor, height * factor), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if factor > 1:
        crop = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
    return crop


def _shown(matrix: npt.NDArray[np.float64], width: int, height: int, image: UInt8Image) -> tuple[int, int, int, int]:
    """The part of an image that its transform shows in a crop of this size, with some pixels around: left, top, right,
    bottom; at least one pixel.
    """
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
    x, y = (np.linalg.inv(matrix[:, :2]) @ (corners - matrix[:, 2]).T).clip(-1, max(image.shape[:2]))
    left, right = max(0, int(x.min()) - 2), min(image.shape[1], int(x.max()) + 4)
    top, bottom = max(0, int(y.min()) - 2), min(image.shape[0], int(y.max()) + 4)
    return min(left, image.shape[1] - 1), min(top, image.shape[0] - 1), max(right, 1), max(bottom, 1)
