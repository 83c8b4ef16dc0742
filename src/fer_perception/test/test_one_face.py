"""Images of one face: the most central large one, a less sure one, or else the whole image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.faces.finder import FaceFinder, open_finder
from fer_perception.faces.single_face import OneFacePipeline, cut, find_one_face, most_prominent
from fer_perception.models.bundle import Bundle


@pytest.fixture
def finder(face_model: Path) -> Iterator[FaceFinder]:
    with closing(open_finder()) as finder:
        yield finder


def test_the_most_central_large_face(finder: FaceFinder, portrait: np.ndarray) -> None:
    head = portrait[:256, 100:356]
    canvas = np.full((512, 700, 3), 120, np.uint8)
    canvas[0:256, 0:256] = head
    canvas[230:486, 300:556] = head
    assert sorted(face.box[0] < 256 for face in finder.find(canvas)) == [False, True]
    face = find_one_face(finder, canvas)
    assert face is not None
    assert face.box[0] > 300
    assert face.box[1] > 230
    assert most_prominent([(0, 0, 50, 50), (400, 250, 40, 40), (410, 260, 100, 100)], 900, 600) == 2


def test_a_face_that_fills_the_picture_is_found_with_room_around_it(finder: FaceFinder, portrait: np.ndarray) -> None:
    face = finder.find(portrait)[0]
    x, y, width, height = face.box
    tight = np.ascontiguousarray(portrait[y + 10 : y + height - 5, x + 8 : x + width - 8])
    found = find_one_face(finder, tight)
    assert found is not None
    points = found.keypoints + np.float32([x + 8, y + 10])
    np.testing.assert_allclose(points, face.keypoints, atol=0.12 * width)


def test_where_no_face_is_found_the_whole_picture_is_one(finder: FaceFinder, tiny_bundle: Path) -> None:
    image = np.tile(np.linspace(0, 255, 96, dtype=np.uint8)[None, :, None], (96, 1, 3))
    pipeline = OneFacePipeline(finder, Bundle(tiny_bundle).manifest)
    found = pipeline.process(image, 0.0)
    (face,) = found.faces
    assert face.box == (0, 0, 96, 96)
    assert face.confidence == 0.0
    np.testing.assert_array_equal(found.crops[0], cv2.resize(image[..., 0], (48, 48), interpolation=cv2.INTER_AREA))


def test_a_region_beyond_the_picture_repeats_its_border() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    part, corner = cut(image, (-1, -1, 4, 4))
    assert part.shape == (4, 4, 3)
    assert corner == (-1, -1)
    np.testing.assert_array_equal(part[0, 0], image[0, 0])
    np.testing.assert_array_equal(part[3, 3], image[1, 1])
