"""Where a training run's network looks: the fraction of its attention on eyes, brows and mouth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.models.bundle import MANIFEST
from fer_perception.preprocessing.normalization import normalize
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import Samples
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.attention.results import MapFraction
from fer_training.networks.hybrid_attention import HybridAttentionNetwork
from fer_training.networks.landmark_regions import landmark_regions
from fer_training.networks.layers import Backbone
from fer_training.networks.xception import MiniXception, Xception
from fer_training.runs.config import load_config
from fer_training.runs.folder import CONFIG, load_head

BATCH_SIZE = 128
CLASS_ACTIVATION, ATTENTION, ATTENTION_MEAN = "class_activation", "attention", "attention_mean"


class MapFractions(NamedTuple):
    """What :meth:`AttentionMeter.measure` found: ``maps`` and ``absent`` as in :class:`Explanation`.

    ``probabilities``: (N, labels); ``attention``: by name the maps of all images, (N, 1, h, w).
    """

    maps: dict[str, MapFraction]
    absent: dict[str, str]
    probabilities: Float32Array
    attention: dict[str, Tensor]


class AttentionMeter:
    """Measures a run's attention.

    :param run: the run's folder.
    :param labels_of: the dataset whose labels are predicted, see :func:`fer_training.runs.folder.load_head`.
    :raises FerError: ``run`` is a bundle, or no run.
    """

    def __init__(self, run: Path, labels_of: str = "") -> None:
        if (run / MANIFEST).exists():
            raise FerError(
                f"{run}: is a bundle, and an ONNX file does not give its feature maps. Give the folder of the training "
                "run that it was exported from"
            )
        if not (run / CONFIG).exists():
            raise FerError(f"{run}: is no training run, as it has no {CONFIG}. Give the folder of one")
        config = load_config(run / CONFIG)
        self.spec = config.input.spec()
        self.network, facts = load_head(run, config, labels_of)
        self.labels = tuple(facts["labels"])
        self.regions = landmark_regions(FER2013_TEMPLATE, self.spec.width, self.spec.height)
        self.reference = float(self.regions.mean())

    def measure(self, images: UInt8Image) -> MapFractions:
        """Measure on prepared crops, also those with a label that the network lacks.

        :param images: uint8, (N, H, W, C).
        """
        logits: list[Tensor] = []
        batches: dict[str, list[Tensor]] = {}
        for start in range(0, len(images), BATCH_SIZE):
            found_logits, found = self.look(images[start : start + BATCH_SIZE])
            logits.append(found_logits)
            for key, attention in found.items():
                batches.setdefault(key, []).append(attention)
        maps = {key: torch.cat(parts) for key, parts in batches.items()}
        fractions = {key: self.fractions(attention) for key, attention in maps.items()}
        absent, measured = self.absent(), {}
        for key, attention in maps.items():
            if bool(fractions[key].isnan().all()):
                absent[key] = "it is zero everywhere in every image"
            else:
                measured[key] = self._summary(fractions[key], attention)
        own = [found for key, found in fractions.items() if key.startswith(ATTENTION)]
        if own:
            measured[ATTENTION_MEAN] = self._summary(torch.stack(own).mean(0))
        probabilities = torch.softmax(torch.cat(logits), 1).numpy()
        return MapFractions(measured, absent, probabilities, {key: maps[key] for key in maps if key in measured})

    @torch.inference_mode()
    def look(self, images: UInt8Image) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and maps of prepared crops.

        :param images: uint8, (N, H, W, C).
        :return: logits (N, labels); by name maps (N, 1, h, w), at least 0, at the sizes that the network has them in.
            ``class_activation`` is the positive part of the predicted class's; ``attention_stageK`` the network's own.
        """
        batch = torch.from_numpy(normalize(images, self.spec))
        maps: dict[str, Tensor] = {}
        seen: list[Tensor] = []
        last: Any = self.network.features[-1]  # type: ignore[index]
        hook = last.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            if isinstance(self.network, HybridAttentionNetwork):
                logits, attention = self.network.forward_with_attention(batch)
                stages = zip(self.network.attended_stages, attention, strict=True)
                own = {f"{ATTENTION}_stage{stage}": found for stage, found in stages}
            else:
                logits, own = self.network(batch), {}
        finally:
            hook.remove()
        activation = class_activation(self.network, seen[0])
        if activation is not None:
            maps[CLASS_ACTIVATION] = activation[torch.arange(len(batch)), logits.argmax(1), None].clamp_min(0)
        return logits, {**maps, **own}

    def densities(self, attention: Tensor) -> Tensor:
        """How attention spreads over the crop's pixels, each image's sum 1: (N, 1, h, w) to (N, H, W).

        Every map is brought to the crop's size by bilinear interpolation, so that networks whose maps differ in
        resolution are measured against the same regions and the same reference, which uniform maps of all sizes then
        meet exactly; and what is measured is what the plots show. (Averaging the regions down to the map would take
        a coarse map for one with hard edges, and give sizes that do not divide the crop's a reference of their own.)
        A coarse map still cannot rest on a region alone: of 3 x 3 places none is within an eye. So compare maps of like
        sizes. A map without attention anywhere becomes NaN.
        """
        large = nn.functional.interpolate(attention, size=self.regions.shape, mode="bilinear", align_corners=False)
        return large[:, 0] / large.sum((2, 3))[:, :, None]

    def fractions(self, attention: Tensor) -> Tensor:
        """Fraction of attention on the regions: (N, 1, h, w) to (N,), 0..1, NaN without attention anywhere."""
        regions = torch.from_numpy(self.regions)
        return torch.cat([(self.densities(part) * regions).sum((1, 2)) for part in attention.split(BATCH_SIZE)])

    def absent(self) -> dict[str, str]:
        """Which maps the network does not have, and why."""
        reasons = {}
        if class_weights(self.network) is None:
            reasons[CLASS_ACTIVATION] = "it is defined for networks that end in a mean over places and one linear layer"
        if not isinstance(self.network, HybridAttentionNetwork) or not self.network.attention:
            reasons[ATTENTION] = "the network has no attention maps"
        return reasons

    def mean_density(self, attention: Tensor) -> Float32Array:
        """The mean of the densities of maps (N, 1, h, w), those without attention left out: (H, W)."""
        parts = [self.densities(part) for part in attention.split(BATCH_SIZE)]
        count = sum(int(part[:, 0, 0].isfinite().sum()) for part in parts)
        return (torch.stack([part.nansum(0) for part in parts]).sum(0) / count).numpy()

    def _summary(self, fractions: Tensor, attention: Tensor | None = None) -> MapFraction:
        """Of fractions (N,), NaN left out; with the facts of maps (N, 1, h, w)."""
        found = fractions[fractions.isfinite()].double()
        mean = float(found.mean())
        error = 1.96 * float(found.std()) / len(found) ** 0.5 if len(found) > 1 else None
        interval = None if error is None else (mean - error, mean + error)
        facts = {} if attention is None else self._facts(attention)
        return MapFraction(n=len(found), fraction=mean, interval=interval, ratio=mean / self.reference, **facts)

    def _facts(self, attention: Tensor) -> dict[str, Any]:
        """``size``, ``highest``, ``variation`` and ``contrast`` of maps (N, 1, h, w)."""
        rows, columns = attention.shape[-2:]
        places = torch.eye(rows * columns).reshape(-1, 1, rows, columns)
        spread = attention / attention.sum((2, 3), keepdim=True)
        spread = spread[spread.isfinite().all(-1).all(-1)[:, 0]]
        return {
            "size": (rows, columns),
            "highest": float(self.fractions(places).max()),
            "variation": float((spread - spread.mean(0)).abs().sum((1, 2, 3)).mean() / 2),
            "contrast": float((attention.amax((1, 2, 3)) - attention.amin((1, 2, 3))).mean()),
        }


def class_weights(network: nn.Module) -> Tensor | None:
    """The classifier as a convolution over the last feature map, (labels, C, k, k); None where it is none."""
    if isinstance(network, MiniXception):
        return network.classifier.weight
    # Networks derived from hybrid attention add to its logits.
    hybrid = type(network) is HybridAttentionNetwork and isinstance(network.pool, nn.AdaptiveAvgPool2d)
    if not hybrid and not isinstance(network, Backbone | Xception):
        return None
    classifier: Any = network.classifier
    return classifier[-1].weight[:, :, None, None]


def class_activation(network: nn.Module, features: Tensor) -> Tensor | None:
    """Class activation maps (Zhou et al., 2016, arXiv:1512.04150): what each place adds to each logit.

    Their means over places are the logits, less the classifier's bias.

    :param features: the last feature map, (N, C, h, w).
    :return: (N, labels, h, w), or None where the network does not end in a mean over places and one linear layer.
    """
    weights = class_weights(network)
    return None if weights is None else nn.functional.conv2d(features, weights, padding=weights.shape[-1] // 2)


def typical_examples(
    samples: Samples, labels: tuple[str, ...], probabilities: Float32Array, are_right: bool = True
) -> dict[str, int]:
    """Of each label the rightly classified sample with the median probability: its index, by label.

    The median, as the surest ones are the easiest. Labels without such a sample are left out.

    :param labels: the network's.
    :param probabilities: (N, labels).
    :param are_right: False for the wrongly classified samples, by the label that they show.
    """
    shown = np.array(samples.labels)[samples.targets]
    right = np.array(labels)[probabilities.argmax(1)] == shown
    examples = {}
    for label in labels:
        found = np.flatnonzero((right == are_right) & (shown == label))
        if len(found):
            order = np.argsort(probabilities[found].max(1), kind="stable")
            examples[label] = int(found[order[len(order) // 2]])
    return examples
