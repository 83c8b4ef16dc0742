from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.__main__ import main
from fer_training.datasets import Samples
from fer_training.evaluation.attention.landmark_fraction import (
    AttentionMeter,
    MapFractions,
    class_activation,
    class_weights,
    typical_examples,
)
from fer_training.evaluation.attention.results import Explanation
from fer_training.evaluation.inference import prepare_images
from fer_training.networks import NETWORKS
from fer_training.networks.layers import Backbone
from fer_training.runs.checkpoint import save_checkpoint
from fer_training.runs.config import InputConfig, NetworkConfig, TrainConfig, save_config

HAPPY = EMOTIONS_7.index("happy")


class Mirror(Backbone):
    """Its last feature map is the image itself, or its mean over squares, and happy's logit the mean of that."""

    def __init__(self, num_classes: int, in_channels: int = 1, square: int = 1, sign: float = 1.0) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.AvgPool2d(square))
        self.classifier = nn.Sequential(nn.Linear(in_channels, num_classes))
        linear: Any = self.classifier[0]
        nn.init.constant_(linear.weight, -2.0)
        nn.init.zeros_(linear.bias)
        linear.weight.data[HAPPY] = sign


def write_run(folder: Path, name: str, labels: tuple[str, ...] = EMOTIONS_7, **options: Any) -> Path:
    """A run of an untrained network."""
    folder.mkdir()
    # White is 1, black 0.
    spec = InputConfig(mean=[0.0], std=[1.0])
    config = TrainConfig("run", "fer2013:nowhere", network=NetworkConfig(name, options), input=spec)
    torch.manual_seed(0)
    network = NETWORKS[name](num_classes=len(labels), in_channels=1, **options)
    save_config(config, folder / "config.yaml")
    save_checkpoint(folder / "best.safetensors", {"network": network.state_dict()}, {"labels": labels})
    return folder


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "mirror", Mirror)


def samples_of(images: list[np.ndarray], target: int = HAPPY, labels: tuple[str, ...] = EMOTIONS_7) -> Samples:
    return Samples("d", "val", labels, images, np.full(len(images), target))


def measure(meter: AttentionMeter, images: list[np.ndarray]) -> MapFractions:
    return meter.measure(prepare_images(samples_of(images), meter.spec))


def noise(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 48, 48)).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v2", {"stem_stride": 1, "width": 0.25}),
        ("efficientnet_lite0", {"stem_stride": 1}),
        ("hybrid_attention", {"stem_stride": 1, "width": 0.25}),
        ("mini_xception", {}),
        ("xception", {}),
    ],
)
def test_class_activation_adds_up_to_the_logits(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](num_classes=7, in_channels=1, **options).eval()
    bias = (network.classifier if name == "mini_xception" else network.classifier[-1]).bias
    nn.init.normal_(bias)
    images = torch.randn(3, 1, 48, 48)
    with torch.inference_mode():
        features = network.features(images)
        if name == "hybrid_attention":
            features = network.forward_features(images)[0]
        activation = class_activation(network, features)
        assert activation is not None
        assert activation.shape == (3, 7, *features.shape[2:])
        torch.testing.assert_close(activation.mean((2, 3)) + bias, network(images), rtol=1e-4, atol=1e-5)


def test_class_activation_of_known_places(mirror: None, tmp_path: Path) -> None:
    meter = AttentionMeter(write_run(tmp_path / "run", "mirror"))
    inside, outside = (meter.regions > 0.5), (meter.regions < 0.01)
    grey = np.full((48, 48), 100, np.uint8)
    images = [255 * inside.astype(np.uint8), 255 * outside.astype(np.uint8), grey]
    expected = [meter.regions[inside].mean(), meter.regions[outside].mean(), meter.regions.mean()]
    for image, fraction in zip(images, expected, strict=True):
        found = measure(meter, [image]).maps["class_activation"]
        assert found.fraction == pytest.approx(fraction, rel=1e-4)
        assert found.interval is None
    measured = measure(meter, images)
    values = measured.maps["class_activation"]
    assert meter.reference == pytest.approx(meter.regions.mean())
    assert values.fraction == pytest.approx(np.mean(expected), rel=1e-4)
    assert values.ratio == pytest.approx(np.mean(expected) / meter.regions.mean(), rel=1e-4)
    error = 1.96 * np.std(expected, ddof=1) / np.sqrt(3)
    assert values.interval == pytest.approx([np.mean(expected) - error, np.mean(expected) + error], rel=1e-4)
    assert (values.n, values.size, values.highest) == (3, (48, 48), pytest.approx(meter.regions.max()))
    assert measured.absent == {"attention": "the network has no attention maps"}


def test_uniform_attention_has_the_reference_at_every_size(mirror: None, tmp_path: Path) -> None:
    for square in (1, 5, 16):  # 5 does not divide 48
        meter = AttentionMeter(write_run(tmp_path / f"{square}", "mirror", square=square))
        found = measure(meter, [np.full((48, 48), 70, np.uint8)] * 2).maps["class_activation"]
        assert found.size == (48 // square,) * 2
        assert found.ratio == pytest.approx(1, rel=1e-4)
        assert found.variation == pytest.approx(0, abs=1e-5)
        assert found.contrast == pytest.approx(0, abs=1e-6)
        assert found.highest is not None
        assert found.highest > found.fraction


def test_variation_says_how_much_maps_differ(mirror: None, tmp_path: Path) -> None:
    meter = AttentionMeter(write_run(tmp_path / "run", "mirror", square=16))
    left, right = np.zeros((2, 48, 48), np.uint8)
    left[:, :16], right[:, 32:] = 255, 255
    for images, variation in (([left, right], 0.5), ([left, left], 0.0)):
        found = measure(meter, images).maps["class_activation"]
        assert found.variation == pytest.approx(variation)
        assert found.contrast == pytest.approx(1)


def test_pictures_without_activation_are_left_out(mirror: None, tmp_path: Path) -> None:
    meter = AttentionMeter(write_run(tmp_path / "run", "mirror"))
    black, white = np.zeros((48, 48), np.uint8), np.full((48, 48), 255, np.uint8)
    found = measure(meter, [black, white])
    assert found.maps["class_activation"].n == 1
    assert found.maps["class_activation"].ratio == pytest.approx(1, rel=1e-4)
    found = measure(AttentionMeter(write_run(tmp_path / "negative", "mirror", sign=-1.0)), [white])
    assert found.maps == found.attention == {}
    assert found.absent["class_activation"] == "it is zero everywhere in every image"


def test_attention_maps_and_their_mean(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "hybrid_attention", stem_stride=1, width=0.25)
    meter = AttentionMeter(run)
    network: Any = meter.network
    stage3, stage5 = network.attention.values()
    nn.init.zeros_(stage3.spatial.conv.weight)  # the same everywhere
    nn.init.normal_(stage5.spatial.conv.weight, 0, 100)
    nn.init.ones_(stage5.spatial.norm.weight)
    found = measure(meter, noise(5))
    maps = found.maps
    assert list(maps) == ["class_activation", "attention_stage3", "attention_stage5", "attention_mean"]
    assert [entry.size for entry in maps.values()] == [(3, 3), (12, 12), (6, 6), None]
    assert maps["attention_stage3"].ratio == pytest.approx(1, rel=1e-4)
    assert maps["attention_stage5"].ratio != pytest.approx(1, rel=1e-3)
    both = (maps["attention_stage3"].fraction + maps["attention_stage5"].fraction) / 2
    assert maps["attention_mean"].fraction == pytest.approx(both, rel=1e-6)
    assert found.absent == {}


def test_networks_without_class_activation_say_why(tmp_path: Path) -> None:
    options = {"stem_stride": 1, "width": 0.25, "dual_direction_size": 3}
    found = measure(AttentionMeter(write_run(tmp_path / "run", "hybrid_attention", **options)), noise(2))
    assert "class_activation" not in found.maps
    assert "a mean over places" in found.absent["class_activation"]
    assert class_weights(nn.Flatten()) is None


def test_examples_are_right_and_of_median_probability() -> None:
    samples = samples_of(noise(6), EMOTIONS_8.index("happy"), EMOTIONS_8)
    samples.targets[4:] = EMOTIONS_8.index("contempt"), EMOTIONS_8.index("sad")
    probabilities = np.full((6, 7), 0.01, np.float32)
    probabilities[:, HAPPY] = 0.9, 0.3, 0.5, 0.0, 0.9, 0.9
    assert typical_examples(samples, EMOTIONS_7, probabilities) == {"happy": 2}


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", "hybrid_attention", stem_stride=1, width=0.25)
    for emotion, label in enumerate(EMOTIONS_7):
        (tmp_path / "data" / "val" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / "val" / label / "0.png"), noise(7)[emotion])
    out = tmp_path / "out"
    command = ["explain", "--run", str(run), "--dataset", f"fer2013:{tmp_path / 'data'}", "--split", "val"]
    main([*command, "--images", "0", "--out", str(out)])
    found = Explanation.read(out / "fer2013_val.json")
    assert (found.n, found.maps["attention_stage5"].n, found.checks) == (7, 7, None)
    text = capsys.readouterr().out
    assert "attention_stage3: " in text
    assert "a map of 12 x 12 reaches" in text
    image = cv2.imread(str(out / "fer2013_val_attention.png"))
    assert str(out / "fer2013_val_attention.png") in text
    assert image is not None
    assert image.std() > 10


def test_a_bundle_cannot_say_where_it_looks(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").touch()
    arguments = ["explain", "--run", str(tmp_path), "--dataset", "fer2013:nowhere", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"is a bundle, .* Give the folder of the training run"):
        main(arguments)
    (tmp_path / "manifest.yaml").unlink()
    with pytest.raises(SystemExit, match=r"is no training run, as it has no config\.yaml"):
        main(arguments)
