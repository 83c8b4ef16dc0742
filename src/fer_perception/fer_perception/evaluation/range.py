"""What ``benchmark range`` measures: how far away the face stage finds people, what is read in their faces, and what
it costs.
"""

from __future__ import annotations

import math

from fer_perception.evaluation.results import Result, ResultFile

# Distances are those of a face of this width before a camera of this view and this width of image.
FACE_WIDTH_M, VIEW_DEG, IMAGE_WIDTH_PX = 0.15, 60.0, 640


def focal_px(view_deg: float = VIEW_DEG, image_width_px: float = IMAGE_WIDTH_PX) -> float:
    """The focal length of a camera in pixels.

    :param view_deg: its horizontal angle of view.
    """
    return image_width_px / 2 / math.tan(math.radians(view_deg) / 2)


def distance_m(face_width_px: float, view_deg: float = VIEW_DEG, image_width_px: float = IMAGE_WIDTH_PX) -> float:
    """How far a face is that seems so wide, in metres.

    :param view_deg: the camera's horizontal angle of view.
    """
    return FACE_WIDTH_M * focal_px(view_deg, image_width_px) / face_width_px


class SceneResult(Result):
    """One detector, scenes of one kind, one for each face.

    ``width_px``: of the faces. ``distance_m``: see :func:`distance_m`. ``roll_deg``: by so much the heads are turned,
    to one side or the other. ``found``: fraction of the faces. ``accuracy``: of the emotions of those found, None
    without any. ``found_and_right``: fraction of all faces. ``keypoint_error``: median over those found of the mean
    distance of the five key points from the true ones, in distances between the eyes; None without any.
    ``distance_error``: of the pose's distance, as a fraction of that at which pupils 63 mm apart look as they do;
    without sign, the median and the 90th percentile of those found; None without any.
    """

    width_px: int
    distance_m: float
    hard_edge: bool
    roll_deg: int
    found: float
    accuracy: float | None
    found_and_right: float
    keypoint_error: float | None
    distance_error: tuple[float, float] | None


class StageTime(Result):
    """The face stage on one sequence of images, at 30 Hz.

    ``faces``: found in an image, on average. ``mean_ms``: of an image. ``ratio``: of it to that of the first detector
    in the same round. Both are medians over the rounds.
    """

    faces: float
    mean_ms: float
    ratio: float


class DetectorResult(Result):
    """One detector. ``false_faces``: found in all pictures without people. ``times``: by who is in the images."""

    name: str
    scenes: list[SceneResult]
    false_faces: int
    times: dict[str, StageTime]


class RangeResult(ResultFile):
    """Detectors on the same scenes.

    ``faces``: as many were used of the ``photographs`` that were looked at; the others show no face that is wide
    enough, or several, or a label that the model does not have. ``pictures``: so many without people were searched.
    """

    written_by = "python -m fer_perception benchmark range --json"
    machine: str
    model: str
    manifest: str
    split: str
    photographs: int
    faces: int
    pictures: int
    detectors: list[DetectorResult]
