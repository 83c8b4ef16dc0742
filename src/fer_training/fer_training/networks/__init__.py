"""Networks by name. A network maps float32 (N, C, H, W) to logits (N, labels)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fer_training.networks.ddamfn import DDAMFN
from fer_training.networks.dual_adaptive import DualAdaptiveNetwork
from fer_training.networks.efficientnet_lite import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2
from fer_training.networks.egt import EGT
from fer_training.networks.hybrid_attention import AttentionOutputs, HybridAttentionNetwork
from fer_training.networks.landmark_regions import attention_loss, landmark_regions, region_fraction, region_maps
from fer_training.networks.mobilenet_v2 import MobileNetV2
from fer_training.networks.pretrained import convert_efficientnet_lite, load_pretrained
from fer_training.networks.pruned import NAME, pruned
from fer_training.networks.xception import MiniXception, Xception

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "baseline": MobileNetV2,
    "ddamfn": DDAMFN,
    "dual_adaptive": DualAdaptiveNetwork,
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "efficientnet_lite2": EfficientNetLite2,
    "egt": EGT,
    "hybrid_attention": HybridAttentionNetwork,
    "mini_xception": MiniXception,
    "mobilenet_v2": MobileNetV2,
    "xception": Xception,
}
NETWORKS[NAME] = pruned(NETWORKS)

__all__ = [
    "DDAMFN",
    "EGT",
    "NETWORKS",
    "AttentionOutputs",
    "DualAdaptiveNetwork",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "HybridAttentionNetwork",
    "MiniXception",
    "MobileNetV2",
    "Xception",
    "attention_loss",
    "convert_efficientnet_lite",
    "landmark_regions",
    "load_pretrained",
    "region_fraction",
    "region_maps",
]
