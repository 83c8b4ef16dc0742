"""Mixed precision follows the processor."""

from pathlib import Path

import pytest
import torch

from fer_training.runs.config import load_config
from fer_training.training.mixed_precision import mixed_precision


@pytest.mark.parametrize(("found", "expected"), [("avx512_bf16", torch.bfloat16), ("avx2", torch.float32)])
def test_bfloat16_only_where_the_processor_computes_in_it(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, found: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {found: True})
    for is_wanted, dtype in (("true", expected), ("false", torch.float32)):
        with mixed_precision(load_config(config_file, [f"mixed_precision={is_wanted}"]), torch.device("cpu")):
            assert torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).dtype == dtype
