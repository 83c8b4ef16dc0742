"""Checks of a training run's maps against what the network does: deletion, insertion, controls, randomised weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from fer_perception.preprocessing.normalization import normalize
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import balanced
from fer_training.evaluation.attention.deletion import STEPS, area, deletion_and_insertion
from fer_training.evaluation.attention.landmark_fraction import BATCH_SIZE, CLASS_ACTIVATION, AttentionMeter
from fer_training.evaluation.attention.maps import (
    CENTRE,
    LANDMARKS,
    RANDOM,
    centre_map,
    grad_cam,
    grad_cam_layers,
    random_maps,
)
from fer_training.evaluation.attention.randomisation import DEPTHS, DRAWS, randomised_correlations
from fer_training.evaluation.attention.results import (
    AreaUnderCurve,
    Checks,
    Correlation,
    Gain,
    MapCheck,
    Mean,
    Randomisation,
    Reference,
)

INSIDE = 0.5  # where a region's Gaussian counts as the region, for the pointing game
RANDOMISED_IMAGES = 64
CURVE_BATCH_SIZE = 32  # larger ones leave a CPU's caches


class CheckedMaps(NamedTuple):
    """The checks; probabilities (N, labels); by name how each map spreads over the crop, (N, H, W), sum 1 or NaN."""

    checks: Checks
    probabilities: Float32Array
    densities: dict[str, Float32Array]


class MapChecker:
    """Checks the maps of a run's network on prepared crops."""

    def __init__(self, meter: AttentionMeter) -> None:
        self.meter = meter

    def check(self, images: UInt8Image, targets: npt.NDArray[np.int64], of: int) -> CheckedMaps:
        """Check on some images.

        :param images: uint8, (N, H, W, C), prepared crops.
        :param targets: (N,), their labels' indices.
        :param of: so many images they are a part of.
        """
        batch = torch.from_numpy(normalize(images, self.meter.spec))
        probabilities, maps = self._explain(images, batch)
        classes = probabilities.argmax(1)
        densities = {key: self._densities(found) for key, found in maps.items()}
        controls = self._controls(maps)
        areas: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
        entries: dict[str, MapCheck] = {}
        for key, found in tqdm({**maps, **controls}.items(), desc="deletion and insertion", unit="map"):
            density = densities[key] if key in densities else self._densities(found)
            curves = self._curves(batch, classes, density)
            areas[key] = {kind: area(curve).numpy() for kind, curve in curves.items()}
            entries[key] = self._entry(found, density, curves, areas[key])
        checks = Checks(
            n=len(images),
            of=of,
            steps=STEPS,
            reference=Reference(fraction=self.meter.reference, pointing=float((self.meter.regions >= INSIDE).mean())),
            maps={key: entries[key].model_copy(update={"gain": _gains(key, entries[key], areas)}) for key in maps},
            controls={key: entries[key] for key in controls},
            randomised=self._randomised(batch, classes, targets),
        )
        return CheckedMaps(checks, probabilities.numpy(), densities)

    def _explain(self, images: UInt8Image, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Probabilities (N, labels), and by name the maps (N, 1, h, w) of each image's predicted class.

        Without class activation, which is Grad-CAM of the last feature map.
        """
        network = self.meter.network
        layers = grad_cam_layers(network)
        logits, parts = [], []
        for start in range(0, len(images), BATCH_SIZE):
            chosen = slice(start, start + BATCH_SIZE)
            found_logits, own = self.meter.look(images[chosen])
            logits.append(found_logits.clone())  # autograd takes no tensors of the inference mode
            found = grad_cam(network, layers, batch[chosen], logits[-1].argmax(1))
            parts.append({**{key: value for key, value in own.items() if key != CLASS_ACTIVATION}, **found})
        maps = {key: torch.cat([part[key].clone() for part in parts]) for key in parts[0]}
        return torch.softmax(torch.cat(logits), 1), maps

    def _densities(self, maps: Tensor) -> Float32Array:
        return torch.cat([self.meter.densities(part) for part in maps.split(BATCH_SIZE)]).numpy()

    def _controls(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps that know nothing of the network, by name: (N, 1, h, w)."""
        count = len(next(iter(maps.values())))
        sizes = sorted({(found.shape[2], found.shape[3]) for found in maps.values()})
        height, width = self.meter.regions.shape
        fixed = {CENTRE: centre_map(height, width), LANDMARKS: self.meter.regions}
        return {
            **{_random(rows, columns): random_maps(count, rows, columns) for rows, columns in sizes},
            **{key: torch.from_numpy(found).expand(count, 1, -1, -1) for key, found in fixed.items()},
        }

    def _entry(
        self,
        maps: Tensor,
        density: Float32Array,
        curves: dict[str, Tensor],
        areas: dict[str, npt.NDArray[np.float32]],
    ) -> MapCheck:
        under = {
            kind: AreaUnderCurve(
                **dict(Mean.of(areas[kind])),
                curve=curve.nanmean(0).tolist() if bool(curve.isfinite().any()) else None,
            )
            for kind, curve in curves.items()
        }
        return MapCheck(
            size=(maps.shape[2], maps.shape[3]),
            fraction=Mean.of((density * self.meter.regions).sum((1, 2))),
            pointing=Mean.of(self._points_inside(density)),
            deletion=under["deletion"],
            insertion=under["insertion"],
        )

    def _curves(self, batch: Tensor, classes: Tensor, density: Float32Array) -> dict[str, Tensor]:
        """``deletion`` and ``insertion``, (N, STEPS + 1)."""
        parts = []
        for start in range(0, len(batch), CURVE_BATCH_SIZE):
            chosen = slice(start, start + CURVE_BATCH_SIZE)
            probability = ClassProbability(self.meter.network, classes[chosen])
            parts.append(deletion_and_insertion(probability, batch[chosen], density[chosen]))
        deletion, insertion = (torch.cat(curves) for curves in zip(*parts, strict=True))
        return {"deletion": deletion, "insertion": insertion}

    def _points_inside(self, density: Float32Array) -> npt.NDArray[np.float64]:
        """Whether a map's largest value is in the regions: 1, 0, or NaN without a largest value; (N,)."""
        flat = density.reshape(len(density), -1)
        known = np.asarray(np.isfinite(flat).all(axis=1))
        inside = np.ravel(self.meter.regions >= INSIDE)[np.where(known[:, None], flat, 0).argmax(1)]
        return np.where(known, inside, np.nan)

    def _randomised(self, batch: Tensor, classes: Tensor, targets: npt.NDArray[np.int64]) -> Randomisation:
        chosen = torch.from_numpy(balanced(targets, RANDOMISED_IMAGES))
        found = randomised_correlations(self.meter.network, batch[chosen], classes[chosen])
        maps = {key: [_correlation(column[np.isfinite(column)]) for column in v.T] for key, v in found.items()}
        return Randomisation(n=len(chosen), draws=DRAWS, depths=list(DEPTHS), maps=maps)


class ClassProbability:
    """A network's probability of one class of each image: (N, C, H, W) to (N,).

    :param classes: int64, (N,), columns of the logits.
    """

    def __init__(self, network: nn.Module, classes: Tensor) -> None:
        self.network, self.classes = network, classes

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """See the class."""
        return torch.softmax(self.network(batch), 1).gather(1, self.classes[:, None])[:, 0]


def _gains(key: str, entry: MapCheck, areas: dict[str, dict[str, npt.NDArray[np.float32]]]) -> dict[str, Gain]:
    """Over each control; the random one is that of the map's size."""
    against = {RANDOM: _random(*entry.size), CENTRE: CENTRE, LANDMARKS: LANDMARKS}
    return {
        control: Gain(
            deletion=Mean.of(areas[other]["deletion"] - areas[key]["deletion"]),
            insertion=Mean.of(areas[key]["insertion"] - areas[other]["insertion"]),
        )
        for control, other in against.items()
    }


def _correlation(draws: npt.NDArray[np.float64]) -> Correlation:
    if not len(draws):
        return Correlation(mean=None, lowest=None, highest=None)
    return Correlation(mean=draws.mean(), lowest=draws.min(), highest=draws.max())


def _random(rows: int, columns: int) -> str:
    return f"{RANDOM}_{rows}x{columns}"
