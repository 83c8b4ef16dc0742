"""Networks by name. A network maps float32 (N, C, H, W) to logits (N, labels)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fer_training.networks.mobilenet_v2 import MobileNetV2

NETWORKS: dict[str, Callable[..., nn.Module]] = {"mobilenet_v2": MobileNetV2}

__all__ = ["NETWORKS", "MobileNetV2"]
