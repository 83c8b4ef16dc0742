"""What the modes let out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fer_perception.errors import FerError
from fer_perception.faces.face import Face
from fer_perception.faces.tracker import Tracker
from fer_perception.pipeline import FacePipeline, Faces
from fer_perception.privacy import coarse_box, drawing_ground, published
from fer_perception.settings import FaceSettings

FACE = Face((101, 52, 67, 71), 0.9, np.ones((6, 2), np.float32), np.ones((478, 3), np.float32), (0.0, 0.0, 0.0, 1.0))
FOUND = Faces([FACE], ["abcde"], [np.ones((48, 48), np.uint8)])


def test_what_is_told_of_a_face() -> None:
    assert published(FOUND, "off", 640, 480) is FOUND
    without_pixels = published(FOUND, "no_images", 640, 480)
    assert (without_pixels.faces, without_pixels.crops) == ([FACE], [])
    (face,) = published(FOUND, "strict", 640, 480).faces
    assert np.isnan(face.keypoints).all()
    assert face.mesh is face.orientation is None
    assert face.box == (100, 40, 80, 100)


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (31, 20), (8192, 8192)])
def test_coarse_boxes_hold_the_face_and_lie_in_the_image(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top = (int(rng.integers(0, side)) for side in size)
        box = (left, top, int(rng.integers(1, size[0] - left + 1)), int(rng.integers(1, size[1] - top + 1)))
        x, y, width, height = coarse_box(box, *size)
        assert 0 <= x <= left
        assert 0 <= y <= top
        assert left + box[2] <= x + width <= size[0]
        assert top + box[3] <= y + height <= size[1]


def test_the_grid_hides_small_differences() -> None:
    assert len({coarse_box((100 + dx, 60 + dx, 79 - dx, 79 - dx), 640, 480) for dx in range(10)}) == 1


def test_the_ground_of_the_overlay(portrait: np.ndarray) -> None:
    face = Face((177, 82, 95, 95), 0.9, np.zeros((6, 2), np.float32))
    assert drawing_ground(portrait, [face], "off") is portrait
    blurred = drawing_ground(portrait, [face], "no_images")
    inside = (slice(100, 160), slice(190, 260))
    assert len(np.unique(blurred[inside].reshape(-1, 3), axis=0)) < 40
    np.testing.assert_array_equal(blurred[300:], portrait[300:])
    assert not drawing_ground(portrait, [face], "strict").any()


def test_unlinkable_ids_end_with_the_first_gap_and_tell_nothing_of_each_other() -> None:
    box, tracker = (10, 10, 50, 50), Tracker(unlinkable=True)
    first = tracker.update([box], 0.0)
    assert tracker.update([box], 0.1) == first
    assert tracker.update([], 0.2) == []
    assert tracker.update([box], 0.3) != first
    ids, sequential = [], Tracker()
    for number in range(50):
        ids.append(tracker.update([(10, 10 + 200 * number, 50, 50)], 1.0 + number)[0])
    assert len(set(ids)) == 50
    numbers = [sum((ord(letter) - 97) * 26**place for place, letter in enumerate(name)) for name in ids]
    assert len(set(np.diff(numbers) % 26**5)) > 40
    known = [sequential.update([(10, 10 + 200 * number, 50, 50)], 10.0 * number)[0] for number in range(50)]
    numbers = [sum((ord(letter) - 97) * 26**place for place, letter in enumerate(name)) for name in known]
    assert len(set(np.diff(numbers) % 26**5)) == 1  # what is avoided


def test_of_two_faces_only_the_hidden_one_loses_its_id() -> None:
    left, right, tracker = (0, 0, 50, 50), (300, 0, 50, 50), Tracker(unlinkable=True)
    first = tracker.update([left, right], 0.0)
    tracker.update([left], 0.1)
    again = tracker.update([left, right], 0.2)
    assert again[0] == first[0]
    assert again[1] not in first


def test_known_ids_are_refused_with_the_remedy(tiny_bundle: Path, face_model: Path) -> None:
    settings = FaceSettings(model=str(tiny_bundle), face_model=str(face_model), id_seed=3, privacy="strict")
    with pytest.raises(FerError, match="Set id_seed to -1"):
        FacePipeline.from_settings(settings)
