"""The loop that every training shares: schedule, moving average, checkpoints, history, several processes."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from fer_perception.errors import FerError
from fer_training.runs.checkpoint import load_weights, optimizer_tensors, restore_optimizer, save_checkpoint
from fer_training.runs.config import TrainConfig
from fer_training.runs.folder import BEST, CURVES, HISTORY, LAST, Row, open_run, read_history, write_history
from fer_training.training.curves import plot_history
from fer_training.training.distributed import Processes, global_mean

SHOWN_EVERY = 20  # steps
Tensors = list[Tensor] | tuple[Tensor, ...]

log = logging.getLogger(__name__)


class Task(Protocol):
    """What is to be learnt."""

    average: AveragedModel  # of the network that is kept; see moving_average
    network: nn.Module  # the part of the objective that is averaged
    count: int  # of training images
    selection: str  # the column of the history whose largest value selects the weights
    facts: dict[str, Any]  # saved with the weights

    @property
    def objective(self) -> nn.Module:
        """Its forward maps a part of a batch to the loss."""

    def batch(self, picked: Tensor, progress: float) -> tuple[Tensor, ...]:
        """A global batch, all random changes made, of the training images' indices (batch_size,).

        :param progress: fraction of the training that is done, 0..1.
        """

    def validate(self) -> tuple[Row, dict[str, Any]]:
        """Columns of the history, and facts about the averaged network to be saved if it is selected."""


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a network, that starts short, so that it soon forgets the random start.

    Batch normalisation's running variances begin at one, far above what they become: at a constant decay of 0.998
    they spoil the averaged network for ten epochs.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        if not averaged[0].is_floating_point():  # batch normalisation's count of batches
            torch._foreach_copy_(averaged, current)
            return
        count = torch.as_tensor(steps, device=averaged[0].device)  # nothing here waits for the device
        changes = torch._foreach_sub(current, averaged)
        torch._foreach_mul_(changes, 1 - ((1 + count) / (10 + count)).clamp(max=decay))
        torch._foreach_add_(averaged, changes)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def fit(config: TrainConfig, task: Task, group: Processes, on_epoch_end: Callable[[int], None] | None = None) -> Path:
    """Train, or go on with the run that the folder holds; returns the run's folder.

    An interrupted run that is started again with the same configuration ends as if it had not been interrupted: every
    random draw depends on the seed and the epoch alone.

    :param on_epoch_end: called with the number of finished epochs after their checkpoint was written.
    :raises FerError: the folder holds a run of another configuration, or the loss is not finite.
    """
    folder = config.run_folder
    optimizer = torch.optim.SGD(
        task.objective.parameters(),
        config.learning_rate,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=True,
    )
    if config.batch_size > task.count:
        raise FerError(f"batch_size {config.batch_size} exceeds the {task.count} training images: lower it")
    checkpoint, start = open_run(config, group.is_first)
    if checkpoint:
        load_weights(task.objective, checkpoint["objective"], folder / LAST)
        load_weights(task.average, checkpoint["average"], folder / LAST)
        restore_optimizer(optimizer, checkpoint["optimizer"])
    objective = group.wrap(task.objective)
    history = read_history(folder / HISTORY, start)
    # Rows after the last checkpoint are of an epoch that is repeated.
    logs = SummaryWriter(str(folder), purge_step=start + 1) if group.is_first else None
    for epoch in range(start, config.epochs):
        rate, loss = _train_epoch(config, task, group, objective, optimizer, epoch)
        measured, facts = task.validate()
        best = max((row[task.selection] for row in history), default=-math.inf)
        history.append({"epoch": epoch + 1, "learning_rate": rate, "train_loss": loss, **measured})
        if logs is not None:
            _log_epoch(logs, history[-1])
            if history[-1][task.selection] > best:
                network = task.average.module.state_dict()
                save_checkpoint(folder / BEST, {"network": network}, {"epoch": epoch + 1, **task.facts, **facts})
            write_history(folder / HISTORY, history)
            state = {
                "objective": task.objective.state_dict(),
                "average": task.average.state_dict(),
                "optimizer": optimizer_tensors(optimizer),
            }
            save_checkpoint(folder / LAST, state, {"epochs_done": epoch + 1})
        if on_epoch_end:
            on_epoch_end(epoch + 1)
    if logs is not None:
        logs.close()
        plot_history(history, folder / CURVES)
    return folder


def _train_epoch(
    config: TrainConfig,
    task: Task,
    group: Processes,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
) -> tuple[float, float]:
    """Returns the last learning rate and the mean loss."""
    torch.manual_seed(config.seed * 100_003 + epoch)
    order = torch.randperm(task.count).to(group.device)
    losses: list[Tensor] = []
    objective.train()
    steps = min(task.count // config.batch_size, config.steps_per_epoch or sys.maxsize)
    name = f"epoch {epoch + 1}/{config.epochs}"
    bar = tqdm(range(steps), desc=name, mininterval=1.0, unit="batch", disable=not group.is_first)
    for step in bar:
        rate = learning_rate(config, epoch + step / steps)
        for parameters in optimizer.param_groups:
            parameters["lr"] = rate
        picked = order[step * config.batch_size : (step + 1) * config.batch_size]
        batch = task.batch(picked, (epoch + step / steps) / config.epochs)
        part = tuple(group.shard(tensor).to(group.device) for tensor in batch)
        losses.append(optimizer_step(objective, optimizer, part))
        task.average.update_parameters(task.network)
        if step % SHOWN_EVERY == 0:  # to show it, the device must be waited for
            bar.set_postfix(loss=f"{float(losses[-1]):.3f}", refresh=False)
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise FerError(f"epoch {epoch + 1}: the loss is {loss}. Lower learning_rate and delete {config.run_folder}")
    return rate, loss


def _log_epoch(logs: SummaryWriter, row: Row) -> None:
    for key, value in list(row.items())[1:]:
        logs.add_scalar(key, value, int(row["epoch"]))
    logs.flush()
    measured = ", ".join(f"{key} {value:.4f}" for key, value in list(row.items())[2:])
    log.info("epoch %d: %s", row["epoch"], measured)


def optimizer_step(objective: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...]) -> Tensor:
    """One step of the optimizer; returns the loss before it, a scalar on the device."""
    optimizer.zero_grad(set_to_none=True)
    loss = objective(*batch)
    loss.backward()
    optimizer.step()
    return global_mean(loss.detach())


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """Linear warm-up, then half a cosine to zero; ``epoch`` counts fractions."""
    if epoch < config.warmup_epochs:
        return config.learning_rate * epoch / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / max(1e-9, config.epochs - config.warmup_epochs)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
