"""The verb ``adapt``: dual-attention domain adaptation of a trained network to unlabelled images of another domain.

The network is :class:`fer_training.networks.dual_adaptive.DualAdaptiveNetwork`. Four things act together:

- *Statistics of each domain* (Li et al., 2016, arXiv:1603.04779; Chang et al., 2019, arXiv:1906.03950): batch
  normalisation uses each domain's own mean and variance. The network starts with those of the target's images, and
  only these are kept, so the first pseudo-labels are already those of a network that knows the target's light and blur.
- *Adversarial alignment* (Ganin et al., 2016, arXiv:1505.07818) of both branches: a domain classifier on the global
  features and one on the features of the landmark regions, behind gradient reversal.
- *Semantic pseudo-labels*: the averaged network labels weakly changed target images; where it is confident enough,
  the network learns that label on strongly changed ones (FixMatch, Sohn et al., 2020, arXiv:2001.07685). The threshold
  of each class follows how confident the averaged network is in general and how often it names that class (FreeMatch,
  Wang et al., 2023, arXiv:2205.07246), so that difficult classes get pseudo-labels, too.
- *Selection without target labels*: by the mutual information of target images and predictions (Shi and Sha, 2012,
  arXiv:1206.6438), among the epochs whose accuracy on the source's validation split is within ``TOLERANCE`` of what it
  was with the target's statistics before.

The target's class priors are deliberately not estimated (Saerens et al., 2002) and corrected for: that mistook the
network's errors in the new domain for priors, and learnt them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import entr
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import classification_metrics
from fer_perception.preprocessing.normalization import normalize
from fer_training.datasets import Alignment, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.networks.dual_adaptive import LOCAL_FEATURES, DualAdaptiveNetwork, local_widths
from fer_training.networks.pretrained import load_pretrained
from fer_training.networks.pruned import NAME
from fer_training.runs.config import AugmentationConfig, NetworkConfig, TrainConfig, load_config
from fer_training.runs.folder import BEST, CONFIG, Row, build_network
from fer_training.training.augmentation import Augmentation
from fer_training.training.distributed import Processes, global_mean
from fer_training.training.loop import fit, moving_average
from fer_training.training.supervised import data_facts, prepared, target_distributions, validation_facts

WEAK = AugmentationConfig(
    rotation_deg=0.0, translation=0.05, scale=0.0, brightness=0.0, contrast=0.0, erasing_probability=0.0
)
TOLERANCE = 0.02
HIDDEN = 128

log = logging.getLogger(__name__)


def adapt(config: TrainConfig, on_epoch_end: Callable[[int], None] | None = None) -> Path:
    """Adapt ``adaptation.start`` to the images of ``adaptation.target``; returns the run's folder.

    ``data`` is the source, whose labels are kept in use. Of the target, only the images of the split ``adapt`` are
    read.

    :param on_epoch_end: see :func:`fer_training.training.loop.fit`.
    :raises FerError: bad configuration or data, or the folder holds a run of another configuration.
    """
    for key in ("target", "start"):
        if not getattr(config.adaptation, key):
            raise FerError(f"{config.name}: adaptation.{key} is missing")
    if config.sampling.group:
        raise FerError(f"{config.name}: has sampling.group, which adapt does not take. Train with it before")
    if config.network.name != "dual_adaptive":
        raise FerError(f"network '{config.network.name}' cannot be adapted: its name must be dual_adaptive")
    config = _with_widths_of_start(config)
    with prepared(config) as group:
        return fit(config, Adaptation(config, group), group, on_epoch_end)


def _with_widths_of_start(config: TrainConfig) -> TrainConfig:
    """The configuration itself, or for a pruned start that of the network with the start's widths."""
    start = load_config(Path(config.adaptation.start).expanduser() / CONFIG).network
    if start.name != NAME:
        return config
    options = {"network": config.network.name, **config.network.options}
    widths = start.options["widths"] | local_widths(start.options["widths"], **config.network.options)
    return replace(config, network=NetworkConfig(NAME, {**options, "widths": widths}))


class Adaptation:
    """Learn the source's labels so that they hold in the target domain: a :class:`fer_training.training.loop.Task`."""

    selection = "selection"

    def __init__(self, config: TrainConfig, group: Processes) -> None:
        self.config, self.group, self.spec = config, group, config.input.spec()
        alignment = Alignment(FER2013_TEMPLATE, self.spec)
        source, self.val_samples = (load_dataset(config.data, split, alignment) for split in ("train", "val"))
        target = load_dataset(config.adaptation.target, "adapt", alignment)
        self.images, self.val_images, self.target_images = (
            prepare_images(samples, self.spec) for samples in (source, self.val_samples, target)
        )
        log.info("%s: %d labelled images; %s: %d unlabelled", config.data, len(source), target.dataset, len(target))
        self.count, self.targets = len(source), target_distributions(source)

        network = build_network(config, len(source.labels))
        load_pretrained(network, Path(config.adaptation.start).expanduser() / BEST, with_classifier=True)
        self.network = network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weak, self.strong = (Augmentation(c, config.input.spec()) for c in (WEAK, config.augmentation))
        self._adapt_batch_norm(self.network)
        self.average = moving_average(self.network, config.ema_decay)
        self.accuracy_before = self._accuracy(predict(self.network, self.val_images, self.spec, group.device))
        self.facts = data_facts(source, self.val_samples)
        self.target_facts = {"dataset": target.dataset, "images": len(target)}
        self.objective = AdaptationLoss(
            config, cast(DualAdaptiveNetwork, self.network), self.average, len(source.labels)
        ).to(group.device)

    def batch(self, picked: Tensor, progress: float) -> tuple[Tensor, ...]:
        """Changed source images and their targets, weakly and strongly changed target images, as many of each."""
        self.objective.reversal = 2 / (1 + math.exp(-10 * progress)) - 1  # Ganin et al.'s schedule
        # Mean teacher's (Tarvainen and Valpola, 2017): the first labels are those of a network of the other domain.
        self.objective.adoption = math.exp(-5 * (1 - progress) ** 2)
        source = self.strong(self._images(self.images, picked))[0]
        target = self._pick_target(len(picked))
        return source, self.targets[picked].to(source.device), self.weak(target)[0], self.strong(target)[0]

    def validate(self) -> tuple[Row, dict[str, Any]]:
        """On the source's validation split accuracy and macro-F1, on the target's images the mutual information."""
        # Those that the average has are of strongly changed images.
        self._adapt_batch_norm(self.average)
        probabilities, on_target = (
            predict(self.average, images, self.spec, self.group.device)
            for images in (self.val_images, self.target_images)
        )
        metrics = classification_metrics(self.val_samples.targets, probabilities, self.val_samples.labels)
        information = mutual_information(on_target.astype(np.float64))
        accuracy = self._accuracy(probabilities)
        row = {
            "val_accuracy": accuracy,
            "val_macro_f1": metrics.macro_f1,
            "pseudo_labels": float(self.objective.labelled),
            "target_information": information,
            # A network that has lost what it knew comes after all that have not.
            self.selection: information if accuracy >= self.accuracy_before - TOLERANCE else accuracy - 1,
        }
        mean = on_target.mean(0).round(4).tolist()
        facts = {
            "target": self.target_facts,
            "mean_prediction": dict(zip(self.val_samples.labels, mean, strict=True)),
            "val_accuracy": {"before": self.accuracy_before, "after": accuracy},
        }
        return row, {"validation": validation_facts(metrics), "adaptation": facts}

    def _adapt_batch_norm(self, network: nn.Module) -> None:
        adapt_batch_norm(network, lambda size: self.weak(self._pick_target(size))[0])

    def _accuracy(self, probabilities: npt.NDArray[np.float32]) -> float:
        return float((probabilities.argmax(1) == self.val_samples.targets).mean())

    def _pick_target(self, size: int) -> Tensor:
        return self._images(self.target_images, torch.randint(len(self.target_images), (size,)))

    def _images(self, images: npt.NDArray[np.uint8], picked: Tensor) -> Tensor:
        return torch.from_numpy(normalize(images[picked.numpy()], self.spec)).to(self.group.device)


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch normalisation's running statistics stay as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class AdaptationLoss(nn.Module):
    """Source labels, both domain classifiers and the target's pseudo-labels."""

    confidence: Tensor
    named: Tensor
    labelled: Tensor

    def __init__(self, config: TrainConfig, network: DualAdaptiveNetwork, average: AveragedModel, labels: int) -> None:
        super().__init__()
        self.config, self.network = config, network
        self._teacher = (average,)  # in a tuple, so that its weights are not among those that are learnt
        self.reversal = self.adoption = 0.0  # strengths of gradient reversal and pseudo-labels, 0..1
        features = cast(nn.Linear, network.classifier[-1]).in_features
        self.domain_classifiers = nn.ModuleList(domain_classifier(size) for size in (features, LOCAL_FEATURES))
        # Averages over the target's batches: the teacher's confidence, its mean probabilities, and how many images
        # got a pseudo-label.
        self.register_buffer("confidence", torch.tensor(1 / labels))
        self.register_buffer("named", torch.full((labels,), 1 / labels))
        self.register_buffer("labelled", torch.tensor(0.0))

    def forward(self, source: Tensor, targets: Tensor, weak: Tensor, strong: Tensor) -> Tensor:
        """A batch's mean loss.

        :param source: float32, (N, C, H, W), normalised, and ``targets``: float32, (N, labels), their soft targets.
        :param weak: float32, (N, C, H, W), target images weakly changed, and ``strong``: the same ones strongly.
        """
        settings = self.config.adaptation
        pseudo, trusted = self._pseudo_labels(weak)
        with torch.autocast(source.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            with frozen_statistics(self.network):
                of_source = self.network.forward_branches(source.contiguous(memory_format=torch.channels_last))
            of_target = self.network.forward_branches(strong.contiguous(memory_format=torch.channels_last))
            branches = zip(of_source[1:], of_target[1:], strict=True)
            domains = [
                classify(GradientReversal.apply(torch.cat(features), self.reversal))
                for classify, features in zip(self.domain_classifiers, branches, strict=True)
            ]
        loss = nn.functional.cross_entropy(
            of_source.logits.float(), targets, label_smoothing=self.config.label_smoothing
        )
        is_target = torch.cat([torch.zeros(len(source)), torch.ones(len(strong))]).to(loss.device)
        for domain in domains:
            loss = loss + settings.adversarial_weight * nn.functional.binary_cross_entropy_with_logits(
                domain.float().squeeze(1), is_target
            )
        target_logits = of_target.logits.float()
        adopted = nn.functional.cross_entropy(target_logits, pseudo, reduction="none")
        return loss + self.adoption * settings.pseudo_label_weight * (adopted * trusted).mean()

    @torch.no_grad()
    def _pseudo_labels(self, weak: Tensor) -> tuple[Tensor, Tensor]:
        """The averaged network's labels, int64 (N,), and which of them are trusted, float32 (N,)."""
        (teacher,) = self._teacher
        teacher.eval()
        probabilities = torch.softmax(teacher(weak.contiguous(memory_format=torch.channels_last)).float(), 1)
        confidence, labels = probabilities.max(1)
        decay = self.config.adaptation.threshold_decay
        self.confidence.lerp_(global_mean(confidence.mean()), 1 - decay)
        self.named.lerp_(global_mean(probabilities.mean(0)), 1 - decay)
        trusted = (confidence >= (self.confidence * self.named / self.named.max())[labels]).float()
        self.labelled.lerp_(global_mean(trusted.mean()), 1 - decay)
        return labels, trusted


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        """The same tensor."""
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient, turned round."""
        return -ctx.scale * gradient, None


def domain_classifier(features: int) -> nn.Sequential:
    """Tells target from source by a branch's features: (N, features) to logits (N, 1)."""
    return nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 1))


@torch.no_grad()
def adapt_batch_norm(network: nn.Module, draw: Callable[[int], Tensor], batches: int = 50, size: int = 128) -> None:
    """Batch normalisation's running statistics become those of one domain (Li et al., 2016, arXiv:1603.04779).

    :param draw: gives so many normalised images of it, float32 (size, C, H, W).
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()  # dropout is off; only the statistics are in training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for _ in range(batches):
        network(draw(size).contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def mutual_information(probabilities: npt.NDArray[np.float64]) -> float:
    """How much predictions tell of their images, in nats (Shi and Sha, 2012, arXiv:1206.6438).

    It is high where single predictions are sure, but not all the same.

    :param probabilities: (N, labels).
    """
    return float(entr(probabilities.mean(0)).sum() - entr(probabilities).sum(1).mean())
