"""Where a training run's network looks: the share of its attention on eyes, brows and mouth, for ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.models.bundle import MANIFEST
from fer_perception.preprocessing.normalization import normalize
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import Samples
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import prepare_images
from fer_training.networks.hybrid_attention import ATTENDED_STAGES, HybridAttentionNetwork
from fer_training.networks.landmark_regions import landmark_regions
from fer_training.networks.layers import Backbone
from fer_training.networks.xception import MiniXception, Xception
from fer_training.runs.config import load_config
from fer_training.runs.folder import CONFIG, load_run

BATCH_SIZE = 128
CLASS_ACTIVATION, ATTENTION, ATTENTION_MEAN = "class_activation", "attention", "attention_mean"


class AttentionMeter:
    """Measures a run's attention on datasets; called by :func:`fer_training.evaluation.evaluate.evaluate`.

    :param run: the run's folder.
    :param plots: a folder for one picture per dataset; ``files`` holds those that were written.
    :raises FerError: ``run`` is a bundle, or no run.
    """

    def __init__(self, run: Path, plots: Path | None = None) -> None:
        if (run / MANIFEST).exists():
            raise FerError(
                f"{run}: is a bundle, and an ONNX file does not give its feature maps. Give the folder of the training "
                "run that it was exported from"
            )
        if not (run / CONFIG).exists():
            raise FerError(f"{run}: is no training run, as it has no {CONFIG}. Give the folder of one")
        config = load_config(run / CONFIG)
        self.spec = config.input.spec()
        self.network, facts = load_run(run, config)
        self.labels = tuple(facts["labels"])
        self.regions = landmark_regions(FER2013_TEMPLATE, self.spec.width, self.spec.height)
        self.plots = plots
        self.files: list[Path] = []

    def __call__(self, name: str, samples: Samples) -> dict[str, Any]:
        """Measure on all pictures, also those with a label that the network lacks.

        :param name: of the dataset, for the picture's title and file.
        :param samples: pictures aligned to the run's template.
        :return: ``reference`` (the share that uniform attention has: the regions' share of the crop), ``maps`` and
            ``absent`` (by name, why there is no such map). There, by name: ``n`` (pictures with attention anywhere),
            the mean ``share`` over these, its 95% ``interval`` (by the standard error; None for one picture), ``ratio``
            to the reference, ``size`` of the map (rows, columns), ``highest`` (the share that a map of this size can
            reach), ``variation`` (half the mean absolute difference to the mean map: 0 where all pictures have the
            same map, below 1) and ``contrast`` (the mean of largest less smallest value: below 1 for attention, in
            logits for class activation). The share does not see the contrast: at 0.01 attention changes nothing, be
            its share what it may. ``attention_mean`` is the mean of the attention maps' shares, and no map.
        """
        images = prepare_images(samples, self.spec)
        logits: list[Tensor] = []
        batches: dict[str, list[Tensor]] = {}
        for start in range(0, len(images), BATCH_SIZE):
            answer, found = self.look(images[start : start + BATCH_SIZE])
            logits.append(answer)
            for key, attention in found.items():
                batches.setdefault(key, []).append(attention)
        maps = {key: torch.cat(parts) for key, parts in batches.items()}
        shares = {key: self.shares(attention) for key, attention in maps.items()}
        reference = float(self.regions.mean())
        result: dict[str, Any] = {"reference": reference, "maps": {}, "absent": self.absent()}
        for key, attention in maps.items():
            if bool(shares[key].isnan().all()):
                result["absent"][key] = "it is zero everywhere in every picture"
            else:
                result["maps"][key] = {**_summary(shares[key], reference), **self._facts(attention)}
        own = [share for key, share in shares.items() if key.startswith(ATTENTION)]
        if own:
            result["maps"][ATTENTION_MEAN] = _summary(torch.stack(own).mean(0), reference)
        if self.plots:
            shown = {key: attention for key, attention in maps.items() if key in result["maps"]}
            self._draw(name, samples, images, torch.softmax(torch.cat(logits), 1).numpy(), shown, result)
        return result

    @torch.inference_mode()
    def look(self, images: UInt8Image) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and maps of prepared crops.

        :param images: uint8, (N, H, W, C).
        :return: logits (N, labels); by name maps (N, 1, h, w), at least 0, at the sizes that the network has them in.
            ``class_activation`` is the positive part of the predicted class's; ``attention_stageK`` the network's own.
        """
        batch = torch.from_numpy(normalize(images, self.spec))
        maps: dict[str, Tensor] = {}
        attention: list[Tensor] = []
        seen: list[Tensor] = []
        last: Any = self.network.features[-1]  # type: ignore[index]
        hook = last.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            if isinstance(self.network, HybridAttentionNetwork):
                logits, attention = self.network.forward_with_attention(batch)
            else:
                logits = self.network(batch)
        finally:
            hook.remove()
        activation = class_activation(self.network, seen[0])
        if activation is not None:
            maps[CLASS_ACTIVATION] = activation[torch.arange(len(batch)), logits.argmax(1), None].clamp_min(0)
        maps.update({f"{ATTENTION}_stage{k}": found for k, found in zip(ATTENDED_STAGES, attention, strict=False)})
        return logits, maps

    def densities(self, attention: Tensor) -> Tensor:
        """How attention spreads over the crop's pixels, each picture's sum 1: (N, 1, h, w) to (N, H, W).

        Every map is brought to the crop's size by bilinear interpolation, so that networks whose maps differ in
        resolution are measured against the same regions and the same reference, which uniform maps of all sizes then
        meet exactly; and what is measured is what the pictures show. (Averaging the regions down to the map would take
        a coarse map for one with hard edges, and give sizes that do not divide the crop's a reference of their own.)
        A coarse map still cannot rest on a region alone: of 3 x 3 places none is within an eye. So compare maps of like
        sizes. A map without attention anywhere becomes NaN.
        """
        large = nn.functional.interpolate(attention, size=self.regions.shape, mode="bilinear", align_corners=False)
        return large[:, 0] / large.sum((2, 3))[:, :, None]

    def shares(self, attention: Tensor) -> Tensor:
        """Share of attention on the regions: (N, 1, h, w) to (N,), 0..1, NaN without attention anywhere."""
        regions = torch.from_numpy(self.regions)
        return torch.cat([(self.densities(part) * regions).sum((1, 2)) for part in attention.split(BATCH_SIZE)])

    def _facts(self, attention: Tensor) -> dict[str, Any]:
        """``size``, ``highest``, ``variation`` and ``contrast`` of maps (N, 1, h, w)."""
        rows, columns = attention.shape[-2:]
        places = torch.eye(rows * columns).reshape(-1, 1, rows, columns)
        spread = attention / attention.sum((2, 3), keepdim=True)
        spread = spread[spread.isfinite().all(-1).all(-1)[:, 0]]
        return {
            "size": [rows, columns],
            "highest": float(self.shares(places).max()),
            "variation": float((spread - spread.mean(0)).abs().sum((1, 2, 3)).mean() / 2),
            "contrast": float((attention.amax((1, 2, 3)) - attention.amin((1, 2, 3))).mean()),
        }

    def absent(self) -> dict[str, str]:
        """Which maps the network does not have, and why."""
        reasons = {}
        if class_weights(self.network) is None:
            reasons[CLASS_ACTIVATION] = "it is defined for networks that end in a mean over places and one linear layer"
        if not isinstance(self.network, HybridAttentionNetwork):
            reasons[ATTENTION] = "the network has no attention maps"
        return reasons

    def _mean_density(self, attention: Tensor) -> Float32Array:
        """The mean of the densities of maps (N, 1, h, w), those without attention left out: (H, W)."""
        parts = [self.densities(part) for part in attention.split(BATCH_SIZE)]
        count = sum(int(part[:, 0, 0].isfinite().sum()) for part in parts)
        return (torch.stack([part.nansum(0) for part in parts]).sum(0) / count).numpy()

    def _draw(
        self,
        name: str,
        samples: Samples,
        images: UInt8Image,
        probabilities: Float32Array,
        maps: dict[str, Tensor],
        result: dict[str, Any],
    ) -> None:
        """Crops, one column each, with the maps and the regions' outlines; the first column is the mean of all."""
        from fer_training.evaluation.attention.pictures import (  # matplotlib only where it is needed
            MapColumn,
            draw_maps,
        )

        mean = images.mean(0)
        means = {key: self._mean_density(attention) for key, attention in maps.items()}
        columns = [MapColumn("mean of all", (mean - mean.min()) / max(float(np.ptp(mean)), 1.0), means)]
        for label, index in typical_examples(samples, self.labels, probabilities).items():
            densities = {key: self.densities(attention[index, None])[0].numpy() for key, attention in maps.items()}
            columns.append(MapColumn(f"{label}, {probabilities[index].max():.2f}", images[index] / 255, densities))

        rows = {
            key: "{}\n{} x {}, contrast {:.2f}".format(key.replace("_", " "), *entry["size"], entry["contrast"])
            for key, entry in result["maps"].items()
            if key in maps
        }
        assert self.plots
        file = self.plots / f"{name.replace(':', '_')}_{samples.split}_attention.png"
        heading = (
            f"{name}, {samples.split} split: share of attention on eyes, brows and mouth (uniform attention: "
            f"{result['reference'] * 100:.1f}%)"
        )
        draw_maps(file, heading, columns, rows, self.regions)
        self.files.append(file)


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


def _summary(shares: Tensor, reference: float) -> dict[str, Any]:
    """``n``, ``share``, ``interval`` and ``ratio`` of shares (N,), NaN left out."""
    found = shares[shares.isfinite()].double()
    mean = float(found.mean())
    error = 1.96 * float(found.std()) / len(found) ** 0.5 if len(found) > 1 else None
    return {
        "n": len(found),
        "share": mean,
        "interval": None if error is None else [mean - error, mean + error],
        "ratio": mean / reference,
    }
