"""How well persons are found: on generated faces, whose persons are planted, and the file names and errors."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.faces.detector import Face
from fer_perception.models.bundle import Bundle

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "measure_identity.py"
MODEL = ROOT / "src/fer_perception/models/hybrid_attention_lite0_robust"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = spec_from_file_location("measure_identity", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def observed(script: Any, persons: int = 40, pictures: int = 6) -> Any:
    """Persons whose embedding is their own, whose distribution is noise, and whose crops lie in between."""
    rng = np.random.default_rng(0)
    names = np.repeat([f"P_{number:02}" for number in range(persons)], pictures)
    own = np.repeat(rng.standard_normal((persons, 16)), pictures, axis=0)
    noise = rng.standard_normal((4, len(names), 16))
    features = {
        "embedding": own + 0.1 * noise[0],
        "crop": own + 2 * noise[1],
        "keypoints": noise[2],
        "distribution": noise[3],
    }
    return script.Observed(names, features, script.known_half(names), np.array([1.0, 0.0, 1.0, 1.0]))


def test_planted_persons_are_found_and_noise_is_at_chance(script: Any) -> None:
    result = script.measure(observed(script))
    assert (result["persons"], result["known_pictures"], result["asked_pictures"]) == (40, 120, 120)
    assert result["chance"] == {"most_frequent": 1 / 40, "uniform": 1 / 40}
    assert result["emotion_accuracy"]["mean"] == 0.75
    found = result["identified"]
    for attack in ("nearest_neighbour", "linear_probe"):
        assert found["embedding"][attack]["share"] > 0.95
        assert 0.1 < found["crop"][attack]["share"] < 0.9
        lower, upper = found["distribution"][attack]["interval"]
        assert lower <= 1 / 40 <= upper
    assert [entry["mode"] for entry in found.values()] == ["", "off", "no_images", "strict"]
    assert result == script.measure(observed(script))


def test_intervals_resample_persons(script: Any) -> None:
    hits, persons = np.array([True] * 50 + [False] * 50), np.array(["a"] * 50 + ["b"] * 50)
    found = script.share_and_interval(hits, persons)
    assert found == {"share": 0.5, "interval": [0.0, 1.0]}


def test_half_of_each_persons_pictures_is_known(script: Any) -> None:
    known = script.known_half(np.array(["a", "b", "a", "b", "a"]))
    assert known.tolist() == [True, True, True, False, False]


def test_shapes_do_not_depend_on_place_size_and_turn(script: Any) -> None:
    points = np.array([[10, 20], [30, 20], [20, 30], [20, 40], [5, 25], [35, 25]], np.float32)
    mesh = np.random.default_rng(0).random((478, 3)).astype(np.float32) * 40
    face = Face((0, 0, 40, 50), 1.0, points, mesh)
    shape = script.keypoints_and_box(face)
    assert shape.shape == (28,)
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned_mesh = np.column_stack([3 * mesh[:, :2] @ turn.T + 7, 3 * mesh[:, 2]]).astype(np.float32)
    turned = Face((0, 0, 40, 50), 1.0, (3 * points @ turn.T + 7).astype(np.float32), turned_mesh)
    np.testing.assert_allclose(shape[16:], script.keypoints_and_box(turned)[16:], atol=1e-5)
    np.testing.assert_allclose(shape[16:20], [-0.5, 0, 0.5, 0], atol=1e-6)  # the eyes
    np.testing.assert_allclose(script.mesh_shape(face), script.mesh_shape(turned), atol=1e-4)
    np.testing.assert_allclose(script.mesh_shape(face).reshape(478, 3).mean(axis=0), 0, atol=1e-5)


def test_the_embedding_gives_the_bundles_own_logits(script: Any) -> None:
    crops = list(np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8))
    logits, embedding = script.embed(Bundle(MODEL), crops)
    np.testing.assert_allclose(logits, EmotionClassifier(MODEL).logits(crops), atol=1e-4)
    assert embedding.shape == (3, 1280)
    assert embedding.std() > 0


def test_the_whole_on_two_persons(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portrait = np.ascontiguousarray(astronaut()[:300, 100:400, ::-1])
    rows = ["image,emotion,split"]
    for person, picture in (("Ann_Bright", portrait), ("Bea_Mirror", portrait[:, ::-1] // 2)):
        for number in range(4):
            name = f"{person}_{number:04}.jpg"
            cv2.imwrite(str(tmp_path / name), np.ascontiguousarray(picture[3 * number :, number:]))
            rows.append(f"{name},happiness,{'adapt' if number == 3 else 'test'}")
    for name in ("film_12.jpg", "One_Picture_0001.jpg"):
        cv2.imwrite(str(tmp_path / name), portrait)
        rows.append(f"{name},happiness,test")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    file, picture = tmp_path / "out" / "identity.json", tmp_path / "out" / "identity.png"
    command = ["--model", str(MODEL), "--pictures", str(tmp_path), "--json", str(file), "--plot", str(picture)]
    script.main(command)
    result = json.loads(file.read_text())
    assert (result["persons"], result["known_pictures"], result["asked_pictures"]) == (2, 4, 4)
    assert result["emotion_accuracy"]["n"] == 6  # labels of "adapt" are not used
    assert result["identified"]["crop"]["nearest_neighbour"]["share"] == 1
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    assert drawn.std() > 10
    assert "persons named rightly" in capsys.readouterr().out


def test_errors_name_the_remedy(script: Any, tmp_path: Path) -> None:
    command = ["--model", str(MODEL), "--pictures", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"--most: 1 picture\(s\) cannot be divided"):
        script.main([*command, "--most", "1"])
    cv2.imwrite(str(tmp_path / "film_12.jpg"), np.zeros((9, 9), np.uint8))
    (tmp_path / "labels.csv").write_text("image,emotion,split\nfilm_12.jpg,sad,test\n")
    with pytest.raises(SystemExit, match=r"fewer than two persons have two pictures\. Name the files"):
        script.main(command)
    rows = ["image,emotion,split"]
    for name in ("A_B_0001.png", "A_B_0002.png", "C_D_0001.png", "C_D_0002.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((64, 64), np.uint8))
        rows.append(f"{name},sad,test")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(SystemExit, match=r"faces were found in 0 of 4 pictures"):
        script.main(command)
