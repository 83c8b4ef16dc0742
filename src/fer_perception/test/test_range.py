"""Scenes of far faces, and what detectors make of them. Speed is not judged here: the machine is not ours alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.commands.benchmark import command
from fer_perception.commands.benchmark.command import main
from fer_perception.commands.benchmark.range.measure import DETECTORS, Judgement, measure_range, summarise
from fer_perception.commands.benchmark.range.people import Cutout, make_person, make_photograph
from fer_perception.commands.benchmark.range.photographs import EDGES, KEYPOINTS, LabelledFace, load_faces
from fer_perception.commands.benchmark.range.scenes import SIZE, Kind, load_backgrounds, make_picture, make_scene
from fer_perception.errors import FerError
from fer_perception.evaluation.range import RangeResult, distance_m
from fer_perception.faces.finder import open_finder
from fer_perception.geometry import overlap
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8

NIGHT = [np.zeros((480, 640, 3), np.uint8)]
LEFT, TOP, RIGHT, BOTTOM = 60, 40, 240, 260  # of the square face below


@pytest.fixture
def square() -> Cutout:
    """A red face of 180 x 220 pixels in a grey image; its key points are white discs."""
    image = np.full((320, 300, 3), 60, np.uint8)
    image[TOP : BOTTOM + 1, LEFT : RIGHT + 1] = 250, 0, 0
    mesh = np.full((478, 2), (150, 150), np.float32)
    mesh[:4] = (LEFT, TOP), (RIGHT, TOP), (RIGHT, BOTTOM), (LEFT, BOTTOM)
    mesh[list(EDGES)] = (LEFT, 150), (RIGHT, 150)
    mesh[list(KEYPOINTS)] = (105, 110), (195, 110), (150, 150), (115, 200), (185, 200)
    for x, y in mesh[list(KEYPOINTS)].astype(int):
        cv2.circle(image, (int(x), int(y)), 12, (255, 255, 255), -1)
    return Cutout(image, np.ones((320, 300), np.float32), mesh)


@pytest.fixture
def manifest(tmp_path: Path, portrait: np.ndarray) -> Path:
    """Three photographs of the portrait's smiling face and one without a face."""
    head = cv2.resize(portrait[:240, 100:340], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)[..., ::-1]
    folder = tmp_path / "images"
    folder.mkdir()
    for name, image in (("a", head), ("b", head[:, ::-1]), ("c", head), ("d", head[:80])):
        cv2.imwrite(str(folder / f"{name}.png"), image)
    file = tmp_path / "labels.csv"
    rows = ("a.png,happiness,test", "b.png,happy,test", "c.png,contempt,test", "d.png,happy,test", "e.png,sad,train")
    file.write_text("image,emotion,split\n" + "\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize("kind", [Kind(24), Kind(96), Kind(48, roll_deg=30), Kind(64, hard_edge=True)])
def test_box_and_key_points_are_where_the_pixels_are(square: Cutout, kind: Kind) -> None:
    for seed in range(4):
        scene = make_scene(square, kind, NIGHT, seed)
        assert (scene.image.shape, scene.image.dtype) == ((480, 640, 3), np.uint8)
        red, green, _ = scene.image.astype(int).transpose(2, 0, 1)
        rows, columns = np.nonzero((red > 160) & (red - green > 100))
        x, y, width, height = scene.box
        seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert np.abs(np.subtract(seen, (x, y, x + width, y + height))).max() <= 1
        scale = kind.width / (RIGHT - LEFT)
        grid = np.stack(np.meshgrid(np.arange(640), np.arange(480)), 2)
        for point in scene.keypoints:
            near = np.linalg.norm(grid - point, axis=2) < 18 * scale
            weights = np.where(near, np.clip(green - 30, 0, None), 0)  # grey and red weigh little, white much
            assert (grid * weights[..., None]).sum((0, 1)) / weights.sum() == pytest.approx(point, abs=0.5)


def test_a_roll_turns_the_head_about_its_middle(square: Cutout) -> None:
    rolls = set()
    for seed in range(8):
        upright, rolled = (make_scene(square, Kind(48, roll_deg=roll_deg), NIGHT, seed) for roll_deg in (0, 30))
        across, down = rolled.keypoints[1] - rolled.keypoints[0]
        rolls.add(round(float(np.degrees(np.arctan2(down, across)))))
        middles = [np.add(scene.box[:2], np.divide(scene.box[2:], 2)) for scene in (upright, rolled)]
        assert rolled.box[2] > 1.2 * upright.box[2]
        assert middles[0] == pytest.approx(middles[1], abs=1)
    assert rolls == {-30, 30}


def test_a_hard_edge_does_not_blend(square: Cutout) -> None:
    opacity = np.zeros_like(square.opacity)
    cv2.circle(opacity, (150, 150), 80, 1.0, -1)
    soft = Cutout(np.full_like(square.image, 255), cv2.GaussianBlur(opacity, (0, 0), 15), square.mesh)
    assert set(np.unique(make_scene(soft, Kind(64, hard_edge=True), NIGHT, 0).image)) == {0, 255}
    assert len(np.unique(make_scene(soft, Kind(64), NIGHT, 0).image)) > 20


def test_each_run_makes_the_same_scenes(square: Cutout) -> None:
    backgrounds = load_backgrounds()
    first, again, other = (make_scene(square, Kind(32), backgrounds, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert first.box == again.box != other.box


def test_pictures_fill_the_image_and_come_from_a_folder_too(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "tiny.png"), np.full((10, 90, 3), (10, 200, 30), np.uint8))
    backgrounds = load_backgrounds(tmp_path)
    assert len(backgrounds) == len(load_backgrounds()) + 1
    pictures = [make_picture(backgrounds, np.random.default_rng(seed)) for seed in range(40)]
    assert {picture.shape for picture in pictures} == {(SIZE[1], SIZE[0], 3)}
    assert sum((picture == (30, 200, 10)).all() for picture in pictures) in range(1, 20)
    with pytest.raises(FerError, match=r"nowhere: is no folder"):
        load_backgrounds(tmp_path / "nowhere")


def test_photographs_of_one_wide_face_with_a_label_of_the_model(manifest: Path) -> None:
    faces, looked_at = load_faces(manifest, "test", 10, EMOTIONS_7)
    assert ([face.label for face in faces], looked_at) == (["happy", "happy"], 4)
    assert [face.label for face in load_faces(manifest, "test", 10, EMOTIONS_8)[0]].count("contempt") == 1
    assert len(load_faces(manifest, "test", 1, EMOTIONS_7)[0]) == 1
    with pytest.raises(FerError, match=r"none of 4 photographs shows exactly one face.*\(sad\)"):
        load_faces(manifest, "test", 10, ["sad"])


def test_a_person_has_the_face_where_its_mesh_says(manifest: Path) -> None:
    face = load_faces(manifest, "test", 1, EMOTIONS_7)[0][0]
    person, points = make_person(face), list(KEYPOINTS)
    eyes = np.linalg.norm(person.mesh[points[1]] - person.mesh[points[0]])
    assert _opacity_at(person, person.mesh[points]) == pytest.approx(np.ones(5))
    corners = np.asarray([(0, 0), (person.image.shape[1] - 1, person.image.shape[0] - 1)])
    assert _opacity_at(person, corners) == pytest.approx([0, 0])
    found = open_finder().find(person.image)
    assert len(found) == 1
    errors = np.linalg.norm(found[0].keypoints - person.mesh[points], axis=1)
    assert errors.max() < 0.3 * eyes


def test_a_photograph_alone_is_a_square_around_the_face() -> None:
    mesh = np.full((478, 2), (200, 150), np.float32)
    mesh[list(EDGES)] = (150, 150), (250, 150)
    photograph = make_photograph(LabelledFace(np.zeros((220, 600, 3), np.uint8), "sad", mesh))
    rows, columns = np.nonzero(photograph.opacity)
    assert (columns.min(), columns.max()) == (105, 294)  # 0.95 widths to each side
    assert (rows.min(), rows.max()) == (55, 219)  # and no further than the photograph reaches
    assert photograph.opacity[55:, 105:295].all()


def _opacity_at(person: Cutout, points: np.ndarray) -> list[float]:
    return [float(person.opacity[y, x]) for x, y in points.round().astype(int)]


def test_summary_of_a_kind_of_scenes() -> None:
    judged = [Judgement(True, True, 0.1, 0.02), Judgement(True, False, 0.3, 0.04)]
    judged.append(Judgement(False, False, float("nan"), float("nan")))
    result = summarise(Kind(32, roll_deg=30), [*judged, Judgement(True, False, 0.2, 0.12)])
    assert (result.found, result.accuracy, result.found_and_right) == (0.75, 0.3333, 0.25)
    assert result.keypoint_error == pytest.approx(0.2)
    assert result.distance_error == pytest.approx((0.04, 0.104))
    assert (result.width_px, result.roll_deg, result.hard_edge, result.distance_m) == (32, 30, False, 2.6)
    nothing = summarise(Kind(12), [Judgement(False, False, float("nan"), float("nan"))] * 2)
    assert (nothing.found, nothing.accuracy, nothing.found_and_right, nothing.keypoint_error) == (0, None, 0, None)


def test_distances() -> None:
    assert distance_m(640 * 0.15) == pytest.approx(np.sqrt(3) / 2)  # half the image, 0.5 m, is seen at 30 degrees
    assert distance_m(32, view_deg=90, image_width_px=1280) == pytest.approx(3.0)


@pytest.mark.usefixtures("detector_model")
def test_the_command(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real detectors and networks, with fewer pictures and kinds of scenes than the command has."""
    kinds = (Kind(24), Kind(32), Kind(160), Kind(96, hard_edge=True), Kind(48, roll_deg=30))
    monkeypatch.setattr(command, "measure_range", partial(measure_range, pictures=2, kinds=kinds))
    manifest.write_text(manifest.read_text().replace("contempt", "happy"))
    written = ["--json", str(tmp_path / "out" / "range.json"), "--plot", str(tmp_path / "plots" / "range.png")]
    options = ["--split", "test", "--faces", "5", "--rounds", "1", "--model", "baseline"]
    assert main(["range", str(manifest), *options, *written]) == 0
    result = RangeResult.read(tmp_path / "out" / "range.json")
    assert (result.photographs, result.faces, result.pictures) == (4, 3, 2)
    assert result.model.startswith("baseline")
    assert [detector.name for detector in result.detectors] == list(DETECTORS)
    blazeface, near, auto = result.detectors
    for detector in result.detectors:
        assert [Kind(s.width_px, s.hard_edge, s.roll_deg) for s in detector.scenes] == list(kinds)
        widest = detector.scenes[2]
        assert (widest.found, widest.accuracy, widest.found_and_right) == (1, 1, 1)
        assert widest.keypoint_error is not None
        assert 0 < widest.keypoint_error < 0.2
        assert widest.distance_error is not None
        assert widest.distance_error[0] < 0.15
        assert (detector.times["one face"].faces, detector.times["nobody"].faces) == (1, 0)
        assert all(time.mean_ms > 0 for time in detector.times.values())
    assert [time.ratio for time in blazeface.times.values()] == [1, 1, 1]
    assert (blazeface.scenes[0].found, blazeface.scenes[1].found) == (0, 0)
    assert (auto.scenes[0].found, auto.scenes[1].found) == (1, 1)
    assert (near.times["eight faces"].faces, auto.times["eight faces"].faces) == (8, 8)
    assert cv2.imread(str(tmp_path / "plots" / "range.png")).shape[1] > 500
    text = capsys.readouterr().out
    assert "labels.csv, split test: 3 faces of 4 photographs; baseline" in text
    row = next(line for line in text.splitlines() if line.startswith(" 160"))
    assert row.split()[:5] == ["160", "0.52", "100", "100", "100"]
    assert sum("rolled 30°" in line for line in text.splitlines()) == 1


@pytest.mark.usefixtures("detector_model")
def test_scenes_look_like_what_their_truth_says(manifest: Path) -> None:
    """At every width the finder, which knows nothing of the truth, agrees with it."""
    finder, backgrounds = open_finder(), load_backgrounds()
    faces, _ = load_faces(manifest, "test", 2, EMOTIONS_7)
    for seed, face in enumerate(faces):
        for kind in (Kind(32), Kind(64), Kind(160)):
            scene = make_scene(make_person(face), kind, backgrounds, seed)
            boxes = [found.box for found in finder.find(scene.image)]
            assert max(overlap(box, scene.box) for box in boxes) > 0.5
