"""Supervised training: ``train`` makes a run folder with checkpoints, history and curves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import Metrics, classification_metrics
from fer_perception.preprocessing.normalization import normalize
from fer_perception.telemetry.malloc import keep_all_freed_memory
from fer_training.datasets import Alignment, Samples, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.networks.hybrid_attention import HybridAttentionNetwork
from fer_training.networks.landmark_regions import attention_loss, landmark_regions
from fer_training.networks.pretrained import load_pretrained
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import TrainConfig
from fer_training.runs.folder import Row, build_network
from fer_training.training.augmentation import Augmentation, mix_up
from fer_training.training.distillation import distillation_loss, load_soft_targets
from fer_training.training.distributed import Processes, processes
from fer_training.training.loop import fit, moving_average
from fer_training.training.sampling import sampling_weights

log = logging.getLogger(__name__)


def train(config: TrainConfig, on_epoch_end: Callable[[int], None] | None = None) -> Path:
    """Train, or go on with the run that the folder holds; returns the run's folder.

    Weights are selected by accuracy on the validation split; the test split is not read. Started by torchrun, its
    processes share the work.

    :param on_epoch_end: see :func:`fer_training.training.loop.fit`.
    :raises FerError: bad configuration or data, or the folder holds a run of another configuration.
    """
    for key, verb in (("adaptation.target", "adapt"), ("pruning.start", "prune")):
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
    return processes(config.device, config.batch_size)


class LabelledImages:
    """Training and validation split of the configured data, as the network takes them.

    ``images`` and ``val_images``: uint8, (N, H, W, C). ``targets``: float32, (N, labels), what annotators say, and
    ``soft_targets`` what teachers say; without teachers these are the targets, too.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.spec = config.input.spec()
        alignment = Alignment(FER2013_TEMPLATE, self.spec)
        self.samples, self.val_samples = (load_dataset(config.data, split, alignment) for split in ("train", "val"))
        self.images = prepare_images(self.samples, self.spec)
        self.val_images = prepare_images(self.val_samples, self.spec)
        log.info("%s: %d training and %d validation images", config.data, len(self.samples), len(self.val_samples))
        self.targets = target_distributions(self.samples)
        self.soft_targets = _soft_targets(config, self.samples, self.targets)


class Supervision:
    """Learn labels: a :class:`fer_training.training.loop.Task`.

    :param network: to start with; without it the configured one, newly made.
    :param teacher: a network that predicts every batch, in place of teachers' cached soft targets.
    """

    selection = "val_accuracy"

    def __init__(
        self,
        config: TrainConfig,
        group: Processes,
        data: LabelledImages | None = None,
        network: nn.Module | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        self.config, self.group = config, group
        self.data = LabelledImages(config) if data is None else data
        self.count, self.facts = len(self.data.samples), data_facts(self.data.samples, self.data.val_samples)
        if network is None:
            network = first_network(config, self.data.samples.labels)
        self.network = network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = moving_average(self.network, config.ema_decay)
        self.objective = SupervisedLoss(config, self.network, teacher)
        self.augment = Augmentation(config.augmentation, self.data.spec)
        self.regions = _regions(config, network)
        self.weights = sampling_weights(config.sampling, self.data.samples)

    def batch(self, picked: Tensor, progress: float) -> tuple[Tensor, ...]:
        """Images, targets, teachers' soft targets, and where attention is to be drawn the regions."""
        data = self.data
        if self.weights is not None:  # other images in place of the picked ones
            picked = torch.multinomial(self.weights, len(picked), replacement=True)
        images = torch.from_numpy(normalize(data.images[picked.numpy()], data.spec)).to(self.group.device)
        regions = None if self.regions is None else self.regions.to(images.device).expand(len(images), -1, -1, -1)
        images, regions = self.augment(images, regions)
        batch = [images, *(tensor[picked].to(images.device) for tensor in (data.targets, data.soft_targets))]
        if self.config.augmentation.mixup:
            batch = mix_up(self.config.augmentation.mixup, *batch)
        return (*batch,) if regions is None else (*batch, regions)

    def validate(self) -> tuple[Row, dict[str, Any]]:
        """Accuracy and macro-F1 on the validation split; all metrics."""
        probabilities = predict(self.average, self.data.val_images, self.data.spec, self.group.device)
        samples = self.data.val_samples
        metrics = classification_metrics(samples.targets, probabilities, samples.labels)
        row = {"val_accuracy": metrics.accuracy, "val_macro_f1": metrics.macro_f1}
        return row, {"validation": validation_facts(metrics)}


def first_network(config: TrainConfig, labels: Sequence[str]) -> nn.Module:
    """The configured network, with random weights or those of ``pretrained``, and its first stages frozen."""
    network = build_network(config, len(labels))
    if config.pretrained:
        file = Path(config.pretrained).expanduser()
        load_pretrained(network, file, with_classifier=load_checkpoint(file)[1].get("labels") == list(labels))
    for stage in islice(cast(nn.Sequential, network.features), config.frozen_stages):
        stage.requires_grad_(False)
    return network


class SupervisedLoss(nn.Module):
    """Cross entropy with labels and teachers, and attention outside the regions."""

    def __init__(self, config: TrainConfig, network: nn.Module, teacher: nn.Module | None = None) -> None:
        super().__init__()
        self.config, self.network = config, network
        self._teacher = (teacher,)  # in a tuple, so that its weights are not among those that are learnt

    def forward(self, images: Tensor, targets: Tensor, soft_targets: Tensor, regions: Tensor | None = None) -> Tensor:
        """A batch's mean loss.

        :param images: float32, (N, C, H, W), normalised.
        :param targets: float32, (N, labels), what annotators say.
        :param soft_targets: float32, (N, labels), what teachers say at the distillation's temperature.
        :param regions: float32, (N, 1, H, W) in 0..1, where attention should rest.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            if regions is None:
                logits = self.network(images)
            else:
                logits, maps = cast(HybridAttentionNetwork, self.network).forward_with_attention(images)
        logits = logits.float()
        loss = nn.functional.cross_entropy(logits, targets, label_smoothing=self.config.label_smoothing)
        distillation = self.config.distillation
        (teacher,) = self._teacher
        if teacher is not None:
            soft_targets = self._predict(teacher, images)
        if teacher is not None or distillation.soft_targets:
            distilled = distillation_loss(logits, soft_targets, distillation.temperature)
            loss = torch.lerp(loss, distilled, distillation.weight)
        if regions is not None:
            loss = loss + self.config.attention_weight * attention_loss(maps, regions)
        return loss

    @torch.no_grad()
    def _predict(self, teacher: nn.Module, images: Tensor) -> Tensor:
        """A teacher's probabilities at the distillation's temperature: float32, (N, labels)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            logits = teacher.eval()(images)
        return torch.softmax(logits.float() / self.config.distillation.temperature, 1)


def validation_facts(metrics: Metrics) -> dict[str, Any]:
    """What a checkpoint tells about its validation."""
    return metrics.model_dump(mode="json", exclude={"reliability"})


def data_facts(*splits: Samples) -> dict[str, Any]:
    """What a checkpoint tells about the data: labels, and of each split the number of images and the fingerprint."""
    return {
        "labels": splits[0].labels,
        "data": {split.split: {"images": len(split), "sha256": split.fingerprint()} for split in splits},
    }


def target_distributions(samples: Samples) -> Tensor:
    """What the annotators said: float32, (N, labels)."""
    if samples.soft_targets is not None:
        return torch.from_numpy(samples.soft_targets)
    return nn.functional.one_hot(torch.from_numpy(samples.targets), len(samples.labels)).float()


def _soft_targets(config: TrainConfig, samples: Samples, targets: Tensor) -> Tensor:
    """What the teachers said: float32, (N, labels)."""
    distillation = config.distillation
    if not distillation.soft_targets:
        return targets
    return load_soft_targets(Path(distillation.soft_targets).expanduser(), samples, distillation.temperature)


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
    return torch.from_numpy(landmark_regions(FER2013_TEMPLATE, config.input.width, config.input.height))[None, None]
