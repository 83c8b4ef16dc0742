"""Positions of heads from key points: with points that a known camera would see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_perception.errors import FerError
from fer_perception.faces.face import NO_KEYPOINTS, Face
from fer_perception.faces.head_pose import (
    FACE_FRAME,
    GAZE_FRAME,
    PUPILS_M,
    SHAPE,
    Camera,
)
from fer_perception.faces.orientation import from_rotation_vector, product
from fer_perception.types import Float32Array

MATRIX = [[554.3, 0, 320], [0, 554.3, 240], [0, 0, 1]]


def seen(
    position: tuple[float, float, float], turn: tuple[float, float, float], distortion: list[float]
) -> Float32Array:
    """The key points of a head in the image: float32, (5, 2)."""
    points, _ = cv2.projectPoints(
        SHAPE * PUPILS_M, np.asarray(turn), np.asarray(position), np.asarray(MATRIX), np.asarray(distortion)
    )
    return points.reshape(5, 2).astype(np.float32)


def rotate(orientation: tuple[float, float, float, float], vector: tuple[float, float, float]) -> np.ndarray:
    x, y, z, w = orientation
    axis = np.asarray([x, y, z])
    return np.asarray(vector) + 2 * np.cross(axis, np.cross(axis, vector) + w * np.asarray(vector))


@pytest.mark.parametrize("distortion", [[0.0] * 5, [-0.2, 0.05, 0.001, -0.001, 0.0]])
@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, 0.5, -0.3), (-0.1, -0.6, 0.4)])
@pytest.mark.parametrize("position", [(0.0, 0.0, 0.5), (0.3, -0.1, 1.2), (-1.2, 0.4, 4.0)])
def test_a_head_is_where_its_points_come_from(
    position: tuple[float, float, float], turn: tuple[float, float, float], distortion: list[float]
) -> None:
    face = Face((0, 0, 9, 9), 0.9, seen(position, turn, distortion))
    pose = Camera(MATRIX, distortion).pose_of(face)
    assert pose is not None
    np.testing.assert_allclose(pose.position_m, position, rtol=0.01, atol=0.005)
    same = abs(np.dot(pose.orientation, from_rotation_vector(turn)))
    assert 2 * np.arccos(min(1.0, same)) < 0.03
    assert np.all(np.linalg.eigvalsh(pose.covariance) > 0)
    deviation_m = np.sqrt(pose.covariance[2, 2])
    assert 0.05 < deviation_m / position[2] < 0.2
    assert pose.covariance[0, 0] < pose.covariance[2, 2]  # across is known better than away


def test_the_frames_of_rep_155() -> None:
    """Of a head that looks straight into the camera, upright."""
    head = (0.0, 0.0, 0.0, 1.0)
    towards, down, right = (0, 0, -1), (0, 1, 0), (1, 0, 0)  # in the camera's optical frame
    left = (-1, 0, 0)
    face, gaze = product(head, FACE_FRAME), product(head, GAZE_FRAME)
    np.testing.assert_allclose(rotate(face, (1, 0, 0)), towards, atol=1e-9)
    np.testing.assert_allclose(rotate(face, (0, 1, 0)), right, atol=1e-9)  # the person's left
    np.testing.assert_allclose(rotate(face, (0, 0, 1)), (0, -1, 0), atol=1e-9)
    np.testing.assert_allclose(rotate(gaze, (0, 0, 1)), towards, atol=1e-9)
    np.testing.assert_allclose(rotate(gaze, (1, 0, 0)), left, atol=1e-9)
    np.testing.assert_allclose(rotate(gaze, (0, 1, 0)), down, atol=1e-9)


def test_without_key_points_there_is_no_pose() -> None:
    assert Camera(MATRIX).pose_of(Face((0, 0, 9, 9), 0.9, NO_KEYPOINTS)) is None


def test_cameras_that_give_none() -> None:
    with pytest.raises(FerError, match="calibrate the camera"):
        Camera(np.zeros(9))
    with pytest.raises(FerError, match="equidistant: rectify the images"):
        Camera(MATRIX, [0.1] * 4, "equidistant")
    for broken in ([0.1, 0.2, 0.3], [np.nan] * 5):
        with pytest.raises(FerError, match=r"distortion coefficients .*Calibrate the camera"):
            Camera(np.eye(3), broken)
    with pytest.raises(FerError, match="no focal length"):
        Camera(np.full((3, 3), np.nan))
    camera = Camera(MATRIX, width=640, height=480)
    assert camera.fits(np.zeros((480, 640, 3), np.uint8))
    assert not camera.fits(np.zeros((720, 1280, 3), np.uint8))


def test_a_face_too_far_for_a_pose_has_none() -> None:
    """Through a narrow lens its key points lie too close together for the solver."""
    matrix = [[3000.0, 0, 320], [0, 3000.0, 240], [0, 0, 1]]
    points, _ = cv2.projectPoints(SHAPE * PUPILS_M, np.zeros(3), np.array([0, 0, 25.0]), np.asarray(matrix), None)
    assert Camera(matrix, []).pose_of(Face((0, 0, 9, 9), 0.9, points.reshape(5, 2).astype(np.float32))) is None
