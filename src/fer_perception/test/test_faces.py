from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.errors import FaceModelError, ImageError
from fer_perception.faces.detector import FaceFinder, _orientation


@pytest.fixture(scope="module")
def finder(face_model: Path) -> Iterator[FaceFinder]:
    with closing(FaceFinder(face_model)) as finder:
        yield finder


def read_rgb(file: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)


def test_keypoints_of_the_portrait(finder: FaceFinder, portrait: np.ndarray) -> None:
    (face,) = finder.find(portrait)
    right_eye, left_eye, nose, mouth, *_ = face.keypoints
    assert face.confidence > 0.75
    # Read off the image by eye, to some 4 pixels.
    np.testing.assert_allclose([right_eye, left_eye, mouth], [[201, 104], [245, 108], [220, 147]], atol=5)
    assert right_eye[1] < nose[1] < mouth[1]
    x, y, width, height = face.box
    assert x < right_eye[0] < left_eye[0] < x + width
    assert y < right_eye[1] < mouth[1] < y + height
    assert face.mesh is None
    assert face.orientation is None


def test_mesh_lies_on_the_same_face(finder: FaceFinder, portrait: np.ndarray) -> None:
    (fast,), (fine,) = finder.find(portrait), finder.find(portrait, mesh=True)
    np.testing.assert_array_equal(fast.keypoints, fine.keypoints)
    assert fine.mesh is not None
    assert fine.mesh.shape == (478, 3)
    eyes_and_mouth = [fine.mesh[[33, 133], :2], fine.mesh[[263, 362], :2], fine.mesh[[13, 14], :2]]
    middles = np.asarray([points.mean(axis=0) for points in eyes_and_mouth])
    offset = np.linalg.norm(middles - fast.keypoints[[0, 1, 3]], axis=1)
    assert offset.max() < 0.15 * np.linalg.norm(fast.keypoints[1] - fast.keypoints[0])
    assert fine.mesh[4, 2] < fine.mesh[234, 2]  # the nose is nearer than the ear
    assert fine.orientation is not None
    assert np.linalg.norm(fine.orientation) == pytest.approx(1)
    assert fine.orientation[3] > np.cos(np.radians(25) / 2)  # she looks nearly into the camera


def test_mirrored_face_turns_the_other_way(finder: FaceFinder, portrait: np.ndarray) -> None:
    (face,), (mirrored,) = (
        finder.find(portrait, mesh=True),
        finder.find(np.ascontiguousarray(portrait[:, ::-1]), mesh=True),
    )
    assert face.orientation is not None
    assert mirrored.orientation is not None
    assert face.orientation[1] * mirrored.orientation[1] < 0  # yaw, about the axis that points down


def test_no_face_in_noise_or_black(finder: FaceFinder) -> None:
    assert finder.find(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)) == []
    assert finder.find(np.zeros((480, 640, 3), np.uint8)) == []


def test_a_small_face_gets_a_second_look(finder: FaceFinder, portrait: np.ndarray) -> None:
    image = np.full((480, 640, 3), 128, np.uint8)
    image[40:440, 72:472] = cv2.resize(portrait, (400, 400), interpolation=cv2.INTER_AREA)
    (first_look,) = finder._detect(image)
    (face,) = finder.find(image)
    assert first_look.confidence < 0.75 <= face.confidence
    scale = 400 / 512
    np.testing.assert_allclose(face.keypoints[0], [72 + 201 * scale, 40 + 104 * scale], atol=4)


def test_max_faces_keeps_the_surest(face_model: Path, portrait: np.ndarray) -> None:
    head = portrait[:256, 100:356]
    two = np.hstack([head, head])
    for max_faces, found in ((5, 2), (1, 1)):
        with closing(FaceFinder(face_model, max_faces=max_faces)) as finder:
            assert len(finder.find(two)) == found


def test_boxes_are_inside_the_image(finder: FaceFinder, portrait: np.ndarray) -> None:
    cut = np.ascontiguousarray(portrait[60:, 190:])
    faces = finder.find(cut)
    assert faces
    for face in faces:
        x, y, width, height = face.box
        assert min(x, y) >= 0
        assert x + width <= cut.shape[1]
        assert y + height <= cut.shape[0]


def test_five_people_are_found(finder: FaceFinder, media: Path) -> None:
    faces = finder.find(read_rgb(media / "multi_face.jpg"), mesh=True)
    assert len(faces) == 5
    assert all(face.mesh is not None for face in faces)


def test_face_vanishes_with_the_person(finder: FaceFinder, media: Path) -> None:
    video = cv2.VideoCapture(str(media / "face_noface.mov"))
    counts = []
    while True:
        read, image = video.read()
        if not read:
            break
        counts.append(len(finder.find(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))))
    assert counts[:72] == [1] * 72
    assert sum(counts[72:]) == 0


@pytest.mark.parametrize("image", [np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)])
def test_other_arrays_are_refused(finder: FaceFinder, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="RGB image is uint8"):
        finder.find(image)


def test_missing_or_wrong_model_file(tmp_path: Path) -> None:
    with pytest.raises(FaceModelError, match=r"face\.task: cannot be read.*fetch_face_model"):
        FaceFinder(tmp_path / "face.task")
    (tmp_path / "face.task").write_bytes(b"not a model")
    with pytest.raises(FaceModelError, match=r"face\.task: SHA-256 is .*delete it"):
        FaceFinder(tmp_path / "face.task")


def test_orientation_of_known_matrices() -> None:
    assert _orientation(np.eye(4)) == (0, 0, 0, 1)
    yaw = np.eye(4)
    angle = np.radians(30)  # about MediaPipe's y axis, which points up: the optical frame's points down
    yaw[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    np.testing.assert_allclose(_orientation(yaw), [0, -np.sin(angle / 2), 0, np.cos(angle / 2)], atol=1e-9)
