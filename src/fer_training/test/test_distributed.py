"""Two real processes, started by torchrun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fer_training.checkpoint import load_checkpoint
from fer_training.config import load_config
from fer_training.distributed import GlobalBatchNorm2d
from fer_training.runs import BEST, CONFIG, CURVES, HISTORY, LAST, read_history
from fer_training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_processes_take_the_steps_of_one(config_file: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_processes.py")
    overrides = ["batch_size=34", "mixed_precision=false", "augmentation.mixup=0.2"]
    results = []
    for count, command in enumerate(((), TORCHRUN), 1):
        out = tmp_path / f"{count}.safetensors"
        result = python(*command, script, config_file, out, *overrides)
        assert result.returncode == 0, result.stderr
        groups, values = load_checkpoint(out)
        assert values["processes"] == count
        results.append((groups["network"], values["losses"]))
    (weights, losses), (other_weights, other_losses) = results
    assert other_losses == pytest.approx(losses, rel=1e-9)
    assert set(weights) == set(other_weights)
    for name, tensor in weights.items():
        torch.testing.assert_close(other_weights[name], tensor, rtol=1e-6, atol=1e-8)


def test_torchrun_trains_as_one_process_does(config_file: Path, tmp_path: Path) -> None:
    overrides = ["epochs=2", "batch_size=34", "mixed_precision=false", "learning_rate=0.01", "threads=1"]
    one = train(load_config(config_file, overrides))
    arguments = ("-m", "fer_training", "train", config_file, *overrides, f"out={tmp_path / 'two'}")
    result = python(*TORCHRUN, *arguments)
    assert result.returncode == 0, result.stderr
    two = tmp_path / "two" / "tiny"
    assert {file.name for file in two.iterdir()} >= {BEST, LAST, HISTORY, CURVES, CONFIG}
    rows, others = (read_history(run / HISTORY, 2) for run in (one, two))
    assert [row["epoch"] for row in others] == [1, 2]
    for row, other in zip(rows, others, strict=True):
        assert other["train_loss"] == pytest.approx(row["train_loss"], rel=0.05)  # see two_processes.py
    # Started again, both processes see that the run is complete.
    assert python(*TORCHRUN, *arguments).returncode == 0
    assert read_history(two / HISTORY, 9) == others


def test_a_batch_that_cannot_be_shared_out_is_named(config_file: Path) -> None:
    result = python(*TORCHRUN, "-m", "fer_training", "train", config_file, "batch_size=35")
    assert result.returncode != 0
    assert "batch_size 35 cannot be shared out to 2 processes" in result.stderr


def test_one_process_normalises_as_torch_does() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        plain, own = nn.BatchNorm2d(4), GlobalBatchNorm2d(4)
        x = torch.randn(6, 4, 5, 5) * 3 + 1
        gradients = []
        for norm in (plain, own):
            leaf = x.clone().requires_grad_()
            (norm(leaf) ** 3).sum().backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own.state_dict(), plain.state_dict() | {"num_batches_tracked": torch.tensor(0)})
        own.eval(), plain.eval()
        torch.testing.assert_close(own(x), plain(x))
    finally:
        torch.distributed.destroy_process_group()
