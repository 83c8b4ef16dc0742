"""How well persons are found: on generated faces, whose persons are planted, and the file names and errors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from skimage.data import astronaut

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.faces.face import Face
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_model
from fer_training.__main__ import main
from fer_training.evaluation import identity
from fer_training.evaluation.identity import (
    Fraction,
    IdentityResult,
    Observed,
    attack,
    embed,
    fraction_of,
    keypoints_and_box,
    known_half,
    mesh_shape,
)

MODEL = resolve_model("hybrid_attention_lite0")


def observed(persons: int = 40, images: int = 6) -> Observed:
    """Persons whose embedding is their own, whose distribution is noise, and whose crops lie in between."""
    rng = np.random.default_rng(0)
    names = np.repeat([f"P_{number:02}" for number in range(persons)], images)
    own = np.repeat(rng.standard_normal((persons, 16)), images, axis=0)
    noise = rng.standard_normal((4, len(names), 16))
    features = {
        "embedding": own + 0.1 * noise[0],
        "crop": own + 2 * noise[1],
        "keypoints": noise[2],
        "distribution": noise[3],
    }
    return Observed(names, features, known_half(names), np.array([1.0, 0.0, 1.0, 1.0]))


def test_planted_persons_are_found_and_noise_is_at_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "find_portraits", lambda *_: ((), []))
    monkeypatch.setattr(identity, "observe", lambda *_: observed())
    result = identity.measure_identity(Path("a"), Path("b"))
    assert (result.persons, result.known_images, result.asked_images) == (40, 120, 120)
    assert (result.chance.most_frequent, result.chance.uniform) == (1 / 40, 1 / 40)
    assert result.emotion_accuracy.mean == 0.75
    found = result.identified
    for attacker in ("nearest_neighbour", "linear_probe"):
        embedding, crop, distribution = (getattr(found[n], attacker) for n in ("embedding", "crop", "distribution"))
        assert embedding.fraction > 0.95
        assert 0.1 < crop.fraction < 0.9
        assert distribution.interval[0] <= 1 / 40 <= distribution.interval[1]
    assert [entry.mode for entry in found.values()] == ["", "off", "no_images", "strict"]
    assert attack("crop", observed().features["crop"], observed()) == found["crop"]


def test_intervals_resample_persons() -> None:
    hits, persons = np.array([True] * 50 + [False] * 50), np.array(["a"] * 50 + ["b"] * 50)
    assert fraction_of(hits, persons) == Fraction(fraction=0.5, interval=(0.0, 1.0))


def test_half_of_each_persons_images_is_known() -> None:
    known = known_half(np.array(["a", "b", "a", "b", "a"]))
    assert known.tolist() == [True, True, True, False, False]


def test_shapes_do_not_depend_on_place_size_and_turn() -> None:
    points = np.array([[10, 20], [30, 20], [20, 30], [12, 40], [28, 40]], np.float32)
    mesh = np.random.default_rng(0).random((478, 3)).astype(np.float32) * 40
    face = Face((0, 0, 40, 50), 1.0, points, mesh)
    shape = keypoints_and_box(face)
    assert shape.shape == (24,)
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned_mesh = np.column_stack([3 * mesh[:, :2] @ turn.T + 7, 3 * mesh[:, 2]]).astype(np.float32)
    turned = Face((0, 0, 40, 50), 1.0, (3 * points @ turn.T + 7).astype(np.float32), turned_mesh)
    np.testing.assert_allclose(shape[14:], keypoints_and_box(turned)[14:], atol=1e-5)
    np.testing.assert_allclose(shape[14:18], [-0.5, 0, 0.5, 0], atol=1e-6)  # the eyes
    np.testing.assert_allclose(mesh_shape(face), mesh_shape(turned), atol=1e-4)
    np.testing.assert_allclose(mesh_shape(face).reshape(478, 3).mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("name", ["hybrid_attention_lite0", "dual_adaptive", "landmark_compressed"])
def test_the_embedding_gives_the_bundles_own_logits(name: str) -> None:
    crops = list(np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8))
    bundle = resolve_model(name)
    logits, embedding = embed(Bundle(bundle), crops)
    np.testing.assert_allclose(logits, EmotionClassifier(bundle).logits(crops), atol=1e-4)
    values = {v.name: numpy_helper.to_array(v) for v in onnx.load(bundle / "fp32.onnx").graph.initializer}
    layers = [layer for layer in ("classifier.1", "local_classifier") if f"{layer}.weight" in values]
    weight = np.concatenate([values[f"{layer}.weight"] for layer in layers], 1)
    np.testing.assert_allclose(
        embedding @ weight.T + sum(values[f"{layer}.bias"] for layer in layers), logits, atol=1e-3
    )
    assert embedding.std() > 0


def test_the_whole_on_two_persons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portrait = np.ascontiguousarray(astronaut()[:300, 100:400, ::-1])
    rows = ["image,emotion,split"]
    for person, image in (("Ann_Bright", portrait), ("Bea_Mirror", portrait[:, ::-1] // 2)):
        for number in range(4):
            name = f"{person}_{number:04}.jpg"
            cv2.imwrite(str(tmp_path / name), np.ascontiguousarray(image[3 * number :, number:]))
            rows.append(f"{name},happiness,{'adapt' if number == 3 else 'test'}")
    for name in ("film_12.jpg", "One_Picture_0001.jpg"):
        cv2.imwrite(str(tmp_path / name), portrait)
        rows.append(f"{name},happiness,test")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    command = ["identify", "--bundle", str(MODEL), "--manifest", str(tmp_path), "--plots", str(out)]
    main([*command, "--json", str(out / "identity.json")])
    result = IdentityResult.read(out / "identity.json")
    assert (result.persons, result.known_images, result.asked_images) == (2, 4, 4)
    assert result.emotion_accuracy.n == 6  # labels of "adapt" are not used
    assert result.identified["crop"].nearest_neighbour.fraction == 1
    drawn = cv2.imread(str(out / "identity.png"))
    assert drawn is not None
    assert drawn.std() > 10
    assert "persons named rightly" in capsys.readouterr().out


def test_errors_name_the_remedy(tmp_path: Path) -> None:
    command = ["identify", "--bundle", str(MODEL), "--manifest", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"--most: 1 image\(s\) cannot be divided"):
        main([*command, "--most", "1"])
    cv2.imwrite(str(tmp_path / "film_12.jpg"), np.zeros((9, 9), np.uint8))
    (tmp_path / "labels.csv").write_text("image,emotion,split\nfilm_12.jpg,sad,test\n")
    with pytest.raises(SystemExit, match=r"fewer than two persons have two images\. Name the files"):
        main(command)
    rows = ["image,emotion,split"]
    for name in ("A_B_0001.png", "A_B_0002.png", "C_D_0001.png", "C_D_0002.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((64, 64), np.uint8))
        rows.append(f"{name},sad,test")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(SystemExit, match=r"faces were found in 0 of 4 images"):
        main(command)
