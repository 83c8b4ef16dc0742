"""Supervised training: ``train`` makes a run folder with checkpoints, history and curves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import Metrics, classification_metrics, mean_recall
from fer_perception.preprocessing.normalization import InputSpec
from fer_perception.telemetry.malloc import keep_all_freed_memory
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import Alignment, Samples, load_dataset, load_unlabelled
from fer_training.datasets.derived.camera import camera_views
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import by_head, normalized, predict, prepare_images
from fer_training.networks.attention import head_separation_loss
from fer_training.networks.ddamfn import DDAMFN
from fer_training.networks.hybrid_attention import HybridAttentionNetwork
from fer_training.networks.landmark_regions import attention_loss, landmark_regions
from fer_training.networks.pretrained import load_pretrained
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import TrainConfig
from fer_training.runs.folder import FREQUENCIES, Row, build_network, heads, outputs
from fer_training.training.augmentation import Augmentation, mix_up
from fer_training.training.batch_norm import drawn, estimate_statistics
from fer_training.training.distillation import distillation_loss, load_soft_targets
from fer_training.training.distributed import Processes, processes
from fer_training.training.loop import fit, moving_average
from fer_training.training.mixed_precision import mixed_precision
from fer_training.training.sampling import learnt_frequencies, sampling_weights

log = logging.getLogger(__name__)


def train(config: TrainConfig, on_epoch_end: Callable[[int], None] | None = None) -> Path:
    """Train, or go on with the run that the folder holds; returns the run's folder.

    Weights are selected by macro-F1 on the validation split; the test split is not read. Started by torchrun, its
    processes share the work.

    :param on_epoch_end: see :func:`fer_training.training.loop.fit`.
    :raises FerError: bad configuration or data, or the folder holds a run of another configuration.
    """
    for key, verb in (
        ("distillation.unlabelled", "prune"),
        ("adaptation.targets", "adapt"),
        ("pruning.start", "prune"),
    ):
        if attrgetter(key)(config):
            raise FerError(f"{config.name}: has {key}, so it is a configuration for the verb {verb}")
    with prepared(config) as group:
        return fit(config, Supervision(config, group), group, on_epoch_end)


def prepared(config: TrainConfig) -> AbstractContextManager[Processes]:
    """Threads, seed and memory are set, torchrun's other processes are met."""
    keep_all_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # images of one size
    return processes(config.device, config.batch_size)


class LabelledImages:
    """Training and validation split of the configured data, as the network takes them.

    ``images``: uint8, (N, H, W, C), a tensor on the device, and ``camera``: uint8, (views, N, H, W, C), the same ones
    through the camera model. ``val_images``: uint8, (N, H, W, C), an array. ``targets``: float32, (N, labels of all
    sets), what annotators say, and ``soft_targets`` what teachers say; without teachers these are the targets, too.
    Unlabelled images come last; their rows are zero.
    """

    def __init__(self, config: TrainConfig, device: str = "cpu") -> None:
        self.spec = config.input.spec()
        alignment = Alignment(FER2013_TEMPLATE, self.spec)
        self.samples, self.val_samples = (load_dataset(config.data, split, alignment) for split in ("train", "val"))
        self.images = torch.from_numpy(prepare_images(self.samples, self.spec)).to(device)
        self.camera = _camera_views(config, self.samples).to(device)
        self.val_images = prepare_images(self.val_samples, self.spec)
        log.info("%s: %d training and %d validation images", config.data, len(self.samples), len(self.val_samples))
        self.heads = self.samples.heads
        self.targets = torch.from_numpy(self.samples.distributions()).to(device)
        self.soft_targets = _soft_targets(config, self.samples, self.targets)
        for name in config.distillation.unlabelled:
            self._add_unlabelled(load_unlabelled(name, alignment))

    def _add_unlabelled(self, samples: Samples) -> None:
        images = torch.from_numpy(prepare_images(samples, self.spec)).to(self.images.device)
        log.info("%s: %d unlabelled images", samples.dataset, len(images))
        self.images = torch.cat([self.images, images])
        none = self.targets.new_zeros(len(images), self.targets.shape[1])
        self.targets, self.soft_targets = (torch.cat([rows, none]) for rows in (self.targets, self.soft_targets))

    def pick(self, picked: Tensor) -> Tensor:
        """Normalised images by their indices, half of them through the camera where that is configured: float32."""
        images = self.images[picked]
        views = len(self.camera)
        if views:
            view = torch.randint(2 * views, (len(picked),), device=images.device)
            by_camera = self.camera[view % views, picked]
            images = torch.where((view < views)[:, None, None, None], by_camera, images)
        return normalized(images, self.spec)


class Supervision:
    """Learn labels: a :class:`fer_training.training.loop.Task`.

    :param network: to start with; without it the configured one, newly made.
    :param teacher: a network that predicts every batch, in place of teachers' cached soft targets.
    """

    selection = "val_macro_f1"

    def __init__(
        self,
        config: TrainConfig,
        group: Processes,
        data: LabelledImages | None = None,
        network: nn.Module | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        self.config, self.group = config, group
        self.data = LabelledImages(config, group.device) if data is None else data
        self.count, self.facts = len(self.data.images), data_facts(self.data.samples, self.data.val_samples)
        if network is None:
            network = first_network(config, self.data.heads)
        self.network = network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = moving_average(self.network, config.ema_decay)
        self.objective = SupervisedLoss(config, self.network, self.data.targets, self.data.heads, teacher)
        self.augment = Augmentation(config.augmentation, self.data.spec)
        self.regions = _regions(config, network)
        self.weights = sampling_weights(config.sampling, self.data.samples)
        self.facts[FREQUENCIES] = learnt_frequencies(self.data.samples, self.weights, config.logit_adjustment)

    def batch(self, picked: Tensor, progress: float) -> tuple[Tensor, ...]:
        """Images, targets, teachers' soft targets, and where attention is to be drawn the regions."""
        data = self.data
        if self.weights is not None:  # other images in place of the picked ones
            picked = torch.multinomial(self.weights, len(picked), replacement=True).to(picked.device)
        images = data.pick(picked)
        regions = None if self.regions is None else self.regions.to(images.device).expand(len(images), -1, -1, -1)
        images, regions = self.augment(images, regions)
        batch = [images, data.targets[picked], data.soft_targets[picked]]
        if self.config.augmentation.mixup:
            batch = mix_up(self.config.augmentation.mixup, *batch)
        return (*batch,) if regions is None else (*batch, regions)

    def validate(self) -> tuple[Row, dict[str, Any]]:
        """Accuracy, macro-F1 and mean recall on the validation split, of each label set; all metrics."""
        picked = drawn(self.count, self.data.images.device)
        estimate_statistics(self.average, (self.data.pick(indices) for indices in picked))
        return validation(self.average, self.data.val_samples, self.data.val_images, self.data.spec, self.group.device)


def validation(
    network: nn.Module, samples: Samples, images: UInt8Image, spec: InputSpec, device: str
) -> tuple[Row, dict[str, Any]]:
    """Columns of the history, and facts for the checkpoint. With several label sets, columns are means over them.

    :param images: uint8, (N, H, W, C), those of the samples as the network takes them.
    """
    probabilities = predict(network, images, spec, device, [*map(len, samples.heads.values())])
    measured = head_metrics(samples, probabilities)
    columns = {
        "val_accuracy": [metrics.accuracy for metrics in measured.values()],
        "val_macro_f1": [metrics.macro_f1 for metrics in measured.values()],
        "val_mean_recall": [mean_recall(metrics) for metrics in measured.values()],
    }
    first, *others = measured
    facts: dict[str, Any] = {"validation": validation_facts(measured[first])}
    if others:
        facts["validation_of"] = {name: validation_facts(metrics) for name, metrics in measured.items()}
    return {name: sum(values) / len(values) for name, values in columns.items()}, facts


def head_metrics(samples: Samples, probabilities: Float32Array) -> dict[str, Metrics]:
    """The metrics of each label set, on the samples that it has a label for.

    :param probabilities: (N, labels of all sets).
    """
    targets, found, column = samples.distributions(), {}, 0
    for name, labels in samples.heads.items():
        columns = slice(column, column := column + len(labels))
        labelled = targets[:, columns].any(1)
        found[name] = classification_metrics(
            targets[labelled, columns].argmax(1), probabilities[labelled, columns], labels
        )
    return found


def first_network(config: TrainConfig, label_sets: Mapping[str, Sequence[str]]) -> nn.Module:
    """The configured network, with random weights or those of ``pretrained``, and its first stages frozen."""
    network = build_network(config, outputs(label_sets))
    if config.pretrained:
        file = Path(config.pretrained).expanduser()
        facts = load_checkpoint(file)[1]
        is_same = "labels" in facts and [*heads(facts).values()] == [*label_sets.values()]
        load_pretrained(network, file, with_classifier=is_same)
    for stage in islice(cast(nn.Sequential, network.features), config.frozen_stages):
        stage.requires_grad_(False)
    return network


class SupervisedLoss(nn.Module):
    """Cross entropy with labels and teachers, attention outside the regions, and how alike attention heads are.

    :param targets: float32, (N, labels of all sets), of all training images: how frequent labels are.
    :param label_sets: the labels of each set; the loss is the mean over the sets.
    :raises FerError: ``head_separation`` of a network without heads.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        targets: Tensor,
        label_sets: Mapping[str, Sequence[str]],
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config, self.network = config, network
        self._heads = [*map(len, label_sets.values())]
        self._shift = config.logit_adjustment * log_frequencies(targets, self._heads)
        self._teacher = (teacher,)  # in a tuple, so that its weights are not among those that are learnt
        if config.head_separation and not isinstance(network, DDAMFN):
            raise FerError(f"head_separation: network '{config.network.name}' has no attention heads. Use ddamfn, or 0")

    def forward(self, images: Tensor, targets: Tensor, soft_targets: Tensor, regions: Tensor | None = None) -> Tensor:
        """A batch's mean loss.

        :param images: float32, (N, C, H, W), normalised.
        :param targets: float32, (N, labels of all sets), what annotators say.
        :param soft_targets: float32, (N, labels of all sets), what teachers say at the distillation's temperature.
        :param regions: float32, (N, 1, H, W) in 0..1, where attention should rest.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        heads: list[Tensor] = []
        with mixed_precision(self.config, images.device):
            if regions is not None:
                logits, maps = cast(HybridAttentionNetwork, self.network).forward_with_attention(images)
            elif self.config.head_separation:
                logits, heads = cast(DDAMFN, self.network).forward_with_heads(images)
            else:
                logits = self.network(images)
        logits = logits.float() + self._shift.to(images.device)
        loss = cross_entropy(logits, targets, self._heads, self.config.label_smoothing)
        distillation = self.config.distillation
        (teacher,) = self._teacher
        if teacher is not None:
            soft_targets = self._predict(teacher, images)
        if teacher is not None or distillation.soft_targets:
            distilled = distillation_loss(logits, soft_targets, self._heads, distillation.temperature)
            loss = torch.lerp(loss, distilled, distillation.weight)
        if regions is not None:
            loss = loss + self.config.attention_weight * attention_loss(maps, regions)
        if heads:
            loss = loss + self.config.head_separation * head_separation_loss(heads)
        return loss

    @torch.no_grad()
    def _predict(self, teacher: nn.Module, images: Tensor) -> Tensor:
        """A teacher's probabilities at the distillation's temperature: float32, (N, labels of all sets)."""
        with mixed_precision(self.config, images.device):
            logits = teacher.eval()(images)
        return by_head(torch.softmax, logits.float() / self.config.distillation.temperature, self._heads)


def cross_entropy(logits: Tensor, targets: Tensor, sizes: Sequence[int], label_smoothing: float = 0.0) -> Tensor:
    """The mean over images and label sets. Where an image has no label of a set, that term is zero.

    :param logits: (N, labels of all sets), and ``targets``: the same shape, rows of each set summing to 1 or 0.
    :param sizes: how many labels each set has.
    """
    if label_smoothing:
        parts = targets.split(list(sizes), 1)
        targets = torch.cat([torch.lerp(p, p.sum(1, True) / p.shape[1], label_smoothing) for p in parts], 1)
    return -(targets * by_head(torch.log_softmax, logits, sizes)).sum(1).mean() / len(sizes)


def log_frequencies(targets: Tensor, sizes: Sequence[int]) -> Tensor:
    """The logarithm of how frequent each label is in its set: float32, (labels of all sets,).

    A loss on logits to which it is added teaches the network balanced predictions: the logit-adjusted loss of Menon et
    al., *Long-tail learning via logit adjustment* (ICLR 2021), arXiv:2007.07314.

    :param targets: float32, (N, labels of all sets).
    """
    parts = targets.sum(0).split(list(sizes))
    return torch.cat([(part / part.sum()).clamp_min(1e-6).log() for part in parts])


def validation_facts(metrics: Metrics) -> dict[str, Any]:
    """What a checkpoint tells about its validation."""
    return metrics.model_dump(mode="json", exclude={"reliability"})


def data_facts(*splits: Samples) -> dict[str, Any]:
    """What a checkpoint tells about the data: labels, and of each split the number of images and the fingerprint."""
    facts: dict[str, Any] = {
        "labels": splits[0].labels,
        "data": {split.split: {"images": len(split), "sha256": split.fingerprint()} for split in splits},
    }
    if splits[0].label_sets:
        facts["heads"] = splits[0].label_sets
    return facts


def _camera_views(config: TrainConfig, samples: Samples) -> Tensor:
    """The training images through the camera model: uint8, (views, N, H, W, C)."""
    count = config.augmentation.camera_views
    views = [
        prepare_images(replace(samples, images=camera_views(samples.images, samples.names, view)), config.input.spec())
        for view in tqdm(range(count), desc="camera model", unit="view", disable=not count)
    ]
    return torch.from_numpy(np.stack(views)) if views else torch.empty(0)


def _soft_targets(config: TrainConfig, samples: Samples, targets: Tensor) -> Tensor:
    """What the teachers said: float32, (N, labels of all sets)."""
    distillation = config.distillation
    if not distillation.soft_targets:
        return targets
    file = Path(distillation.soft_targets).expanduser()
    return load_soft_targets(file, samples, distillation.temperature).to(targets.device)


def _regions(config: TrainConfig, network: nn.Module) -> Tensor | None:
    """Where attention should rest in an aligned crop, float32 (1, 1, H, W), if the configuration asks for that loss.

    :raises FerError: the network has no attention.
    """
    if not config.attention_weight:
        return None
    if not isinstance(network, HybridAttentionNetwork) or not network.attention:
        raise FerError(
            f"attention_weight: network '{config.network.name}' has no attention. Use hybrid_attention, or 0"
        )
    return torch.from_numpy(landmark_regions(FER2013_TEMPLATE, config.input.width, config.input.height))[None, None]
