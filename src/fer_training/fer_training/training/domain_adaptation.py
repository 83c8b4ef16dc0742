"""The verb ``adapt``: dual-attention domain adaptation of a trained network to unlabelled images of another domain.

The network is :class:`fer_training.networks.dual_adaptive.DualAdaptiveNetwork`. Five things act together:

- *Statistics of both domains*: batch normalisation's mean and variance are estimated anew (Li et al., 2016,
  arXiv:1603.04779), over as many images of the source as of the target. The network starts with them, so the first
  pseudo-labels are already those of a network that knows the target's light and blur. Those of the target alone, where
  conditions differ from image to image, cost accuracy in both domains.
- *Changed conditions*: source images, with their labels, are blurred, badly lit and noisy at random
  (``augmentation``), and some get the brightness, contrast and sharpness of target images (:func:`spectral_style`), so
  that labels are learnt under such conditions, too.
- *Adversarial alignment* (Ganin et al., 2016, arXiv:1505.07818) of both branches: a domain classifier on the global
  features and one on the features of the landmark regions, behind gradient reversal.
- *Semantic pseudo-labels*: the averaged network labels weakly changed target images; where it is confident enough,
  the network learns that label on strongly changed ones (FixMatch, Sohn et al., 2020, arXiv:2001.07685). The threshold
  of each class follows how confident the averaged network is in general and how often it names that class (FreeMatch,
  Wang et al., 2023, arXiv:2205.07246), so that difficult classes get pseudo-labels, too.
- *Selection without target labels*: by the mutual information of target images and predictions (Shi and Sha, 2012,
  arXiv:1206.6438), among the epochs whose macro-F1 on the source's validation split is within ``TOLERANCE`` of what it
  was with the statistics of both before.

The target's class priors are deliberately not estimated (Saerens et al., 2002) and corrected for: that mistook the
network's errors in the new domain for priors, and learnt them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
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
from fer_training.datasets import Alignment, load_unlabelled
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import by_head, normalized, predict, prepare_images
from fer_training.networks.dual_adaptive import LOCAL_FEATURES, DualAdaptiveNetwork, local_widths
from fer_training.networks.pretrained import load_pretrained
from fer_training.networks.pruned import NAME
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import AugmentationConfig, NetworkConfig, SamplingConfig, TrainConfig, load_config
from fer_training.runs.folder import BEST, CONFIG, FREQUENCIES, Row, build_network, require_labels
from fer_training.training.augmentation import Augmentation
from fer_training.training.batch_norm import drawn, estimate_statistics
from fer_training.training.distributed import Processes, global_mean
from fer_training.training.loop import fit, moving_average
from fer_training.training.mixed_precision import mixed_precision
from fer_training.training.sampling import learnt_frequencies
from fer_training.training.supervised import LabelledImages, cross_entropy, data_facts, prepared, validation

WEAK = AugmentationConfig(
    rotation_deg=0.0, translation=0.05, scale=0.0, brightness=0.0, contrast=0.0, erasing_probability=0.0
)
TOLERANCE = 0.02
HIDDEN = 128
MOST_GAIN = 8.0  # of a ring of frequencies

log = logging.getLogger(__name__)


def adapt(config: TrainConfig, on_epoch_end: Callable[[int], None] | None = None) -> Path:
    """Adapt ``adaptation.start`` to the images of ``adaptation.targets``; returns the run's folder.

    ``data`` is the source, whose labels are kept in use. Of the targets, only images are used: those of the split
    ``adapt`` where there is one, else ``val``.

    :param on_epoch_end: see :func:`fer_training.training.loop.fit`.
    :raises FerError: bad configuration or data, or the folder holds a run of another configuration.
    """
    for key in ("targets", "start"):
        if not getattr(config.adaptation, key):
            raise FerError(f"{config.name}: adaptation.{key} is missing")
    if config.sampling != SamplingConfig() or config.augmentation.camera_views:
        raise FerError(
            f"{config.name}: has sampling or augmentation.camera_views, which adapt does not take. Train with it before"
        )
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
        self.data = LabelledImages(config, group.device)
        alignment = Alignment(FER2013_TEMPLATE, self.spec)
        targets = [load_unlabelled(target, alignment) for target in config.adaptation.targets]
        self.target_images = np.concatenate([prepare_images(target, self.spec) for target in targets])
        self.target_pixels = torch.from_numpy(self.target_images).to(group.device)
        self.target_facts = {target.dataset: len(target) for target in targets}
        log.info("targets, unlabelled images: %s", self.target_facts)
        self.count, sizes = len(self.data.samples), [*map(len, self.data.heads.values())]
        self.sizes = sizes

        network = build_network(config, sum(sizes))
        start = Path(config.adaptation.start).expanduser()
        require_labels(start, load_checkpoint(start / BEST)[1], config.data, self.data.heads)
        load_pretrained(network, start / BEST, with_classifier=True)
        self.network = network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weak, self.strong = (Augmentation(c, config.input.spec()) for c in (WEAK, config.augmentation))
        self._estimate_statistics(self.network)
        self.average = moving_average(self.network, config.ema_decay)
        self.before = self._validation(self.network)[0]
        self.facts = data_facts(self.data.samples, self.data.val_samples)
        self.facts[FREQUENCIES] = learnt_frequencies(self.data.samples)
        self.objective = AdaptationLoss(config, cast(DualAdaptiveNetwork, self.network), self.average, sizes).to(
            group.device
        )

    def batch(self, picked: Tensor, progress: float) -> tuple[Tensor, ...]:
        """Changed source images and their targets, weakly and strongly changed target images, as many of each."""
        self.objective.reversal = 2 / (1 + math.exp(-10 * progress)) - 1  # Ganin et al.'s schedule
        # Mean teacher's (Tarvainen and Valpola, 2017): the first labels are those of a network of the other domain.
        self.objective.adoption = math.exp(-5 * (1 - progress) ** 2)
        source, target = self.data.images[picked], self._pick_target(len(picked))
        styled = spectral_style(_pixels(source), _pixels(target))
        chosen = torch.rand(len(picked), 1, 1, 1, device=source.device) < self.config.adaptation.style
        source = self._normalized(torch.where(chosen, styled, _pixels(source)))
        target = normalized(target, self.spec)
        return self.strong(source)[0], self.data.targets[picked], self.weak(target)[0], self.strong(target)[0]

    def validate(self) -> tuple[Row, dict[str, Any]]:
        """On the source's validation split the metrics, on the targets' images the mutual information."""
        # Those that the average has are of strongly changed images.
        self._estimate_statistics(self.average)
        measured, facts = self._validation(self.average)
        on_target = predict(self.average, self.target_images, self.spec, self.group.device, self.sizes)
        heads = np.split(on_target.astype(np.float64), np.cumsum(self.sizes)[:-1], 1)
        information = float(np.mean([mutual_information(head) for head in heads]))
        row = {
            **measured,
            "pseudo_labels": float(self.objective.labelled),
            "target_information": information,
            # A network that has lost what it knew comes after all that have not.
            self.selection: information
            if measured["val_macro_f1"] >= self.before["val_macro_f1"] - TOLERANCE
            else measured["val_macro_f1"] - 1,
        }
        labels = self.data.samples.labels
        adaptation = {
            "targets": self.target_facts,
            "mean_prediction": dict(zip(labels, on_target.mean(0).round(4).tolist(), strict=False)),
            "before": self.before,
        }
        return row, {**facts, "adaptation": adaptation}

    def _estimate_statistics(self, network: nn.Module) -> None:
        """Statistics of as many images of the source as of the target."""
        batches = (
            torch.cat([self.data.images[picked], self._pick_target(len(picked))])
            for picked in drawn(self.count, self.data.images.device)
        )
        estimate_statistics(network, (normalized(batch, self.spec) for batch in batches))

    def _validation(self, network: nn.Module) -> tuple[Row, dict[str, Any]]:
        return validation(network, self.data.val_samples, self.data.val_images, self.spec, self.group.device)

    def _pick_target(self, size: int) -> Tensor:
        """uint8, (size, H, W, C)."""
        pixels = self.target_pixels
        return pixels[torch.randint(len(pixels), (size,), device=pixels.device)]

    def _normalized(self, pixels: Tensor) -> Tensor:
        """0..1 to what the network takes, (N, C, H, W)."""
        mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in (self.spec.mean, self.spec.std))
        return (pixels - mean) / std


def _pixels(images: Tensor) -> Tensor:
    """uint8, (N, H, W, C) to float32, (N, C, H, W) in 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255


def spectral_style(images: Tensor, styles: Tensor) -> Tensor:
    """Images with the brightness, contrast and sharpness of others: what each shows stays.

    The amplitudes of an image's spectrum are scaled so that the mean of each ring of frequencies moves towards that of
    the other image, by a fraction that is drawn for each, as does the mean brightness. After Fourier domain adaptation
    (Yang and Soatto, 2020, arXiv:2004.05498), which exchanges single amplitudes and with them parts of faces.

    :param images: float32, (N, C, H, W) in 0..1, and ``styles``: the same shape.
    """
    height, width = images.shape[-2:]
    ring = _rings(height, width, images.device)
    spectra, wanted = (torch.fft.rfft2(x) for x in (images, styles))
    power, wanted_power = (_ring_means(x.abs().square(), ring) for x in (spectra, wanted))
    fraction = torch.rand(len(images), 1, 1, device=images.device)
    gain = ((wanted_power + 1e-6) / (power + 1e-6)).sqrt().clamp(1 / MOST_GAIN, MOST_GAIN) ** fraction
    return torch.fft.irfft2(spectra * gain[..., ring], s=(height, width)).clamp(0, 1)


def _rings(height: int, width: int, device: torch.device) -> Tensor:
    """The ring of each place of an rfft2 spectrum: int64, (H, W // 2 + 1); 0 is the mean alone."""
    rows, columns = torch.fft.fftfreq(height, 1 / height), torch.fft.rfftfreq(width, 1 / width)
    return torch.hypot(rows[:, None], columns[None]).ceil().long().to(device)


def _ring_means(power: Tensor, ring: Tensor) -> Tensor:
    """Mean power by ring: (N, C, H, W // 2 + 1) to (N, C, rings)."""
    count = torch.bincount(ring.flatten())
    sums = power.new_zeros(*power.shape[:2], len(count))
    return sums.index_add_(2, ring.flatten(), power.flatten(2)) / count


class AdaptationLoss(nn.Module):
    """Source labels, both domain classifiers and the target's pseudo-labels."""

    confidence: Tensor
    named: Tensor
    labelled: Tensor

    def __init__(
        self, config: TrainConfig, network: DualAdaptiveNetwork, average: AveragedModel, sizes: Sequence[int]
    ) -> None:
        super().__init__()
        self.config, self.network, self._sizes = config, network, list(sizes)
        self._teacher = (average,)  # in a tuple, so that its weights are not among those that are learnt
        self.reversal = self.adoption = 0.0  # strengths of gradient reversal and pseudo-labels, 0..1
        features = cast(nn.Linear, network.classifier[-1]).in_features
        self.domain_classifiers = nn.ModuleList(domain_classifier(size) for size in (features, LOCAL_FEATURES))
        # Averages over the target's batches: the teacher's confidence, its mean probabilities, and how many images
        # got a pseudo-label.
        self.register_buffer("confidence", torch.tensor([1 / size for size in sizes]))
        self.register_buffer("named", torch.cat([torch.full((size,), 1 / size) for size in sizes]))
        self.register_buffer("labelled", torch.tensor(0.0))

    def forward(self, source: Tensor, targets: Tensor, weak: Tensor, strong: Tensor) -> Tensor:
        """A batch's mean loss.

        :param source: float32, (N, C, H, W), normalised, and ``targets``: float32, (N, labels), their soft targets.
        :param weak: float32, (N, C, H, W), target images weakly changed, and ``strong``: the same ones strongly.
        """
        settings = self.config.adaptation
        pseudo = self._pseudo_labels(weak)
        with mixed_precision(self.config, source.device):
            both = torch.cat([source, strong]).contiguous(memory_format=torch.channels_last)
            logits, *branches = self.network.forward_branches(both)
            domains = [
                classify(GradientReversal.apply(features, self.reversal))
                for classify, features in zip(self.domain_classifiers, branches, strict=True)
            ]
        of_source, of_target = logits.float().split([len(source), len(strong)])
        loss = cross_entropy(of_source, targets, self._sizes, self.config.label_smoothing)
        is_target = torch.cat([torch.zeros(len(source)), torch.ones(len(strong))]).to(loss.device)
        for domain in domains:
            loss = loss + settings.adversarial_weight * nn.functional.binary_cross_entropy_with_logits(
                domain.float().squeeze(1), is_target
            )
        adopted = cross_entropy(of_target, pseudo, self._sizes)
        return loss + self.adoption * settings.pseudo_label_weight * adopted

    @torch.no_grad()
    def _pseudo_labels(self, weak: Tensor) -> Tensor:
        """The averaged network's labels: float32, (N, labels of all sets), zeros where it is not trusted."""
        (teacher,) = self._teacher
        teacher.eval()
        logits = teacher(weak.contiguous(memory_format=torch.channels_last)).float()
        probabilities = by_head(torch.softmax, logits, self._sizes)
        decay = self.config.adaptation.threshold_decay
        self.named.lerp_(global_mean(probabilities.mean(0)), 1 - decay)
        parts = zip(probabilities.split(self._sizes, 1), self.named.split(self._sizes), strict=True)
        confident = [(*part.max(1), named) for part, named in parts]
        means = torch.stack([confidence.mean() for confidence, _, _ in confident])
        self.confidence.lerp_(global_mean(means), 1 - decay)
        found, trusted = [], []
        for (confidence, labels, named), mean in zip(confident, self.confidence, strict=True):
            trusted.append((confidence >= (mean * named / named.max())[labels]).float())
            found.append(nn.functional.one_hot(labels, len(named)) * trusted[-1][:, None])
        self.labelled.lerp_(global_mean(torch.stack(trusted).mean()), 1 - decay)
        return torch.cat(found, 1)


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


def mutual_information(probabilities: npt.NDArray[np.float64]) -> float:
    """How much predictions tell of their images, in nats (Shi and Sha, 2012, arXiv:1206.6438).

    It is high where single predictions are sure, but not all the same.

    :param probabilities: (N, labels).
    """
    return float(entr(probabilities.mean(0)).sum() - entr(probabilities).sum(1).mean())
