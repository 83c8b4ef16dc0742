"""Corruptions on real crops: they grow with severity, hit what they should, and are the same every time."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from fer_perception.errors import FerError
from fer_perception.preprocessing.alignment import align, similarity_transform
from fer_training.__main__ import main
from fer_training.datasets import load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.predictions import load_model
from fer_training.evaluation.robustness import CORRUPTIONS, SEVERITIES, corrupt
from fer_training.evaluation.robustness.corruptions import turned_view
from fer_training.evaluation.robustness.occlusion import mouth_mask, sunglasses
from fer_training.evaluation.robustness.stress import StressResult, evaluate_stress, families, format_stress, summarise
from fer_training.networks.landmark_regions import region_maps

EYES_AND_MOUTH = np.array([[200, 118], [248, 117], [224, 166]])  # of the portrait


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A real face, RGB, 96 x 96, aligned."""
    return align(astronaut(), EYES_AND_MOUTH, FER2013_TEMPLATE, 96, 96)


@pytest.fixture(scope="module")
def faces(portrait: np.ndarray) -> list[np.ndarray]:
    """Its mirror image, a grey and a small one, too: three shapes in one list."""
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    return [portrait, portrait[:, ::-1].copy(), grey, cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)]


def distance(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(image.astype(float) - other).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_pictures_more_than_the_one_before(name: str, faces: list[np.ndarray]) -> None:
    many = faces * 8
    changes = []
    for severity in SEVERITIES:
        found = corrupt(many, name, severity, FER2013_TEMPLATE)
        assert [(image.shape, image.dtype) for image in found] == [(image.shape, np.uint8) for image in many]
        changes.append(np.mean([distance(a, b) for a, b in zip(found, many, strict=True)]))
    assert changes[0] > 0.2
    assert np.all(np.diff(changes) > 0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_decides_and_nothing_else(name: str, faces: list[np.ndarray]) -> None:
    before = [image.copy() for image in faces]
    first = corrupt(faces, name, 3, FER2013_TEMPLATE)
    again = corrupt(faces[:2], name, 3, FER2013_TEMPLATE)
    for image, same in zip(faces, before, strict=True):
        np.testing.assert_array_equal(image, same)
    for image, same in zip(first[:2], again, strict=True):
        np.testing.assert_array_equal(image, same)
    other = corrupt(faces, name, 3, FER2013_TEMPLATE, seed=1)
    is_random = name in ("block", "motion_blur", "sensor_noise", "combined")
    if is_random:
        assert not np.array_equal(first[0], other[0])
    elif name not in ("yaw", "pitch"):  # these have two sides to choose from
        np.testing.assert_array_equal(first[0], other[0])


def test_mask_and_sunglasses_lie_over_mouth_and_eyes() -> None:
    eyes, _, mouth = region_maps(FER2013_TEMPLATE, 96, 96)
    covers = {
        "mouth_mask": [
            mouth_mask(FER2013_TEMPLATE, 96, 96, *values) for values in CORRUPTIONS["mouth_mask"].severities
        ],
        "sunglasses": [
            sunglasses(FER2013_TEMPLATE, 96, 96, *values) for values in CORRUPTIONS["sunglasses"].severities
        ],
    }

    def fraction(cover: np.ndarray, region: np.ndarray) -> float:
        return float((cover * region).sum() / region.sum())

    for name, hit, spared in (("mouth_mask", mouth, eyes), ("sunglasses", eyes, mouth)):
        fractions = [fraction(cover, hit) for cover in covers[name]]
        assert fractions == sorted(fractions)
        assert fractions[-1] > 0.85
        assert all(fraction(cover, spared) < 0.06 for cover in covers[name])
    right_eye, left_eye, middle = FER2013_TEMPLATE.points(96, 96).round().astype(int)
    assert all(cover[middle[1], middle[0]] == 1 for cover in covers["mouth_mask"])
    assert all(cover[eye[1], eye[0]] == 1 for cover in covers["sunglasses"] for eye in (right_eye, left_eye))


def test_blocks_have_their_fraction_and_lie_about_the_face() -> None:
    black = [np.zeros((48, 48), np.uint8)] * 200
    for severity, (fraction,) in zip(SEVERITIES, CORRUPTIONS["block"].severities, strict=True):
        covered = [image > 0 for image in corrupt(black, "block", severity, FER2013_TEMPLATE)]
        visible = [mask for mask in covered if mask.any()]  # a block can be black itself
        assert len(visible) > 190
        assert np.mean([mask.mean() for mask in visible]) == pytest.approx(fraction, abs=0.02)
    middles = np.array([np.argwhere(mask).mean(axis=0) for mask in visible])
    assert np.all(middles.std(axis=0) > 1)  # they do lie in different places
    assert np.all((middles > 10) & (middles < 38))


def test_light_and_contrast_follow_their_definitions() -> None:
    ramp = np.repeat(np.arange(48, dtype=np.uint8) * 5, 48).reshape(48, 48).T.copy()
    (darker,) = corrupt([ramp], "dim_light", 2, FER2013_TEMPLATE)
    np.testing.assert_allclose(darker, ramp * 2 ** (-2 / 2.2), atol=0.51)
    (brighter,) = corrupt([ramp], "over_exposure", 2, FER2013_TEMPLATE)
    np.testing.assert_allclose(brighter, np.minimum(ramp * 2 ** (1 / 2.2), 255), atol=0.51)
    (flat,) = corrupt([ramp], "low_contrast", 1, FER2013_TEMPLATE)
    np.testing.assert_allclose(flat, ramp.mean() + 0.4 * (ramp - ramp.mean()), atol=0.51)


def test_noise_has_the_variance_of_photons_and_sensor() -> None:
    grey = np.full((48, 48), 128, np.uint8)
    for severity, (photons, read) in zip(SEVERITIES, CORRUPTIONS["sensor_noise"].severities, strict=True):
        noise = np.stack(corrupt([grey] * 20, "sensor_noise", severity, FER2013_TEMPLATE)) / 255
        assert noise.mean() == pytest.approx(128 / 255, abs=0.005)
        assert noise.std() == pytest.approx(np.sqrt(128 / 255 / photons + read**2), rel=0.05)


@pytest.mark.parametrize(("name", "axis"), [("yaw", 0), ("pitch", 1)])
def test_a_turned_face_gets_shorter_and_is_aligned_again(name: str, axis: int) -> None:
    points = FER2013_TEMPLATE.points(48, 48)
    np.testing.assert_allclose(turned_view(FER2013_TEMPLATE, 48, 48, 0, axis), np.eye(3), atol=1e-6)
    ratios = []
    for (degrees,) in CORRUPTIONS[name].severities:
        seen = np.column_stack([points, np.ones(3)]) @ turned_view(FER2013_TEMPLATE, 48, 48, degrees, axis).T
        seen = seen[:, :2] / seen[:, 2:]
        # What is left is what no similarity can undo.
        np.testing.assert_allclose(similarity_transform(seen, points), np.eye(2, 3), atol=1e-6)
        eyes, height = np.hypot(*(seen[1] - seen[0])), np.hypot(*(seen[2] - (seen[0] + seen[1]) / 2))
        ratios.append(eyes / height if axis == 0 else height / eyes)
    assert np.all(np.diff(ratios) < 0)


def test_corrupted_rgb_keeps_its_colours(portrait: np.ndarray) -> None:
    for name in ("jpeg", "gaussian_blur", "low_resolution", "motion_blur"):
        (found,) = corrupt([portrait], name, 1, FER2013_TEMPLATE)
        np.testing.assert_allclose(found.mean(axis=(0, 1)), portrait.mean(axis=(0, 1)), atol=3)


@pytest.mark.parametrize(("name", "severity"), [("rain", 1), ("jpeg", 0), ("jpeg", 6)])
def test_unknown_corruptions_are_named(name: str, severity: int) -> None:
    with pytest.raises(FerError, match=f"corruption '{name}', severity {severity}"):
        corrupt([np.zeros((48, 48), np.uint8)], name, severity, FER2013_TEMPLATE)


def test_the_table_by_hand() -> None:
    targets = np.array([0, 0, 1, 1])
    wrong = 1 - targets
    clean = np.stack([np.array([0, 0, 1, 0]), targets])  # accuracies 3/4 and 1

    def right(count: int) -> np.ndarray:
        return np.where(np.arange(4) < count, targets, wrong)

    corrupted = {
        "jpeg": np.stack(
            [np.stack([right(n) for n in (3, 2, 2, 1, 0)]), np.stack([right(n) for n in (4, 4, 3, 2, 1)])]
        ),
        "yaw": np.stack([np.stack([right(3)] * 5), np.stack([right(n) for n in (4, 4, 4, 4, 2)])]),
        "combined": np.stack([np.stack([wrong] * 5), np.stack([targets] * 5)]),
    }
    found = summarise(["old", "new"], targets, clean, corrupted)
    jpeg = found.corruptions["jpeg"]
    assert jpeg["old"].accuracies == [0.75, 0.5, 0.5, 0.25, 0]
    assert (jpeg["old"].accuracy, jpeg["new"].accuracy) == pytest.approx((0.4, 0.7))
    assert (jpeg["old"].corruption_error, jpeg["old"].relative_corruption_error) == (1, 1)
    assert jpeg["new"].corruption_error == pytest.approx(1.5 / 3)  # errors 0, 0, 1/4, 1/2, 3/4 against 3 in all
    assert jpeg["new"].relative_corruption_error == pytest.approx(1.5 / (3 - 5 * 0.25))
    # At severity 2 the old model takes everything for the first label: F1 4/6 and 0.
    assert jpeg["old"].macro_f1s[1] == pytest.approx((2 * 2 / (2 + 4) + 0) / 2)
    assert jpeg["new"].gain == pytest.approx(0.3)
    assert jpeg["new"].interval[0] <= 0.3 <= jpeg["new"].interval[1]
    yaw = found.corruptions["yaw"]
    assert yaw["new"].corruption_error == pytest.approx(0.5 / 1.25)
    assert yaw["new"].relative_corruption_error is None  # yaw takes nothing from the old model
    assert set(found.families) == {"all but combined"}
    everything = found.families["all but combined"]["new"]
    assert everything.corruption_error == pytest.approx((0.5 + 0.4) / 2)
    assert everything.gain == pytest.approx((0.3 + 0.15) / 2)
    assert found.clean["new"].gain == pytest.approx(0.25)


def test_families_hold_what_was_measured() -> None:
    assert families(["mouth_mask", "sunglasses", "block", "jpeg", "combined"]) == {
        "mouth or eyes": ["mouth_mask", "sunglasses"],
        "occlusion": ["mouth_mask", "sunglasses", "block"],
        "all but combined": ["mouth_mask", "sunglasses", "block", "jpeg"],
    }


def test_from_the_command_line(
    trained: Path,
    trained_bundle: Path,
    fer2013: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = shutil.copytree(trained_bundle, tmp_path / "exported")
    json_file, plots = tmp_path / "stress.json", tmp_path / "plots"
    command = ["stress", "--model", str(bundle), "--baseline", str(trained), "--dataset", f"fer2013:{fer2013}"]
    command += ["--split", "val", "--json", str(json_file)]
    main([*command, "--images", "14"])
    found = StressResult.read(json_file)
    assert (found.n, found.models, found.baseline) == (14, ["tiny", "exported"], "tiny")
    assert list(found.corruptions) == list(CORRUPTIONS)
    assert found.severities["dim_light"][4] == {"stops": -5}
    for scores in found.corruptions.values():
        # The same weights through torch and through ONNX Runtime, where a tie may turn.
        assert scores["exported"].accuracies == pytest.approx(scores["tiny"].accuracies, abs=1 / 14 + 1e-9)
    assert capsys.readouterr().out.count("sensor_noise") == 1

    # A sheet of the corruptions that are measured, as all of them take long to draw.
    chosen = ["low_contrast", "block"]
    monkeypatch.setattr(
        "fer_training.evaluation.robustness.plots.CORRUPTIONS", {name: CORRUPTIONS[name] for name in chosen}
    )
    main([*command, "--corruptions", *chosen, "--plots", str(plots)])
    measured = StressResult.read(json_file)
    assert measured.n == 35
    assert set(measured.corruptions) == set(chosen)
    model, samples = load_model(trained, "fp32", 1), load_dataset(f"fer2013:{fer2013}", "val")
    for name in chosen:
        expected = []
        for severity in SEVERITIES:
            images = corrupt(samples.images, name, severity, FER2013_TEMPLATE)
            expected.append((model.logits(images).argmax(1) == samples.targets).mean())
        assert measured.corruptions[name]["tiny"].accuracies == pytest.approx(expected)
    assert capsys.readouterr().out.count("low_contrast") == 1
    for name in ("stress", "corruptions"):
        image = cv2.imread(str(plots / f"fer2013_val_{name}.png"))
        assert image is not None
        assert image.std() > 10

    result, few = evaluate_stress([bundle], f"fer2013:{fer2013}", "val", ["yaw"], images=10)
    assert (result.n, len(few), list(result.corruptions)) == (10, 10, ["yaw"])
    assert "yaw" in format_stress(result)


def test_what_cannot_be_measured_ends_in_one_line(fer2013: Path, tmp_path: Path) -> None:
    models = Path(__file__).parents[2] / "fer_perception" / "models"
    one = ["stress", "--dataset", f"fer2013:{fer2013}", "--split", "val", "--model", str(models / "baseline")]
    for arguments, message in (
        ([*one, "--corruptions", "rain"], "there is no corruption 'rain'"),
        ([*one, "--model", str(models / "baseline")], "the same model twice"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(arguments)
