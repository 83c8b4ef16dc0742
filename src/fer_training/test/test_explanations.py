from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_perception.labels import EMOTIONS_7
from fer_training.__main__ import main
from fer_training.datasets import Samples
from fer_training.evaluation.attention.checks import MapChecker
from fer_training.evaluation.attention.deletion import STEPS, area, blurred, deletion_and_insertion, ranks
from fer_training.evaluation.attention.landmark_fraction import AttentionMeter, class_activation
from fer_training.evaluation.attention.maps import centre_map, grad_cam, grad_cam_layers, random_maps
from fer_training.evaluation.attention.randomisation import (
    DEPTHS,
    DRAWS,
    layers_from_output,
    randomised_correlations,
    rank_correlations,
    shuffle_weights,
)
from fer_training.evaluation.attention.results import Checks, Explanation, Mean, Reference
from fer_training.evaluation.attention.text import format_explanation
from fer_training.evaluation.inference import prepare_images
from fer_training.networks import NETWORKS
from fer_training.networks.layers import Backbone
from fer_training.runs.checkpoint import save_checkpoint
from fer_training.runs.config import InputConfig, NetworkConfig, TrainConfig, save_config

HAPPY = EMOTIONS_7.index("happy")
ROW, COLUMN = 36, 4  # of the patch's upper left corner, far from the crop's middle


class BrightPlaces(Backbone):
    """Bright squares of 4 x 4 pixels speak for happy, and nothing else counts."""

    def __init__(self, num_classes: int, in_channels: int = 1, others: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.AvgPool2d(4), nn.Threshold(0.6, 0.0))
        self.classifier = nn.Sequential(nn.Linear(in_channels, num_classes))
        linear: Any = self.classifier[0]
        nn.init.constant_(linear.weight, others)
        nn.init.zeros_(linear.bias)
        linear.weight.data[HAPPY] = 200.0


def write_run(folder: Path, name: str, **options: Any) -> Path:
    """A run of an untrained network, for which white is 1 and black 0."""
    folder.mkdir()
    config = TrainConfig(
        "run", "fer2013:nowhere", network=NetworkConfig(name, options), input=InputConfig(mean=[0.0], std=[1.0])
    )
    torch.manual_seed(0)
    network = NETWORKS[name](num_classes=7, in_channels=1, **options)
    save_config(config, folder / "config.yaml")
    save_checkpoint(folder / "best.safetensors", {"network": network.state_dict()}, {"labels": EMOTIONS_7})
    return folder


@pytest.fixture
def bright_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "bright_places", BrightPlaces)


def patched(count: int) -> list[np.ndarray]:
    """Dark noise with a bright patch of 8 x 8 pixels, always in the same place."""
    images = list(np.random.default_rng(1).integers(0, 100, (count, 48, 48)).astype(np.uint8))
    for image in images:
        image[ROW : ROW + 8, COLUMN : COLUMN + 8] = 250
    return images


def samples_of(images: list[np.ndarray]) -> Samples:
    return Samples("d", "val", EMOTIONS_7, images, np.full(len(images), HAPPY))


def check(meter: AttentionMeter, images: list[np.ndarray]) -> Checks:
    crops = prepare_images(samples_of(images), meter.spec)
    return MapChecker(meter).check(crops, np.full(len(crops), HAPPY), len(crops)).checks


def test_grad_cam_finds_the_patch_that_decides(bright_places: None, tmp_path: Path) -> None:
    meter = AttentionMeter(write_run(tmp_path / "run", "bright_places"))
    dark = np.full((48, 48), 20, np.uint8)
    found = check(meter, [*patched(5), dark])
    assert (found.n, found.of, list(found.maps)) == (6, 6, ["grad_cam_last"])
    assert list(found.controls) == ["random_12x12", "centre", "landmarks"]
    entry = found.maps["grad_cam_last"]
    assert (entry.size, entry.fraction.n) == ((12, 12), 5)  # the dark image's map is 0 everywhere
    assert entry.deletion.curve is not None
    assert entry.insertion.curve is not None
    # All of the patch is among the first twelfth of the pixels.
    assert entry.deletion.curve[0] > 0.95
    assert entry.deletion.curve[1] == pytest.approx(1 / 7, abs=1e-3)
    assert entry.insertion.curve[1] > 0.95
    for control in ("random", "centre", "landmarks"):
        for gain in (entry.gain[control].deletion, entry.gain[control].insertion):
            assert gain.interval is not None
            assert gain.interval[0] > 0.1
    regions = meter.regions
    patch = np.zeros((48, 48), np.float32)
    patch[ROW : ROW + 8, COLUMN : COLUMN + 8] = 1
    assert entry.fraction.mean == pytest.approx((patch * regions).sum() / patch.sum(), abs=0.02)
    assert entry.pointing.mean == 0
    assert check(AttentionMeter(tmp_path / "run"), [*patched(5), dark]) == found


def test_a_map_that_is_zero_everywhere_is_not_measured(bright_places: None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "bright_places")
    found = check(AttentionMeter(run), [np.full((48, 48), 20, np.uint8)])
    entry = found.maps["grad_cam_last"]
    assert (entry.deletion.n, entry.deletion.mean, entry.deletion.interval, entry.deletion.curve) == (0, *[None] * 3)
    assert entry.gain["centre"].insertion.mean is None
    assert found.randomised.maps["grad_cam_last"][0].mean is None
    facts = {"run": "r", "dataset": "d", "split": "val", "sha256": "", "n": 1, "reference": 0.2}
    result = Explanation(maps={}, absent={}, checks=found, **facts)
    result.write(tmp_path / "d_val.json")
    assert "NaN" not in (tmp_path / "d_val.json").read_text()
    assert Explanation.read(tmp_path / "d_val.json") == result
    assert "not defined" in format_explanation(result)


def test_the_controls_fractions_are_known(bright_places: None, tmp_path: Path) -> None:
    meter = AttentionMeter(write_run(tmp_path / "run", "bright_places"))
    found, regions = check(meter, patched(4)), meter.regions
    landmarks, centre = found.controls["landmarks"], found.controls["centre"]
    assert landmarks.fraction.mean == pytest.approx((regions**2).sum() / regions.sum(), rel=1e-4)
    assert landmarks.pointing.mean == 1
    gaussian = centre_map(48, 48)
    assert centre.fraction.mean == pytest.approx((gaussian * regions).sum() / gaussian.sum(), rel=1e-4)
    assert centre.pointing.mean == 0  # the nose
    assert found.reference == Reference(fraction=meter.reference, pointing=(regions >= 0.5).mean())


def test_centre_and_random_maps() -> None:
    gaussian = centre_map(9, 5)
    assert gaussian.shape == (9, 5)
    assert np.unravel_index(gaussian.argmax(), gaussian.shape) == (4, 2)
    np.testing.assert_array_equal(gaussian, gaussian[::-1, ::-1])
    assert torch.equal(random_maps(3, 6, 6), random_maps(3, 6, 6))
    assert random_maps(3, 6, 6).unique().numel() > 100


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("mobilenet_v2", {"stem_stride": 1, "width": 0.25}, [12, 6, 3]),
        ("efficientnet_lite0", {"stem_stride": 1}, [12, 6, 3]),
        ("hybrid_attention", {"stem_stride": 1, "width": 0.25}, [12, 6, 3]),
        ("dual_adaptive", {"stem_stride": 1, "width": 0.25}, [12, 6, 3]),
        ("mini_xception", {}, [3]),
        ("xception", {}, [2]),
    ],
)
def test_grad_cam_of_our_networks(name: str, options: dict[str, Any], sizes: list[int]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](num_classes=7, in_channels=1, **options).eval()
    images, classes = torch.randn(2, 1, 48, 48), torch.tensor([3, 5])
    found = grad_cam(network, grad_cam_layers(network), images, classes)
    assert [maps.shape for maps in found.values()] == [(2, 1, size, size) for size in sizes]
    assert all(bool((maps >= 0).all()) for maps in found.values())
    with torch.no_grad():
        features = network.features(images)
        if name == "hybrid_attention":
            features = network.forward_features(images)[0]
    if name in ("mobilenet_v2", "efficientnet_lite0", "hybrid_attention", "xception"):
        activation = class_activation(network, features)
        assert activation is not None
        expected = activation[torch.arange(2), classes, None].clamp_min(0) / sizes[-1] ** 2
        torch.testing.assert_close(found["grad_cam_last"], expected, rtol=1e-4, atol=1e-7)


def test_pixels_change_from_the_densest_down() -> None:
    density = np.random.default_rng(0).random((2, 4, 6)).astype(np.float32)
    order = ranks(density)
    for image, places in zip(density, order, strict=True):
        assert (np.diff(image.ravel()[np.argsort(places)]) < 0).all()
    flat = ranks(np.zeros((2, 4, 6), np.float32))
    assert sorted(flat[0]) == list(range(24))
    assert list(flat[0]) != list(range(24))
    np.testing.assert_array_equal(flat, ranks(np.zeros((2, 4, 6), np.float32)))


def test_curves_of_a_known_network() -> None:
    white = torch.ones(3, 1, 12, 12)
    densities = np.random.default_rng(0).random((3, 12, 12)).astype(np.float32)
    densities[2, 0, 0] = np.nan

    def brightness(batch: Tensor) -> Tensor:
        return batch.mean((1, 2, 3))

    deletion, insertion = deletion_and_insertion(brightness, white, densities)
    expected = torch.linspace(1, 0, STEPS + 1).expand(2, -1)
    torch.testing.assert_close(deletion[:2], expected)
    torch.testing.assert_close(insertion[:2], torch.ones(2, STEPS + 1))  # white stays white when it is blurred
    assert bool(deletion[2].isnan().all())
    torch.testing.assert_close(area(deletion[:2]), torch.full((2,), 0.5))
    noise = torch.rand(1, 1, 48, 48)
    assert blurred(noise).shape == noise.shape
    assert blurred(noise).std() < noise.std() / 5


def test_rank_correlations() -> None:
    maps = torch.rand(3, 1, 4, 4)
    maps[2] = 1
    np.testing.assert_allclose(rank_correlations(maps, maps**3)[:2], 1)
    np.testing.assert_allclose(rank_correlations(maps, -maps)[:2], -1)
    assert np.isnan(rank_correlations(maps, maps)[2])


def test_shuffled_weights_are_the_same_values_elsewhere() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    norm: Any = layer[1]
    norm.running_mean.copy_(torch.arange(8.0))
    norm.running_var.copy_(torch.arange(8.0) + 1)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    shuffle_weights(layer, torch.Generator().manual_seed(0))
    after = layer.state_dict()
    assert not torch.equal(before["0.weight"], after["0.weight"])
    torch.testing.assert_close(before["0.weight"].flatten().sort()[0], after["0.weight"].flatten().sort()[0])
    torch.testing.assert_close(after["1.running_var"], after["1.running_mean"] + 1)
    assert not torch.equal(before["1.running_var"], after["1.running_var"])


def test_layers_are_randomised_from_the_output() -> None:
    network = NETWORKS["hybrid_attention"](num_classes=7, in_channels=1, stem_stride=1, width=0.25)
    layers = layers_from_output(network)
    assert layers[0] == [network.pool, network.classifier]
    assert layers[1] == [network.features[-1]]
    modules = {id(module) for group in layers for module in group}
    assert modules == {
        id(m) for m in (*network.features, *network.attention.values(), network.pool, network.classifier)
    }


def test_randomisation_tells_learnt_maps_from_others() -> None:
    images = torch.from_numpy(np.stack(patched(4))[:, None] / np.float32(255))
    classes = torch.full((4,), HAPPY)
    # All weights alike: whatever happens to them, the map shows bright places.
    unchanged = randomised_correlations(BrightPlaces(7, others=200.0).eval(), images, classes)["grad_cam_last"]
    np.testing.assert_allclose(unchanged, np.ones((DRAWS, len(DEPTHS))))
    torch.manual_seed(0)
    network = NETWORKS["hybrid_attention"](num_classes=7, in_channels=1, stem_stride=2, width=0.25).eval()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = randomised_correlations(network, images, classes)
    assert np.nanmean(np.abs(found["grad_cam_stage3"][:, -1])) < 0.7
    for name, tensor in network.state_dict().items():
        assert torch.equal(weights[name], tensor)
    again = randomised_correlations(network, images, classes)
    for name, values in found.items():
        np.testing.assert_array_equal(values, again[name])


def test_intervals_leave_out_what_is_not_defined() -> None:
    assert Mean.of([0.0, 1.0, np.nan, 0.0, 1.0]) == Mean(n=4, mean=0.5, interval=(0.0, 1.0))
    assert Mean.of([0.25]) == Mean(n=1, mean=0.25, interval=None)
    assert Mean.of([np.nan]) == Mean(n=0, mean=None, interval=None)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", "hybrid_attention", stem_stride=2, width=0.25)
    rng = np.random.default_rng(0)
    for label in ("angry", "happy", "sad"):  # of which an untrained network knows at most one
        (tmp_path / "data" / "val" / label).mkdir(parents=True)
        for number in range(2):
            image = rng.integers(0, 256, (48, 48)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "data" / "val" / label / f"{number}.png"), image)
    command = ["explain", "--run", str(run), "--dataset", f"fer2013:{tmp_path / 'data'}", "--split", "val"]
    out = tmp_path / "out"
    main([*command, "--images", "3", "--out", str(out)])
    text = capsys.readouterr().out
    assert "checks on 3 of 6 images" in text
    found = Explanation.read(out / "fer2013_val.json")
    assert found.checks is not None
    assert list(found.checks.maps) == [
        "attention_stage3",
        "attention_stage5",
        "grad_cam_stage3",
        "grad_cam_stage5",
        "grad_cam_last",
    ]
    assert list(found.checks.controls) == ["random_2x2", "random_3x3", "random_6x6", "centre", "landmarks"]
    assert found.maps["attention_stage3"].n == 6
    for kind in ("wrong", "curves"):
        image = cv2.imread(str(out / f"fer2013_val_{kind}.png"))
        assert image is not None
        assert image.std() > 10
        assert str(out / f"fer2013_val_{kind}.png") in text


def test_a_negative_limit_is_refused(tmp_path: Path) -> None:
    command = ["explain", "--run", str(tmp_path), "--dataset", "fer2013:nowhere", "--out", "out"]
    with pytest.raises(SystemExit, match=r"--images: -1 images cannot be checked, give 0 or more"):
        main([*command, "--images", "-1"])
