"""The verb ``explain``: where a training run's network looks, and whether its maps can be believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_perception.errors import FerError
from fer_perception.telemetry.malloc import keep_all_freed_memory
from fer_perception.types import UInt8Image
from fer_training.datasets import Alignment, Samples, Split, balanced, dataset_name, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.attention.checks import CheckedMaps, MapChecker
from fer_training.evaluation.attention.landmark_fraction import AttentionMeter, MapFractions, typical_examples
from fer_training.evaluation.attention.plots import MapColumn, draw_checks, draw_maps
from fer_training.evaluation.attention.results import Explanation
from fer_training.evaluation.inference import prepare_images

CHECKED = 210  # images


def explain(run: Path, dataset: str, split: Split, out: Path, images: int = CHECKED) -> tuple[Explanation, list[Path]]:
    """Measure, check and draw a run's maps on one split of a dataset.

    :param run: the run's folder.
    :param dataset: ``NAME:PATH``.
    :param out: the folder for images and JSON.
    :param images: check on at most so many, as many of each label; the fractions are measured on all. 0: no checks.
    :return: the result and the written files.
    :raises FerError: ``run`` is a bundle, or no run; the dataset cannot be used; or ``images`` is negative.
    """
    if images < 0:
        raise FerError(f"--images: {images} images cannot be checked, give 0 or more")
    keep_all_freed_memory()  # the same buffers come back thousands of times
    meter = AttentionMeter(run, dataset_name(dataset))
    samples = load_dataset(dataset, split, Alignment(FER2013_TEMPLATE, meter.spec))
    crops = prepare_images(samples, meter.spec)
    found = meter.measure(crops)
    stem = f"{samples.dataset}_{split}"
    files = [_draw_fractions(out / f"{stem}_attention.png", meter, samples, crops, found)]
    checked = None
    if images:
        kept = balanced(samples.targets, images)
        checked = MapChecker(meter).check(crops[kept], samples.targets[kept], len(samples))
        part = Samples(samples.dataset, split, samples.labels, list(crops[kept]), samples.targets[kept])
        files += _draw_checked(out / stem, meter, part, crops[kept], checked)
    result = Explanation(
        run=str(run),
        dataset=samples.dataset,
        split=split,
        sha256=samples.fingerprint(),
        n=len(samples),
        reference=meter.reference,
        maps=found.maps,
        absent=found.absent,
        checks=checked.checks if checked else None,
    )
    result.write(out / f"{stem}.json")
    return result, [*files, out / f"{stem}.json"]


def _draw_fractions(
    file: Path, meter: AttentionMeter, samples: Samples, crops: UInt8Image, found: MapFractions
) -> Path:
    """Crops, one column each, with the maps and the regions' outlines; the first column is the mean of all."""
    mean = crops.mean(0)
    means = {key: meter.mean_density(attention) for key, attention in found.attention.items()}
    columns = [MapColumn("mean of all", (mean - mean.min()) / max(float(np.ptp(mean)), 1.0), means)]
    for label, index in typical_examples(samples, meter.labels, found.probabilities).items():
        densities = {key: meter.densities(maps[index, None])[0].numpy() for key, maps in found.attention.items()}
        columns.append(MapColumn(f"{label}, {found.probabilities[index].max():.2f}", crops[index] / 255, densities))
    rows = {}
    for key in found.attention:
        entry = found.maps[key]
        height, width = entry.size or (0, 0)
        rows[key] = f"{key.replace('_', ' ')}\n{height} x {width}, contrast {entry.contrast:.2f}"
    heading = (
        f"{samples.dataset}, {samples.split} split: fraction of attention on eyes, brows and mouth (uniform attention: "
        f"{meter.reference * 100:.1f}%)"
    )
    draw_maps(file, heading, columns, rows, meter.regions)
    return file


def _draw_checked(
    stem: Path, meter: AttentionMeter, part: Samples, crops: UInt8Image, checked: CheckedMaps
) -> list[Path]:
    """Examples rightly and wrongly classified, and the curves of the checks."""
    files = []
    rows = {
        key: f"{key.replace('_', ' ')}\n{entry.size[0]} x {entry.size[1]}"
        for key, entry in checked.checks.maps.items()
        if entry.fraction.n
    }
    for kind, is_right in (("right", True), ("wrong", False)):
        examples = typical_examples(part, meter.labels, checked.probabilities, is_right)
        if not examples or not rows:
            continue
        columns = []
        for label, index in examples.items():
            predicted = meter.labels[int(checked.probabilities[index].argmax())]
            title = label if is_right else f"{label},\npredicted {predicted}"
            columns.append(
                MapColumn(
                    f"{title}, {checked.probabilities[index].max():.2f}",
                    crops[index] / np.float32(255),
                    {key: checked.densities[key][index] for key in rows},
                )
            )
        files.append(stem.with_name(f"{stem.name}_{kind}.png"))
        heading = (
            f"{part.dataset}, {part.split} split, {kind}ly classified\nfraction of each map on eyes, brows and mouth "
            f"(uniform: {meter.reference * 100:.1f}%)"
        )
        draw_maps(files[-1], heading, columns, rows, meter.regions)
    files.append(stem.with_name(f"{stem.name}_curves.png"))
    draw_checks(files[-1], f"{part.dataset}, {part.split} split, {len(part)} images", checked.checks)
    return files
