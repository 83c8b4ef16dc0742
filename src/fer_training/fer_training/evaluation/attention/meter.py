"""``evaluate --attention FOLDER``: a training run's maps, checked against what the network does, and drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.preprocessing.normalization import normalize
from fer_perception.telemetry.malloc import keep_all_freed_memory
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import Samples, balanced
from fer_training.evaluation.attention.deletion import STEPS, area, deletion_and_insertion
from fer_training.evaluation.attention.landmark_fraction import (
    BATCH_SIZE,
    CLASS_ACTIVATION,
    AttentionMeter,
    typical_examples,
)
from fer_training.evaluation.attention.maps import (
    CENTRE,
    LANDMARKS,
    RANDOM,
    centre_map,
    grad_cam,
    grad_cam_layers,
    random_maps,
)
from fer_training.evaluation.attention.pictures import MapColumn, draw_checks, draw_maps
from fer_training.evaluation.attention.randomisation import DEPTHS, DRAWS, randomised_correlations
from fer_training.evaluation.attention.statistics import mean_and_interval
from fer_training.evaluation.inference import prepare_images

INSIDE = 0.5  # where a region's Gaussian counts as the region, for the pointing game
CHECKED = 210  # pictures of each dataset
RANDOMISED_PICTURES = 64
CURVE_BATCH_SIZE = 32  # larger ones leave a CPU's caches


class ExplanationMeter:
    """Measures and checks a run's maps on datasets; called by :func:`fer_training.evaluation.evaluate.evaluate`.

    :param run: the run's folder.
    :param folder: for pictures and JSON of each dataset; ``files`` holds those that were written.
    :param images: check on at most so many pictures, as many of each label; the shares are measured on all.
    :param plots: see :class:`AttentionMeter`.
    :raises FerError: ``run`` is a bundle, or no run; ``images`` is less than 1.
    """

    def __init__(self, run: Path, folder: Path, images: int, plots: Path | None = None) -> None:
        if images < 1:
            raise FerError(f"--images: {images} pictures cannot be checked, give at least 1")
        keep_all_freed_memory()  # the same buffers come back thousands of times
        self.meter = AttentionMeter(run, plots)
        self.folder, self.checked = folder, images
        self._files: list[Path] = []

    @property
    def files(self) -> list[Path]:
        """All that was written."""
        return [*self.meter.files, *self._files]

    def __call__(self, name: str, samples: Samples) -> dict[str, Any]:
        """What :class:`AttentionMeter` returns, and ``checks``.

        There: ``n`` pictures ``of`` how many, ``steps`` of the curves; ``reference`` of share and pointing (what a map
        without preference has); ``maps`` and ``controls``, by name ``size``, ``share`` on eyes, brows and mouth,
        ``pointing`` (the share of pictures whose map has its largest place there; Zhang et al., 2018,
        arXiv:1608.00507), ``deletion`` and ``insertion`` (areas under the curves, and the mean ``curve``), each a
        ``mean`` over ``n`` pictures with its 95% bootstrap ``interval``, None where there is none. Of maps also
        ``gain``: by control (the random one is that of the map's size) how much smaller the deletion's area and how
        much larger the insertion's is, on the same pictures. ``randomised``: of Grad-CAM the rank correlation with that
        of networks with ``depths`` of their feature layers randomised, on ``n`` pictures: ``mean``, ``lowest`` and
        ``highest`` of the ``draws``.
        """
        result = self.meter(name, samples)
        kept = balanced(samples.targets, self.checked)
        part = replace(
            samples,
            images=[samples.images[index] for index in kept],
            targets=samples.targets[kept],
            names=[samples.names[index] for index in kept] if samples.names else [],
            soft_targets=None,
            groups={},
        )
        images = prepare_images(part, self.meter.spec)
        batch = torch.from_numpy(normalize(images, self.meter.spec))
        probabilities, maps = self._explain(images, batch)
        classes = probabilities.argmax(1)
        densities = {key: self._densities(found) for key, found in maps.items()}
        controls = self._controls(maps)
        checks = {
            "n": len(part),
            "of": len(samples),
            "steps": STEPS,
            "reference": {
                "share": float(self.meter.regions.mean()),
                "pointing": float((self.meter.regions >= INSIDE).mean()),
            },
            **self._check(batch, classes, maps, densities, controls),
            "randomised": self._randomised(batch, classes, part),
        }
        result["checks"] = checks
        self._write(name, part, images, probabilities.numpy(), densities, result)
        return result

    def _explain(self, images: UInt8Image, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Probabilities (N, labels), and by name the maps (N, 1, h, w) of each picture's predicted class.

        Without class activation, which is Grad-CAM of the last feature map.
        """
        network = self.meter.network
        layers = grad_cam_layers(network)
        logits, parts = [], []
        for start in range(0, len(images), BATCH_SIZE):
            chosen = slice(start, start + BATCH_SIZE)
            answer, own = self.meter.look(images[chosen])
            logits.append(answer.clone())  # autograd takes no tensors of the inference mode
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

    def _check(
        self,
        batch: Tensor,
        classes: Tensor,
        maps: dict[str, Tensor],
        densities: dict[str, Float32Array],
        controls: dict[str, Tensor],
    ) -> dict[str, Any]:
        """``maps`` and ``controls`` of the checks."""
        areas: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
        entries: dict[str, dict[str, Any]] = {}
        for key, found in {**maps, **controls}.items():
            density = densities[key] if key in densities else self._densities(found)
            curves = self._curves(batch, classes, density)
            areas[key] = {kind: area(curve).numpy() for kind, curve in curves.items()}
            entries[key] = {
                "size": [found.shape[2], found.shape[3]],
                "share": mean_and_interval((density * self.meter.regions).sum((1, 2))),
                "pointing": mean_and_interval(self._points_inside(density)),
                **{
                    kind: {
                        **mean_and_interval(areas[key][kind]),
                        "curve": curve.nanmean(0).tolist() if bool(curve.isfinite().any()) else None,
                    }
                    for kind, curve in curves.items()
                },
            }
        for key in maps:
            against = {RANDOM: _random(*entries[key]["size"]), CENTRE: CENTRE, LANDMARKS: LANDMARKS}
            entries[key]["gain"] = {
                control: {
                    "deletion": mean_and_interval(areas[other]["deletion"] - areas[key]["deletion"]),
                    "insertion": mean_and_interval(areas[key]["insertion"] - areas[other]["insertion"]),
                }
                for control, other in against.items()
            }
        return {"maps": {key: entries[key] for key in maps}, "controls": {key: entries[key] for key in controls}}

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
        """Whether a map's largest place is in the regions: 1, 0, or NaN without a largest place; (N,)."""
        flat = density.reshape(len(density), -1)
        known = np.asarray(np.isfinite(flat).all(axis=1))
        inside = np.ravel(self.meter.regions >= INSIDE)[np.where(known[:, None], flat, 0).argmax(1)]
        return np.where(known, inside, np.nan)

    def _randomised(self, batch: Tensor, classes: Tensor, part: Samples) -> dict[str, Any]:
        chosen = torch.from_numpy(balanced(part.targets, RANDOMISED_PICTURES))
        found = randomised_correlations(self.meter.network, batch[chosen], classes[chosen])
        return {
            "n": len(chosen),
            "draws": DRAWS,
            "depths": list(DEPTHS),
            "maps": {
                key: [
                    {"mean": float(draws.mean()), "lowest": float(draws.min()), "highest": float(draws.max())}
                    if len(draws)
                    else {"mean": None, "lowest": None, "highest": None}
                    for draws in (column[np.isfinite(column)] for column in values.T)
                ]
                for key, values in found.items()
            },
        }

    def _write(
        self,
        name: str,
        part: Samples,
        images: UInt8Image,
        probabilities: Float32Array,
        densities: dict[str, Float32Array],
        result: dict[str, Any],
    ) -> None:
        """Examples rightly and wrongly classified, curves, and the whole result as JSON."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = f"{name.replace(':', '_')}_{part.split}"
        entries = result["checks"]["maps"]
        rows = {
            key: "{}\n{} x {}".format(key.replace("_", " "), *entry["size"])
            for key, entry in entries.items()
            if entry["share"]["n"]
        }
        for kind, right in (("right", True), ("wrong", False)):
            examples = typical_examples(part, self.meter.labels, probabilities, right)
            if not examples or not rows:
                continue
            columns = []
            for label, index in examples.items():
                predicted = self.meter.labels[int(probabilities[index].argmax())]
                title = label if right else f"{label},\ntaken for {predicted}"
                columns.append(
                    MapColumn(
                        f"{title}, {probabilities[index].max():.2f}",
                        images[index] / np.float32(255),
                        {key: densities[key][index] for key in rows},
                    )
                )
            file = self.folder / f"{stem}_{kind}.png"
            heading = (
                f"{name}, {part.split} split, {kind}ly classified\nshare of each map on eyes, brows and mouth "
                f"(uniform: {result['reference'] * 100:.1f}%)"
            )
            draw_maps(file, heading, columns, rows, self.meter.regions)
            self._files.append(file)
        curves = self.folder / f"{stem}_curves.png"
        draw_checks(curves, f"{name}, {part.split} split, {len(part)} pictures", result["checks"])
        numbers = self.folder / f"{stem}.json"
        numbers.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        self._files += [curves, numbers]


class ClassProbability:
    """A network's probability of one class of each picture: (N, C, H, W) to (N,).

    :param classes: int64, (N,), columns of the logits.
    """

    def __init__(self, network: nn.Module, classes: Tensor) -> None:
        self.network, self.classes = network, classes

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """See the class."""
        return torch.softmax(self.network(batch), 1).gather(1, self.classes[:, None])[:, 0]


def _random(rows: int, columns: int) -> str:
    return f"{RANDOM}_{rows}x{columns}"
