from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.errors import FaceModelError, ImageError
from fer_perception.faces.close_look import Place
from fer_perception.faces.finder import (
    FAR_PERIOD_S,
    NEAR_PERIOD_S,
    PARTS,
    SEARCH_PERIOD_S,
    FaceFinder,
    _area,
    _is_due,
    _is_new,
    _parts,
    open_finder,
)
from fer_perception.faces.landmarker import _orientation
from fer_perception.faces.tracker import Outlook, Tracker
from fer_perception.settings import FaceSettings, Range


@pytest.fixture(scope="module")
def finder(detector_model: Path) -> Iterator[FaceFinder]:
    with closing(open_finder(FaceSettings(detector_model=str(detector_model)))) as finder:
        yield finder


def read_rgb(file: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)


def test_keypoints_of_the_portrait(finder: FaceFinder, portrait: np.ndarray) -> None:
    (face,) = finder.find(portrait)
    right_eye, left_eye, nose, right_mouth, left_mouth = face.keypoints
    mouth = face.eyes_and_mouth[2]
    assert face.confidence > 0.75
    # Read off the image by eye, to some 4 pixels.
    np.testing.assert_allclose([right_eye, left_eye, mouth], [[201, 104], [245, 108], [220, 147]], atol=7)
    assert right_eye[1] < nose[1] < mouth[1]
    assert right_mouth[0] < nose[0] < left_mouth[0]
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
    offset = np.linalg.norm(middles - fast.eyes_and_mouth, axis=1)
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
    assert face.orientation[2] * mirrored.orientation[2] < 0  # roll, about the axis that points away from the camera
    assert face.orientation[0] == pytest.approx(mirrored.orientation[0], abs=0.05)  # pitch


def test_no_face_in_noise_or_black(finder: FaceFinder) -> None:
    assert finder.find(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)) == []
    assert finder.find(np.zeros((480, 640, 3), np.uint8)) == []


ALL = [*PARTS]


def in_a_room(
    portrait: np.ndarray, width: int, roll_deg: float = 0.0, middle: tuple[int, int] = (320, 240)
) -> np.ndarray:
    """A grey image of 640 x 480 with the portrait, whose face is some pixels wide, turned about its middle."""
    scale = width / 90  # the face in the portrait is 90 pixels wide, and its middle at 223, 118
    turn = cv2.getRotationMatrix2D((223, 118), -roll_deg, scale)
    turn[:, 2] += np.asarray(middle) - (223, 118)
    small = cv2.GaussianBlur(portrait, (0, 0), 0.4 / scale)
    return cv2.warpAffine(small, turn, (640, 480), borderMode=cv2.BORDER_CONSTANT, borderValue=(128, 128, 128))


@pytest.mark.parametrize("width", [20, 24, 32, 64, 200])
def test_far_and_near_faces_are_found(finder: FaceFinder, portrait: np.ndarray, width: int) -> None:
    (face,) = finder.find(in_a_room(portrait, width))
    x, y, box_width, box_height = face.box
    assert box_width == pytest.approx(width, rel=0.3)
    np.testing.assert_allclose([x + box_width / 2, y + box_height / 2], [320, 240], atol=0.15 * width + 1)
    right_eye, left_eye = face.keypoints[:2]
    assert 0.35 * width < left_eye[0] - right_eye[0] < 0.7 * width


@pytest.mark.parametrize("roll_deg", [-30, 30])
def test_a_tilted_head_is_looked_at_again_upright(finder: FaceFinder, portrait: np.ndarray, roll_deg: int) -> None:
    (face,) = finder.find(in_a_room(portrait, 48, roll_deg))
    assert face.confidence >= 0.75
    np.testing.assert_allclose(face.keypoints.mean(0), [320, 240], atol=12)


def test_a_followed_face_is_looked_for_where_it_should_be(finder: FaceFinder, portrait: np.ndarray) -> None:
    """Too small for the look at the whole image that its outlook asks for, and turned further than is found unasked."""
    image = in_a_room(portrait, 24, 60)
    assert finder.find(image, Outlook(0.1, 0.07)) == []
    known = Outlook(0.1, 0.07, [Place(322, 238, 26, np.radians(55))])
    (face,) = finder.find(image, known)
    assert np.degrees(face.roll_rad) == pytest.approx(60, abs=10)
    np.testing.assert_allclose(face.keypoints.mean(0), [320, 240], atol=5)


def test_how_often_it_looks_into_the_distance(finder: FaceFinder) -> None:
    somebody = [Place(0, 0, 10, 0.0)]
    assert _is_due(None)  # an image alone
    assert _is_due(Outlook(5.0))  # the first one
    assert not _is_due(Outlook(5.2, 5.17, somebody))
    assert _is_due(Outlook(5.2, 5.17, somebody, lost=True))
    for rate_hz in (7, 30, 100):
        due = [_is_due(Outlook(b, a, somebody)) for a, b in pairwise(np.arange(0, 10, 1 / rate_hz))]
        assert sum(due) == pytest.approx(10 / FAR_PERIOD_S, abs=1)


@pytest.mark.parametrize("rate_hz", [0.5, 3, 7, 30, 100])
def test_every_part_has_its_turn_at_any_rate(rate_hz: float) -> None:
    somebody = [Place(0, 0, 10, 0.0)]
    assert _parts(None) == _parts(Outlook(5.0)) == _parts(Outlook(5.2, 5.17, somebody, lost=True)) == ALL
    for expected, period_s in ((somebody, FAR_PERIOD_S), ([], SEARCH_PERIOD_S)):
        looks = [_parts(Outlook(b, a, expected)) for a, b in pairwise(np.arange(0, 10, 1 / rate_hz))]
        counts = [sum(part in look for look in looks) for part in ALL]
        assert counts == pytest.approx([min(10 / period_s, len(looks))] * len(ALL), abs=1.01)
        if rate_hz * period_s > len(ALL) + 0.1:  # one after the other
            assert max(map(len, looks)) == 1


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (720, 1280), (33, 700), (20, 30)])
def test_parts_cover_the_image_and_share_more_than_a_far_face(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    areas = [_area(part, image) for part in ALL]
    seen = np.zeros((height, width), int)
    for left, top, columns, rows in areas:
        assert min(left, top) >= 0
        assert left + columns <= width
        assert top + rows <= height
        seen[top : top + rows, left : left + columns] += 1
    assert seen.min() == 1 or min(height, width) <= 64
    if min(height, width) > 128:
        top_of_next_row = next(top for _, top, _, _ in areas if top)
        shared = areas[0][2] - areas[1][0], areas[0][3] - top_of_next_row
        # Faces of 64 pixels, or of 32 where the whole image is seen, are found there.
        least = 63 * max(height, width) / 640
        assert min(shared) >= least
        assert sum(columns * rows for _, _, columns, rows in areas) < 1.45 * height * width


def test_an_image_at_30_hz_is_seen_whole_or_in_part() -> None:
    somebody = [Place(0, 0, 10, 0.0)]
    outlooks = [Outlook(b, a, somebody) for a, b in pairwise(np.arange(0, 10, 1 / 30))]
    whole = [_is_new(outlook, NEAR_PERIOD_S) for outlook in outlooks]
    parts = [len(_parts(outlook)) for outlook in outlooks]
    assert sum(whole) == pytest.approx(60, abs=1)
    assert sum(parts) == pytest.approx(60, abs=1)
    assert not any(part for part, is_whole in zip(parts, whole, strict=True) if is_whole)


@pytest.mark.parametrize("middle", [(60, 60), (320, 240), (350, 250), (600, 200), (200, 440)])
def test_a_far_face_is_found_within_a_second_while_another_is_followed(
    finder: FaceFinder, portrait: np.ndarray, middle: tuple[int, int]
) -> None:
    image = in_a_room(portrait, 26)
    image = np.roll(image, (middle[1] - 240, middle[0] - 320), (0, 1))
    near = [Place(1000, 1000, 50, 0.0)]  # out of sight
    found = [finder.find(image, Outlook(i / 30, (i - 1) / 30, near)) for i in range(301, 331)]
    assert any(found)
    (face,) = next(faces for faces in found if faces)
    np.testing.assert_allclose(face.keypoints.mean(0), middle, atol=6)


@pytest.mark.parametrize(("chosen", "sides"), [("near", [320]), ("auto", [320, 640]), ("far", [320, 640, 640])])
def test_the_range_says_how_far_it_looks(
    detector_model: Path, chosen: Range, sides: list[int], portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    look = FaceFinder._seen
    monkeypatch.setattr(FaceFinder, "_seen", lambda self, *args: (seen.append(args[1]), look(self, *args))[1])
    with closing(open_finder(FaceSettings(detector_model=str(detector_model), range=chosen))) as finder:
        (face,) = finder.find(in_a_room(portrait, 100))
        x, y, width, height = face.box
        finder.find(in_a_room(portrait, 100), Outlook(5.2, 5.17, [Place(x + width / 2, y + height / 2, width, 0.0)]))
    assert seen == sides


def test_without_yunet_near_faces_are_found(face_model: Path, portrait: np.ndarray, finder: FaceFinder) -> None:
    with closing(FaceFinder(face_model, None)) as blind:
        assert not blind.sees_far
        (face,), (other,) = blind.find(portrait), finder.find(portrait)
        np.testing.assert_allclose(face.keypoints, other.keypoints, atol=8)
        assert blind.find(in_a_room(portrait, 24)) == []


@pytest.mark.usefixtures("detector_model")
def test_a_crowd_is_followed_in_every_image(portrait: np.ndarray) -> None:
    head = cv2.resize(portrait[:256, 100:356], (128, 128), interpolation=cv2.INTER_AREA)
    crowd = np.tile(head, (4, 5, 1))
    tracker = Tracker(seed=0)
    with closing(open_finder(FaceSettings(max_faces=30))) as finder:
        for stamp_s in (0.0, 0.02, 0.04, 0.06):  # only the first is seen whole
            faces = finder.find(crowd, tracker.outlook(stamp_s))
            tracker.update([face.box for face in faces], stamp_s, [face.roll_rad for face in faces])
            assert len(faces) == 20


def test_max_faces_keeps_the_surest(portrait: np.ndarray) -> None:
    head = portrait[:256, 100:356]
    two = np.hstack([head, head])
    for max_faces, found in ((5, 2), (1, 1)):
        with closing(open_finder(FaceSettings(max_faces=max_faces))) as finder:
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


def test_missing_or_wrong_model_file(tmp_path: Path, face_model: Path) -> None:
    with pytest.raises(FaceModelError, match=r"face\.task: cannot be read.*fetch_face_model"):
        FaceFinder(tmp_path / "face.task", None)
    (tmp_path / "face.task").write_bytes(b"not a model")
    with pytest.raises(FaceModelError, match=r"face\.task: SHA-256 is .*delete it"):
        FaceFinder(tmp_path / "face.task", None)
    with pytest.raises(FaceModelError, match=r"face\.task: SHA-256 is .*delete it"):
        FaceFinder(face_model, tmp_path / "face.task")


def test_orientation_of_known_matrices() -> None:
    assert _orientation(np.eye(4)) == (0, 0, 0, 1)
    yaw = np.eye(4)
    angle = np.radians(30)  # about MediaPipe's y axis, which points up: the optical frame's points down
    yaw[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    np.testing.assert_allclose(_orientation(yaw), [0, -np.sin(angle / 2), 0, np.cos(angle / 2)], atol=1e-9)
