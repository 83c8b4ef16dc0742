"""Two real processes, in the slow tests started by torchrun."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import load_config
from fer_training.runs.folder import BEST, CONFIG, CURVES, HISTORY, LAST, Row, read_history
from fer_training.training.distributed import GlobalBatchNorm2d
from fer_training.training.supervised import train

FILES = {BEST, LAST, HISTORY, CURVES, CONFIG}


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def assert_like(rows: list[Row], others: list[Row], tolerance: float) -> None:
    assert [row["epoch"] for row in others] == [row["epoch"] for row in rows]
    for row, other in zip(rows, others, strict=True):
        assert other["train_loss"] == pytest.approx(row["train_loss"], rel=tolerance)


@pytest.fixture(scope="module")
def results(session_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes have written, and the same steps by one."""
    folder = tmp_path_factory.mktemp("processes")
    script = Path(__file__).with_name("two_processes.py")
    result = python(script, session_config, folder)
    assert result.returncode == 0, result.stderr
    runpy.run_path(str(script))["take_steps"](session_config, folder / "one.safetensors")
    return folder


def test_two_processes_take_the_steps_of_one(results: Path) -> None:
    (one, facts), (two, other_facts) = (load_checkpoint(results / f"{name}.safetensors") for name in ("one", "two"))
    assert (facts["processes"], other_facts["processes"]) == (1, 2)
    assert other_facts["losses"] == pytest.approx(facts["losses"], rel=1e-9)
    assert set(one["network"]) == set(two["network"])
    for name, tensor in one["network"].items():
        torch.testing.assert_close(two["network"][name], tensor, rtol=1e-6, atol=1e-8)


def test_two_processes_train_as_one_does(results: Path, config_file: Path) -> None:
    """They went on twice: the second time the run was complete."""
    run = train(load_config(config_file, ["batch_size=34"]))
    assert {file.name for file in (results / "tiny").iterdir()} >= FILES
    # Of two steps the first one has a rate of 0, so no rounding has grown yet.
    assert_like(read_history(run / HISTORY, 9), read_history(results / "tiny" / HISTORY, 9), 1e-3)


def test_a_batch_that_cannot_be_shared_out_is_named(results: Path) -> None:
    for rank in range(2):
        message = (results / f"error{rank}.txt").read_text()
        assert message.startswith("batch_size 35 cannot be shared out to 2 processes")


@pytest.mark.slow
def test_torchrun_trains_as_one_process_does(config_file: Path, tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "fer_training", "train")
    overrides = ["epochs=2", "batch_size=34", "learning_rate=0.01", "threads=1"]
    rows = read_history(train(load_config(config_file, overrides)) / HISTORY, 9)
    command = (*torchrun, config_file, *overrides, f"out={tmp_path / 'two'}")
    for _ in range(2):  # the second time both processes see that the run is complete
        result = python(*command)
        assert result.returncode == 0, result.stderr
        two = tmp_path / "two" / "tiny"
        assert {file.name for file in two.iterdir()} >= FILES
        assert_like(rows, read_history(two / HISTORY, 9), 0.1)
    refused = python(*torchrun, config_file, "batch_size=35", f"out={tmp_path / 'refused'}")
    assert refused.returncode != 0
    assert "batch_size 35 cannot be shared out to 2 processes" in refused.stderr


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
