from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from fer_perception.errors import FerError
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.preprocessing.normalization import InputSpec
from fer_training.export.onnx import write_onnx
from fer_training.networks import (
    AttentionOutputs,
    DualAdaptiveNetwork,
    HybridAttentionNetwork,
    MobileNetV2,
    load_pretrained,
)
from fer_training.networks.attention import BLOCK_ATTENTION, EfficientChannelAttention, HybridAttention
from fer_training.networks.landmark_regions import attention_loss, landmark_regions, region_fraction
from fer_training.runs.checkpoint import save_checkpoint

TEMPLATE = AlignmentTemplate(right_eye=(0.3, 0.4), left_eye=(0.7, 0.4), mouth=(0.5, 0.8))


def images(count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, 48, 48, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
def test_maps_lie_in_0_to_1_and_logits_are_forwards(backbone: str) -> None:
    torch.manual_seed(0)
    network = HybridAttentionNetwork(7, in_channels=1, backbone=backbone, stem_stride=1).eval()
    with torch.inference_mode():
        logits, maps = network.forward_with_attention(images())
        assert torch.equal(logits, network(images()))
    assert [tuple(m.shape) for m in maps] == [(2, 1, 12, 12), (2, 1, 6, 6)]
    assert all(m.min() >= 0 and m.max() <= 1 for m in maps)


def test_starts_as_the_backbone() -> None:
    torch.manual_seed(0)
    plain = MobileNetV2(7, in_channels=1, stem_stride=1)
    plain.train()(images(8))  # batch normalisation's statistics
    plain.eval()
    network = HybridAttentionNetwork(7, in_channels=1, stem_stride=1).eval()
    result = network.load_state_dict(plain.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(name.startswith("attention.") for name in result.missing_keys)
    with torch.inference_mode():
        torch.testing.assert_close(
            network.features[:7](images()), plain.features[:7](images())
        )  # up to the first attention
        expected, (output, maps) = plain(images()), network.forward_with_attention(images())
    assert (output - expected).abs().max() < 0.05 * expected.abs().max()
    assert all((m - 0.5).abs().max() < 0.05 for m in maps)


def test_unknown_backbone_is_named() -> None:
    with pytest.raises(FerError, match="backbone 'resnet' is unknown"):
        HybridAttentionNetwork(7, backbone="resnet")


@pytest.mark.parametrize("name", BLOCK_ATTENTION)
def test_block_attention_weighs_channels_or_places(name: str) -> None:
    torch.manual_seed(0)
    attention = BLOCK_ATTENTION[name](64)
    x = torch.randn(4, 64, 6, 5).abs() * torch.arange(64)[:, None, None] / 16 + 0.1
    torch.testing.assert_close(attention(x), x, rtol=0.02, atol=0)  # it starts near the identity
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    factors = attention(x) / x
    assert factors.min() >= 0
    assert factors.max() <= (4 if name == "coordinate" else 2)
    assert factors.std() > 0.1
    spread = factors.std((2, 3)).mean()
    assert spread > 0.1 if name == "coordinate" else spread < 1e-5
    rows = factors[:, :, :, :1] / factors[:, :, :1, :1]  # a row's factor is the same in all columns
    torch.testing.assert_close(factors / factors[:, :, :1], rows.expand(-1, -1, -1, 5), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("channels", "kernel"), [(32, 3), (96, 3), (384, 5), (1152, 5)])
def test_efficient_channel_attention_convolves_along_the_channels(channels: int, kernel: int) -> None:
    torch.manual_seed(0)
    attention = EfficientChannelAttention(channels)
    nn.init.normal_(attention.conv.weight)
    assert attention.conv.weight.shape == (1, 1, kernel)
    x = torch.randn(2, channels, 3, 3)
    expected = x * 2 * torch.sigmoid(attention.conv(x.mean((2, 3))[:, None]))[:, 0, :, None, None]
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
@pytest.mark.parametrize("name", BLOCK_ATTENTION)
def test_block_attention_starts_from_a_checkpoint_without_it(name: str, backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"backbone": backbone, "stem_stride": 1, "dropout": 0.0}
    plain = HybridAttentionNetwork(7, in_channels=1, **options)
    plain.train()(images(8))  # batch normalisation's statistics
    file = tmp_path / "plain.safetensors"
    save_checkpoint(file, {"network": plain.state_dict()}, {})
    network = HybridAttentionNetwork(7, in_channels=1, block_attention=name, **options)
    load_pretrained(network, file, with_classifier=True)
    blocks = [part for part, _ in network.named_modules() if part.endswith(".attention")]
    assert len(blocks) == {"mobilenet_v2": 17, "efficientnet_lite0": 16}[backbone]
    with torch.inference_mode():
        expected, found = plain.eval()(images()), network.eval()(images())
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()

    # Its own checkpoints keep it, and are refused by networks without it.
    save_checkpoint(file, {"network": network.state_dict()}, {})
    again = HybridAttentionNetwork(7, in_channels=1, block_attention=name, **options)
    load_pretrained(again, file, with_classifier=True)
    assert all(torch.equal(tensor, again.state_dict()[entry]) for entry, tensor in network.state_dict().items())
    with pytest.raises(FerError, match="holds another network"):
        load_pretrained(HybridAttentionNetwork(7, in_channels=1, **options), file)


def test_attended_stages_can_be_chosen() -> None:
    network = HybridAttentionNetwork(7, in_channels=1, attended_stages=[4, 2], stem_stride=1).eval()
    assert network.attended_stages == (2, 4)
    with torch.inference_mode():
        _, maps = network.forward_with_attention(images())
    assert [tuple(m.shape[2:]) for m in maps] == [(24, 24), (6, 6)]
    without = HybridAttentionNetwork(7, in_channels=1, attended_stages=[], block_attention="coordinate").eval()
    assert without.forward_with_attention(images())[1] == []
    with pytest.raises(FerError, match=r"attended_stages \(3, 8\): must be of 1 to 7"):
        HybridAttentionNetwork(7, attended_stages=[8, 3])
    with pytest.raises(FerError, match="attended_stages must name a stage"):
        DualAdaptiveNetwork(7, attended_stages=[])


def test_unknown_block_attention_is_named() -> None:
    with pytest.raises(FerError, match="block_attention 'cbam' is unknown, known are coordinate"):
        HybridAttentionNetwork(7, block_attention="cbam")


def test_dual_direction_pooling_wants_its_size() -> None:
    network = HybridAttentionNetwork(7, in_channels=1, dual_direction_size=4, stem_stride=1).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
        with pytest.raises(RuntimeError):
            network(torch.zeros(2, 1, 48, 48))


def test_maps_can_be_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = AttentionOutputs(HybridAttentionNetwork(7, in_channels=1, stem_stride=1)).eval()
    names = ["logits", "attention_0", "attention_1"]
    file = tmp_path / "network.onnx"
    write_onnx(network, InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25]), file, names)
    outputs = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(names, {"crops": images(3).numpy()})
    with torch.inference_mode():
        expected = network(images(3))
    for output, tensor in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, tensor.numpy(), atol=1e-4)


def test_loss_draws_attention_to_the_regions() -> None:
    torch.manual_seed(0)
    attention = HybridAttention(8)
    regions = torch.from_numpy(landmark_regions(TEMPLATE, 12, 12))[None, None]
    # As large as the features of a trained network; two channels know where eyes, brows and mouth are.
    features = 4 * torch.randn(16, 8, 12, 12, generator=torch.Generator().manual_seed(1)).relu()
    features[:, :2] += 8 * regions
    optimizer = torch.optim.SGD(attention.parameters(), 0.5, 0.9)
    losses = []
    for _ in range(60):
        maps = attention(features)[1]
        loss = attention_loss([maps], regions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    contrast = maps.amax((1, 2, 3)) - maps.amin((1, 2, 3))
    assert contrast.min() > 0.5
    assert region_fraction(maps, regions).mean() > 1.3 * regions.mean()


def test_large_features_do_not_saturate_the_map() -> None:
    torch.manual_seed(0)
    attention = HybridAttention(8)
    nn.init.ones_(attention.spatial.norm.weight)
    features = 30 + 12 * torch.randn(16, 8, 12, 12, generator=torch.Generator().manual_seed(1))
    _, maps = attention(features)
    contrast = maps.amax((1, 2, 3)) - maps.amin((1, 2, 3))
    assert contrast.min() > 0.3


def test_regions_lie_on_eyes_brows_and_mouth() -> None:
    regions = landmark_regions(TEMPLATE, 100, 100)
    assert regions.shape == (100, 100)
    assert regions.dtype == np.float32
    assert regions.min() >= 0
    assert regions.max() <= 1
    for x, y in ((30, 40), (70, 40), (30, 28), (70, 28), (50, 80)):
        assert regions[y, x] > 0.95, (x, y)
    for x, y in ((50, 5), (5, 60), (95, 60), (50, 60)):  # forehead, cheeks, nose
        assert regions[y, x] < 0.2, (x, y)
    np.testing.assert_allclose(regions, regions[:, ::-1], atol=1e-5)  # the template is symmetric
    assert 0.1 < regions.mean() < 0.35


def test_regions_follow_size_and_tilt() -> None:
    wide = landmark_regions(TEMPLATE, 64, 48)
    assert wide.shape == (48, 64)
    assert wide[38, 32] > 0.95
    tilted = landmark_regions(AlignmentTemplate(right_eye=(0.4, 0.3), left_eye=(0.4, 0.7), mouth=(0.1, 0.5)), 100, 100)
    assert tilted[30, 52] > 0.95  # brows lie to the right of eyes one below the other
    assert tilted[30, 25] < 0.2


def test_fraction_and_loss() -> None:
    regions = torch.zeros(1, 1, 4, 4)
    regions[..., :2, :] = 1
    inside, everywhere = regions.expand(3, -1, -1, -1), torch.full((3, 1, 2, 2), 0.3)
    torch.testing.assert_close(region_fraction(inside, regions), torch.ones(3))
    torch.testing.assert_close(region_fraction(everywhere, regions), torch.full((3,), 0.5))
    torch.testing.assert_close(region_fraction(1 - inside, regions), torch.zeros(3))
    torch.testing.assert_close(attention_loss([inside], regions), torch.tensor(0.0))
    # At 0.3 everywhere: -log 0.3 in the half that is wanted, -log 0.7 in the other.
    expected = torch.tensor(-(np.log(0.3) + np.log(0.7)) / 2, dtype=torch.float32)
    torch.testing.assert_close(attention_loss([everywhere], regions), expected)
    torch.testing.assert_close(attention_loss([inside, everywhere], regions), expected / 2)
    assert torch.isfinite(attention_loss([torch.zeros(1, 1, 4, 4)], regions))
    half = attention_loss([everywhere.bfloat16()], regions)
    assert half.dtype == torch.float32
