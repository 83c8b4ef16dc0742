from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fer_perception.emotions.rep155 import (
    AFFECT,
    EXPRESSIONS,
    FACE_IMAGE_SIDE,
    aligned_face,
    cropped_face,
    expression,
    facial_landmarks,
    region_of_interest,
)
from fer_perception.faces.face import Face
from fer_perception.faces.finder import open_finder
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8

JAW, RIGHT_BROW, LEFT_BROW = range(17), range(17, 22), range(22, 27)
CHIN, NOSE_TIP, RIGHT_PUPIL, LEFT_PUPIL = 8, 30, 68, 69

# The landmark that each one becomes in a mirror.
MIRRORED = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46),
    *(39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
    *(69, 68),
]


@pytest.fixture(scope="module")
def faces(face_model: Path, portrait: np.ndarray) -> tuple[Face, Face]:
    """The face of the portrait and of its mirror image."""
    with closing(open_finder()) as finder:
        (face,) = finder.find(portrait, mesh=True)
        (mirrored,) = finder.find(np.ascontiguousarray(portrait[:, ::-1]), mesh=True)
    return face, mirrored


def one_hot(label: str, labels: tuple[str, ...]) -> np.ndarray:
    return np.asarray([name == label for name in labels], np.float32)


def test_every_label_has_a_word_of_its_own_in_both_tables() -> None:
    assert set(EXPRESSIONS) == set(AFFECT) == set(EMOTIONS_8)
    assert len(set(EXPRESSIONS.values())) == len(EMOTIONS_8)


@pytest.mark.parametrize("labels", [EMOTIONS_7, EMOTIONS_8])
def test_a_certain_face_has_its_labels_word_and_affect(labels: tuple[str, ...]) -> None:
    for label in labels:
        certain = expression(one_hot(label, labels), labels)
        assert (certain.expression, certain.confidence) == (EXPRESSIONS[label], 1)
        assert (certain.valence, certain.arousal) == pytest.approx(AFFECT[label])


def test_a_doubtful_face_lies_between_its_labels() -> None:
    half = (one_hot("happy", EMOTIONS_7) * 3 + one_hot("sad", EMOTIONS_7)) / 4
    result = expression(half, EMOTIONS_7)
    assert (result.expression, result.confidence) == ("happy", 0.75)
    assert (result.valence, result.arousal) == pytest.approx((0.75 * 0.81 - 0.25 * 0.63, 0.75 * 0.51 - 0.25 * 0.27))


def test_valence_and_arousal_stay_in_range() -> None:
    for row in np.random.default_rng(0).dirichlet(np.full(8, 0.3), 200).astype(np.float32):
        result = expression(row, EMOTIONS_8)
        assert -1 <= result.valence <= 1
        assert -1 <= result.arousal <= 1


def test_region_of_interest_reaches_to_the_borders() -> None:
    assert region_of_interest((0, 0, 640, 480), 640, 480) == (0, 0, 1, 1)
    assert region_of_interest((160, 120, 320, 60), 640, 480) == (0.25, 0.25, 0.75, 0.375)


def test_landmarks_are_where_their_names_say(faces: tuple[Face, Face], portrait: np.ndarray) -> None:
    height, width = portrait.shape[:2]
    face = faces[0]
    landmarks = facial_landmarks(face, width, height)
    assert landmarks.shape == (70, 3)
    assert landmarks.dtype == np.float32
    np.testing.assert_array_equal(landmarks[:, 2], np.float32(face.confidence))
    x, y = landmarks[:, 0] * width - 0.5, landmarks[:, 1] * height - 0.5
    # Read off the image by eye, to some 3 pixels: pupils, nose tip, chin, corners of the mouth, inner eye corners.
    read = {68: (203, 101), 69: (246, 103), 30: (223, 126), 8: (221, 178), 48: (203, 139), 54: (244, 140)}
    for index, point in (read | {39: (212, 103), 42: (236, 104)}).items():
        assert (x[index], y[index]) == pytest.approx(point, abs=4), index
    # From the person's right to the left is from left to right in the image.
    for row in (RIGHT_BROW, LEFT_BROW, range(31, 36), range(48, 55), range(60, 65)):
        assert np.all(np.diff(x[list(row)]) > 0)
    assert x[0] == pytest.approx(min(x[list(JAW)]), abs=0.5)
    assert x[16] == pytest.approx(max(x[list(JAW)]), abs=0.5)
    assert y.argmax() == CHIN
    # Down the nose; brows over upper lids over pupils over lower lids; outer lips around the inner ones.
    assert np.all(np.diff(y[27:31]) > 0)
    for brow, upper, pupil, lower in (
        (RIGHT_BROW, (37, 38), RIGHT_PUPIL, (40, 41)),
        (LEFT_BROW, (43, 44), LEFT_PUPIL, (46, 47)),
    ):
        assert max(y[list(brow)]) < min(y[list(upper)]) < y[pupil] < min(y[list(lower)])
    assert y[51] < y[62] < y[66] < y[57]
    assert y[33] > y[NOSE_TIP]


def test_a_mirrored_face_has_mirrored_landmarks(faces: tuple[Face, Face], portrait: np.ndarray) -> None:
    height, width = portrait.shape[:2]
    straight, mirrored = (facial_landmarks(face, width, height)[:, :2] * (width, height) for face in faces)
    expected = straight[MIRRORED] * (-1, 1) + (width, 0)
    eyes = np.linalg.norm(straight[LEFT_PUPIL] - straight[RIGHT_PUPIL])
    assert np.linalg.norm(mirrored - expected, axis=1).max() < 0.15 * eyes


def test_without_a_mesh_only_key_points_are_landmarks(faces: tuple[Face, Face], portrait: np.ndarray) -> None:
    height, width = portrait.shape[:2]
    face = Face(box=faces[0].box, confidence=0.8, keypoints=faces[0].keypoints)
    landmarks = facial_landmarks(face, width, height)
    assert np.flatnonzero(landmarks[:, 2]).tolist() == [NOSE_TIP, 48, 54, RIGHT_PUPIL, LEFT_PUPIL]
    assert set(landmarks[landmarks[:, 2] > 0, 2]) == {np.float32(0.8)}
    assert not landmarks[landmarks[:, 2] == 0].any()
    fine = facial_landmarks(faces[0], width, height)
    eyes = np.linalg.norm((fine[LEFT_PUPIL] - fine[RIGHT_PUPIL])[:2])
    for index in (NOSE_TIP, RIGHT_PUPIL, LEFT_PUPIL):
        assert np.linalg.norm((landmarks[index] - fine[index])[:2]) < 0.2 * eyes


def test_landmarks_outside_the_image_have_no_confidence() -> None:
    keypoints = np.asarray([[-3, 50], [40, 50], [20, 80], [-30, 60], [99.5, 60]], np.float32)
    landmarks = facial_landmarks(Face((0, 0, 60, 100), 0.9, keypoints), width=100, height=100)
    np.testing.assert_allclose(landmarks[RIGHT_PUPIL], [0, 0.505, 0])
    np.testing.assert_allclose(landmarks[LEFT_PUPIL], [0.405, 0.505, 0.9])
    np.testing.assert_allclose(landmarks[54], [1, 0.605, 0.9])
    assert landmarks[48, 2] == 0


def test_cropped_face_keeps_its_shape_on_black() -> None:
    image = np.full((480, 640, 3), 200, np.uint8)
    for box, size in (((600, 0, 40, 80), (64, 128)), ((0, 100, 500, 250), (128, 64)), ((5, 5, 1, 300), (1, 128))):
        crop = cropped_face(image, box)
        assert crop.shape == (FACE_IMAGE_SIDE, FACE_IMAGE_SIDE, 3)
        rows, columns, _ = np.nonzero(crop)
        assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == size
        assert abs(columns.min() + columns.max() - (FACE_IMAGE_SIDE - 1)) <= 1
        assert abs(rows.min() + rows.max() - (FACE_IMAGE_SIDE - 1)) <= 1


def test_aligned_face_has_level_eyes() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    keypoints = np.asarray([[80, 80], [110, 95], [90, 110], [78, 118], [96, 124]], np.float32)
    for x, y in keypoints[:2].astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    aligned = aligned_face(image, Face((50, 50, 96, 96), 0.9, keypoints))
    assert aligned.shape == (FACE_IMAGE_SIDE, FACE_IMAGE_SIDE, 3)
    half = FACE_IMAGE_SIDE // 2
    (right_y, right_x), (left_y, left_x) = (
        np.argwhere(part > 100).mean(axis=0) for part in (aligned[:, :half, 0], aligned[:, half:, 0])
    )
    assert right_y == pytest.approx(left_y, abs=1)
    assert left_x + half - right_x == pytest.approx(np.hypot(30, 15) * FACE_IMAGE_SIDE / 96, abs=1)
