from pathlib import Path

import torch
from torch import nn

from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.networks import DualAdaptiveNetwork, HybridAttentionNetwork, landmark_regions, region_maps
from fer_training.networks.dual_adaptive import RegionPooling
from fer_training.networks.pretrained import load_pretrained
from fer_training.runs.checkpoint import save_checkpoint

OPTIONS = {"width": 0.25, "stem_stride": 1}


def test_it_starts_as_the_network_that_is_adapted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    hybrid = HybridAttentionNetwork(7, 1, **OPTIONS)
    nn.init.normal_(hybrid.attention["6"].spatial.conv.weight)
    hybrid.train()(torch.randn(8, 1, 48, 48))
    file = tmp_path / "start.safetensors"
    save_checkpoint(file, {"network": hybrid.state_dict()}, {})
    adaptive = DualAdaptiveNetwork(7, 1, **OPTIONS)
    load_pretrained(adaptive, file, with_classifier=True)
    images = torch.randn(3, 1, 48, 48)
    with torch.inference_mode():
        expected, maps = hybrid.eval().forward_with_attention(images)
        logits, own_maps = adaptive.eval().forward_with_attention(images)
        branches = adaptive.forward_branches(images)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(own_maps, maps)
    torch.testing.assert_close(branches.logits, expected)
    assert branches.global_features.shape == (3, 1280)
    assert branches.local_features.shape == (3, 128)


def test_regions_are_pooled_each_by_itself() -> None:
    pooling = RegionPooling(channels=2, size=6)
    row = torch.linspace(0, 1, 6)[:, None].expand(6, 6)  # how far down
    image = torch.stack([row, torch.ones(6, 6)])[None]
    with torch.inference_mode():
        pooled = pooling(image).reshape(3, 2)
    eyes, brows, mouth = pooled[:, 0].tolist()
    assert brows < eyes < mouth
    torch.testing.assert_close(pooled[:, 1], torch.ones(3))  # weights sum to 1


def test_regions_together_are_the_landmark_regions() -> None:
    maps = region_maps(FER2013_TEMPLATE, 48, 40)
    assert maps.shape == (3, 40, 48)
    assert (maps.max(axis=0) == landmark_regions(FER2013_TEMPLATE, 48, 40)).all()
    heights = [int(region.sum(axis=1).argmax()) for region in maps]
    assert heights[1] < heights[0] < heights[2]  # brows, eyes, mouth from top to bottom
