"""Supervised training: ``train`` makes a run folder with checkpoints, history and curves."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.preprocessing import InputSpec, UInt8Image, normalize, prepare_crop
from fer_training.augmentation import Augmentation, mix_up
from fer_training.checkpoint import (
    load_checkpoint,
    load_weights,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from fer_training.config import TrainConfig, load_config, save_config
from fer_training.datasets import Alignment, Samples, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.distillation import distillation_loss, load_answers
from fer_training.metrics import classification_metrics
from fer_training.networks import NETWORKS
from fer_training.networks.hybrid_attention import HybridAttentionNetwork
from fer_training.networks.landmark_regions import attention_loss, landmark_regions
from fer_training.networks.pretrained import load_features

LAST, BEST, HISTORY, CURVES, CONFIG = (
    "last.safetensors",
    "best.safetensors",
    "history.csv",
    "curves.png",
    "config.yaml",
)
HISTORY_COLUMNS = ("epoch", "learning_rate", "train_loss", "val_accuracy", "val_macro_f1")

log = logging.getLogger(__name__)


def build_network(config: TrainConfig, num_classes: int) -> nn.Module:
    """The configured network with random weights.

    :raises FerError: unknown network or option.
    """
    if config.network.name not in NETWORKS:
        raise FerError(f"network '{config.network.name}' is unknown, known are {', '.join(sorted(NETWORKS))}")
    try:
        return NETWORKS[config.network.name](
            num_classes=num_classes, in_channels=config.input.spec().channels, **config.network.options
        )
    except TypeError as error:
        raise FerError(f"network '{config.network.name}': {error}. Mend network.options") from error


def prepare_images(samples: Samples, spec: InputSpec) -> UInt8Image:
    """All pictures at the network's colour and size: uint8, (N, H, W, C)."""
    return np.stack([prepare_crop(image, spec) for image in samples.images])


def train(config: TrainConfig, on_epoch_end: Callable[[int], None] | None = None) -> Path:
    """Train, or go on with the run that the folder holds; returns the run's folder.

    Weights are selected by accuracy on the validation split; the test split is not read. An interrupted run that is
    started again with the same configuration ends as if it had not been interrupted: every random draw depends on
    the seed and the epoch alone.

    :param on_epoch_end: called with the number of finished epochs after their checkpoint was written.
    :raises FerError: bad configuration or data, or the folder holds a run of another configuration.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    spec = config.input.spec()
    alignment = Alignment(FER2013_TEMPLATE, spec)
    train_samples, val_samples = (load_dataset(config.data, split, alignment) for split in ("train", "val"))
    images, val_images = prepare_images(train_samples, spec), prepare_images(val_samples, spec)
    targets = _target_shares(train_samples)
    # Without distillation the teachers say what the labels say, at no weight.
    answers = _answers(config, train_samples, targets)
    log.info("%s: %d training and %d validation images", config.data, len(images), len(val_images))

    network = build_network(config, len(train_samples.labels))
    if config.pretrained:
        load_features(network, Path(config.pretrained).expanduser())
    network = network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, avg_fn=_average(config.ema_decay), use_buffers=True)
    optimizer = torch.optim.SGD(
        network.parameters(), config.learning_rate, config.momentum, weight_decay=config.weight_decay, nesterov=True
    )
    augment = Augmentation(config.augmentation)
    regions = _regions(config, network)
    folder = config.run_folder
    start = _resume(folder, config, network, average, optimizer)
    steps = len(images) // config.batch_size
    if steps == 0:
        raise FerError(f"batch_size {config.batch_size} exceeds the {len(images)} training images: lower it")

    history = _read_history(folder / HISTORY)[:start]
    for epoch in range(start, config.epochs):
        torch.manual_seed(config.seed * 100_003 + epoch)
        order = torch.randperm(len(images))
        losses = []
        network.train()
        bar = tqdm(range(steps), desc=f"epoch {epoch + 1}/{config.epochs}", mininterval=1.0, unit="batch")
        for step in bar:
            rate = _learning_rate(config, epoch + step / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            picked = order[step * config.batch_size : (step + 1) * config.batch_size]
            batch = torch.from_numpy(normalize(images[picked.numpy()], spec)).to(config.device)
            batch, where = augment(batch, None if regions is None else regions.expand(len(batch), -1, -1, -1))
            shares = [tensor[picked].to(config.device) for tensor in (targets, answers)]
            if config.augmentation.mixup:
                batch, *shares = mix_up(config.augmentation.mixup, batch, *shares)
            loss = _step(config, network, optimizer, batch, shares, where)
            average.update_parameters(network)
            losses.append(loss)
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
        if not math.isfinite(losses[-1]):
            raise FerError(f"epoch {epoch + 1}: the loss is {losses[-1]}. Lower learning_rate and delete {folder}")

        metrics = classification_metrics(
            val_samples.targets, predict(average, val_images, spec, config.device), val_samples.labels
        )
        best = max((float(row["val_accuracy"]) for row in history), default=-1.0)
        row = (epoch + 1, rate, float(np.mean(losses)), metrics["accuracy"], metrics["macro_f1"])
        history.append({key: repr(value) for key, value in zip(HISTORY_COLUMNS, row, strict=True)})
        log.info(
            "epoch %d: loss %.4f, validation accuracy %.2f%%, macro-F1 %.2f%%",
            row[0],
            row[2],
            row[3] * 100,
            row[4] * 100,
        )
        if metrics["accuracy"] > best:
            facts = {
                "epoch": epoch + 1,
                "labels": train_samples.labels,
                "validation": metrics,
                "data": {
                    split.split: {"images": len(split), "sha256": split.fingerprint()}
                    for split in (train_samples, val_samples)
                },
            }
            save_checkpoint(folder / BEST, {"network": average.module.state_dict()}, facts)
        _write_history(folder / HISTORY, history)
        save_checkpoint(
            folder / LAST,
            {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer_tensors(optimizer),
            },
            {"epochs_done": epoch + 1},
        )
        if on_epoch_end:
            on_epoch_end(epoch + 1)
    plot_history(history, folder / CURVES)
    return folder


@torch.inference_mode()
def predict(
    network: nn.Module, images: UInt8Image, spec: InputSpec, device: str = "cpu", batch_size: int = 256
) -> npt.NDArray[np.float32]:
    """Probabilities in single precision: uint8 (N, H, W, C) to float32 (N, labels)."""
    network.eval()
    parts = [
        torch.softmax(network(torch.from_numpy(normalize(images[i : i + batch_size], spec)).to(device)), 1).cpu()
        for i in range(0, len(images), batch_size)
    ]
    return torch.cat(parts).numpy()


def load_run(folder: Path, config: TrainConfig) -> tuple[nn.Module, dict[str, Any]]:
    """The selected network of a finished or running training, in evaluation mode, and the facts saved with it."""
    groups, facts = load_checkpoint(folder / BEST)
    network = build_network(config, len(facts["labels"]))
    load_weights(network, groups["network"], folder / BEST)
    return network.eval(), facts


def _target_shares(samples: Samples) -> Tensor:
    """What the annotators said: float32, (N, labels)."""
    if samples.soft_targets is not None:
        return torch.from_numpy(samples.soft_targets)
    return nn.functional.one_hot(torch.from_numpy(samples.targets), len(samples.labels)).float()


def _answers(config: TrainConfig, samples: Samples, targets: Tensor) -> Tensor:
    """What the teachers said: float32, (N, labels)."""
    distillation = config.distillation
    if not distillation.answers:
        return targets
    return load_answers(Path(distillation.answers).expanduser(), samples, distillation.temperature)


def _regions(config: TrainConfig, network: nn.Module) -> Tensor | None:
    """Where attention should rest in an aligned crop, float32 (1, 1, H, W), if the configuration asks for that loss.

    :raises FerError: the network has no attention.
    """
    if not config.attention_weight:
        return None
    if not isinstance(network, HybridAttentionNetwork):
        raise FerError(
            f"attention_weight: network '{config.network.name}' has no attention. Use hybrid_attention, or 0"
        )
    regions = landmark_regions(FER2013_TEMPLATE, config.input.width, config.input.height)
    return torch.from_numpy(regions)[None, None].to(config.device)


def _step(
    config: TrainConfig,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
    shares: list[Tensor],
    regions: Tensor | None,
) -> float:
    targets, answers = shares
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.mixed_precision):
        maps: list[Tensor] = []
        if regions is None:
            logits = network(batch)
        else:
            logits, maps = cast(HybridAttentionNetwork, network).forward_with_attention(batch)
    logits = logits.float()
    loss = nn.functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    if config.distillation.answers:
        weight, temperature = config.distillation.weight, config.distillation.temperature
        loss = (1 - weight) * loss + weight * distillation_loss(logits, answers, temperature)
    if regions is not None:
        loss = loss + config.attention_weight * attention_loss(maps, regions)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def _learning_rate(config: TrainConfig, epoch: float) -> float:
    """Linear warm-up, then half a cosine to zero; ``epoch`` counts fractions."""
    if epoch < config.warmup_epochs:
        return config.learning_rate * epoch / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / max(1e-9, config.epochs - config.warmup_epochs)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average that starts short, so that it soon forgets the random start.

    Batch normalisation's running variances begin at one, far above what they become: at a constant decay of 0.998
    they spoil the averaged network for ten epochs.
    """

    def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():  # batch normalisation's count of batches
            return current
        return torch.lerp(averaged, current, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    return average


def _resume(
    folder: Path, config: TrainConfig, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Prepare the run's folder; restore its last checkpoint where there is one. Returns the finished epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    last, settings = folder / LAST, folder / CONFIG
    if not last.exists():
        save_config(config, settings)
        return 0
    before, now = asdict(load_config(settings)), asdict(config)
    changed = sorted(key for key in now if now[key] != before[key] and key not in ("threads", "device", "out"))
    if changed:
        raise FerError(
            f"{folder}: holds a run with other values of {', '.join(changed)}. Give the run another name, or delete "
            "the folder"
        )
    groups, values = load_checkpoint(last)
    load_weights(network, groups["network"], last)
    load_weights(average, groups["average"], last)
    restore_optimizer(optimizer, groups["optimizer"])
    log.info("%s: going on after epoch %d", folder, values["epochs_done"])
    return int(values["epochs_done"])


def _read_history(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write_history(file: Path, history: list[dict[str, str]]) -> None:
    temporary = file.with_suffix(".partial")
    with open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(history)
    os.replace(temporary, file)


def plot_history(history: list[dict[str, str]], file: Path) -> None:
    """Draw loss and validation metrics over the epochs into a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [int(row["epoch"]) for row in history]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [float(row["train_loss"]) for row in history], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss")
    for key, name in (("val_accuracy", "accuracy"), ("val_macro_f1", "macro-F1")):
        right.plot(epochs, [100 * float(row[key]) for row in history], label=name)
    right.set(xlabel="epoch", ylabel="validation, %")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(file, dpi=120)
