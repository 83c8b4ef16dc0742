"""What the quality gate measures on images of one person each, for the verb ``quality``.

Yaw by the key points is compared with that of MediaPipe's mesh, and the depth of the nose is fitted that
``fer_perception.emotions.quality_gate`` has as a constant.
"""

from __future__ import annotations

import logging
import random
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_perception.emotions.quality_gate import NOSE_DEPTH, sharpness, yaw_deg
from fer_perception.errors import FerError, ImageError
from fer_perception.evaluation.results import ResultFile
from fer_perception.faces.face import Face
from fer_perception.images.decoding import read_image
from fer_perception.pipeline import FacePipeline
from fer_perception.settings import FaceSettings
from fer_training.datasets.files.trees import images_below

QUANTILES = (0.001, 0.01, 0.05, 0.5, 0.95)
TURNED_DEG = 20

log = logging.getLogger(__name__)


class QualityResult(ResultFile):
    """What ``quality`` writes: values at the ``quantiles``, and how far yaw is from the mesh's, on average.

    ``nose_depth``: fitted, in distances between the eyes.
    """

    written_by = "python -m fer_training quality --json"
    faces: int
    quantiles: tuple[float, ...] = QUANTILES
    face_px: list[float]
    sharpness: list[float]
    yaw_deg: list[float]
    yaw_mean_error_deg: float
    yaw_mean_error_of_turned_heads_deg: float | None
    nose_depth: float


def measure_quality(folder: Path, count: int) -> QualityResult:
    """Measure on so many images below a folder, drawn by chance.

    :raises FerError: no face is found.
    """
    files = images_below(folder)
    rows = []
    with closing(FacePipeline.from_settings(FaceSettings())) as pipeline:
        for file in random.Random(0).sample(files, min(count, len(files))):
            try:
                image = read_image(file)
            except ImageError as error:
                log.warning("left out: %s", error)
                continue
            faces = [face for face in pipeline.finder.find(image, mesh=True)[:1] if face.orientation]
            for face, crop in zip(faces, pipeline.crop(image, faces), strict=True):
                rows.append((min(face.box[2:]), sharpness(crop), yaw_deg(face), yaw_by_mesh_deg(face)))
    if not rows:
        raise FerError(f"{folder}: no face was found in {len(files)} images. Give images of one person each")
    sizes, sharpnesses, yaws, by_mesh = np.asarray(rows, float).T
    # tan yaw = offset / depth: the least squares fit of the depth to the offsets that the constant stands for.
    offsets, tangents = np.tan(np.radians(yaws)) * NOSE_DEPTH, np.tan(np.radians(by_mesh))
    errors, is_turned = np.abs(yaws - by_mesh), by_mesh > TURNED_DEG
    return QualityResult(
        faces=len(rows),
        face_px=_quantiles(sizes, 0),
        sharpness=_quantiles(sharpnesses, 3),
        yaw_deg=_quantiles(yaws, 1),
        yaw_mean_error_deg=round(float(errors.mean()), 2),
        yaw_mean_error_of_turned_heads_deg=round(float(errors[is_turned].mean()), 2) if is_turned.any() else None,
        nose_depth=round(float(offsets @ tangents / (tangents @ tangents)), 3),
    )


def yaw_by_mesh_deg(face: Face) -> float:
    """Absolute yaw of the head's orientation."""
    x, y, z, w = face.orientation or (0.0, 0.0, 0.0, 1.0)
    return abs(float(np.degrees(np.arctan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y)))))


def _quantiles(values: npt.NDArray[np.float64], digits: int) -> list[float]:
    return [float(value) for value in np.quantile(values, QUANTILES).round(digits)]
