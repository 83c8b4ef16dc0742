"""bfloat16 in the forward pass, where the device computes in it."""

from __future__ import annotations

import torch

from fer_training.runs.config import TrainConfig


def mixed_precision(config: TrainConfig, device: torch.device) -> torch.autocast:
    """The context of a forward pass. A processor without bfloat16 emulates it, many times slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision and has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16."""
    if device.type != "cpu":
        return True
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
