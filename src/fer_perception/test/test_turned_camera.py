"""Images of cameras that are mounted turned: the same faces, in pixels of the image as received."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from fer_perception.faces.close_look import Place
from fer_perception.faces.face import Face
from fer_perception.faces.finder import FaceFinder, open_finder
from fer_perception.faces.tracker import Outlook
from fer_perception.faces.turned_camera import ROTATIONS, Rotation, Turn
from fer_perception.pipeline import TURNED_AFTER_S, FacePipeline
from fer_perception.settings import FaceSettings


@pytest.fixture
def finder() -> Iterator[FaceFinder]:
    with closing(open_finder()) as finder:
        yield finder


def received(upright: np.ndarray, rotation: Rotation) -> np.ndarray:
    """What a camera gives whose images must be turned clockwise by so much."""
    return np.ascontiguousarray(np.rot90(upright, rotation // 90))


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_places_go_there_and_back(rotation: Rotation) -> None:
    upright = np.zeros((5, 7, 1), np.uint8)
    upright[1, 2] = 1
    image = received(upright, rotation)
    turn = Turn(rotation, image.shape)
    np.testing.assert_array_equal(turn.upright(image), upright)
    face = Face((2, 1, 3, 2), 0.9, np.asarray([[2, 1], [4, 1], [3, 2], [2, 2], [4, 2]], np.float32))
    there = turn.face(face)
    (y, x), *_ = np.argwhere(image[..., 0])
    assert there.keypoints[0].tolist() == [x, y]
    left, top, width, height = there.box
    assert image[top : top + height, left : left + width].any()
    assert (width, height) == ((3, 2) if rotation % 180 == 0 else (2, 3))
    back = turn.face(there, upright=True)
    assert back.box == face.box
    np.testing.assert_array_equal(back.keypoints, face.keypoints)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_the_same_face_whatever_the_mounting(finder: FaceFinder, portrait: np.ndarray, rotation: Rotation) -> None:
    upright = np.ascontiguousarray(portrait[:400])
    (expected,) = finder.find(upright, mesh=True)
    image = received(upright, rotation)
    finder.image_rotation = rotation
    (face,) = finder.find(image, mesh=True)
    (meshed,) = finder.with_meshes(image, finder.find(image))
    turn = Turn(rotation, image.shape)
    for found in (face, meshed):
        same = turn.face(found, upright=True)
        assert same.box == expected.box
        np.testing.assert_allclose(same.keypoints, expected.keypoints, atol=1e-3)
        assert same.mesh is not None
        assert expected.mesh is not None
        np.testing.assert_allclose(same.mesh, expected.mesh, atol=0.05)
        np.testing.assert_allclose(same.orientation, expected.orientation, atol=1e-3)
    assert np.degrees(face.roll_rad - expected.roll_rad) % 360 == pytest.approx(-rotation % 360, abs=0.1)


def test_a_followed_face_is_expected_where_it_is(finder: FaceFinder) -> None:
    turn = Turn(90, (480, 640))
    outlook = turn.outlook(Outlook(1.0, 0.9, [Place(10, 20, 5, -np.pi / 2)]))
    assert outlook is not None
    (place,) = outlook.expected
    assert (place.x, place.y, place.width) == (459, 10, 5)
    assert place.roll_rad == pytest.approx(0)


@pytest.mark.usefixtures("detector_model")
def test_people_upside_down_are_noticed(pipeline_of_faces: FacePipeline, portrait: np.ndarray) -> None:
    image = received(portrait, 180)
    for stamp_s in np.arange(0, TURNED_AFTER_S + 0.5, 0.5):
        pipeline_of_faces.process(image, float(stamp_s))
    assert pipeline_of_faces.better_rotation == 180
    pipeline_of_faces.update(FaceSettings(image_rotation=180))
    assert pipeline_of_faces.process(image, 6.0).faces
    assert pipeline_of_faces.better_rotation is None


@pytest.fixture
def pipeline_of_faces() -> Iterator[FacePipeline]:
    with closing(FacePipeline.from_settings(FaceSettings())) as pipeline:
        yield pipeline
