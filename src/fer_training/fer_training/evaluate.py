"""Metrics of a model on datasets; the model is a bundle, as the robot serves it, or a training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_perception.bundle import MANIFEST, Precision, write_manifest
from fer_perception.emotion import EmotionClassifier
from fer_perception.errors import FerError
from fer_training.config import load_config
from fer_training.datasets import Samples, Split, load_dataset
from fer_training.metrics import classification_metrics

BATCH_SIZE = 64

Predictor = Callable[[Samples], npt.NDArray[np.float32]]


def load_predictor(model: Path, precision: Precision, threads: int) -> tuple[Predictor, tuple[str, ...]]:
    """A function from samples to probabilities (N, labels), and the labels.

    :param model: a bundle's folder, or a run's folder.
    :raises FerError: it is neither.
    """
    if (model / MANIFEST).exists():
        classifier = EmotionClassifier(model, precision, threads)
        return lambda samples: _classify(classifier, samples), classifier.labels

    from fer_training.train import CONFIG, load_run, predict, prepare_images  # torch only where it is needed

    if not (model / CONFIG).exists():
        raise FerError(f"{model}: is neither a bundle ({MANIFEST}) nor a training run ({CONFIG})")
    config = load_config(model / CONFIG)
    network, facts = load_run(model, config)
    spec = config.input.spec()
    return lambda samples: predict(network, prepare_images(samples, spec), spec), tuple(facts["labels"])


def evaluate(
    model: Path, datasets: Sequence[str], split: Split, precision: Precision = "fp32", threads: int = 1
) -> dict[str, Any]:
    """Evaluate a model on one split of each dataset.

    :param datasets: each ``NAME:PATH``.
    :return: ``model``, ``precision``, ``split`` and ``datasets``: the metrics of
        :func:`fer_training.metrics.classification_metrics` and the data's ``sha256``, by dataset name.
    :raises FerError: a model or dataset cannot be used, or their labels differ.
    """
    predict, labels = load_predictor(model, precision, threads)
    results: dict[str, Any] = {}
    for dataset in datasets:
        samples = load_dataset(dataset, split)
        if samples.dataset in results:
            raise FerError(f"{dataset}: a dataset of this name was already given; evaluate them one after another")
        if samples.labels != labels:
            raise FerError(f"{dataset}: its labels are {samples.labels}, those of {model} are {labels}")
        metrics = classification_metrics(samples.targets, predict(samples), labels)
        results[samples.dataset] = {**metrics, "labels": list(labels), "sha256": samples.fingerprint()}
    return {"model": str(model), "precision": precision, "split": split, "datasets": results}


def record(bundle: Path, result: dict[str, Any]) -> None:
    """Write an evaluation's metrics into the manifest of the evaluated bundle."""
    from fer_perception.bundle import Bundle

    manifest = Bundle(bundle).manifest
    metrics = dict(manifest.metrics)
    for dataset, values in result["datasets"].items():
        metrics[f"{dataset}/{result['split']}/{result['precision']}"] = values
    write_manifest(bundle, manifest.model_copy(update={"metrics": metrics}))


def format_result(result: dict[str, Any]) -> str:
    """The result as text for a terminal, confusion matrix included."""
    lines = [f"{result['model']} ({result['precision']}), split {result['split']}"]
    for dataset, m in result["datasets"].items():
        auroc = "not defined" if m["auroc"] is None else f"{m['auroc'] * 100:.2f}%"
        lines += [
            f"{dataset}: {m['n']} images, accuracy {m['accuracy'] * 100:.2f}%, "
            f"macro-F1 {m['macro_f1'] * 100:.2f}%, AUROC {auroc}",
            "  shown (row) taken for (column)".ljust(34)
            + "".join(f"{label[:8]:>9}" for label in m["labels"])
            + "   recall",
        ]
        for label, row in zip(m["labels"], m["confusion"], strict=True):
            recall = m["recall"][label]
            shown = "-" if recall is None else f"{recall * 100:.1f}%"
            lines.append(f"{label:>34}" + "".join(f"{count:>9}" for count in row) + f"{shown:>9}")
    return "\n".join(lines)


def _classify(classifier: EmotionClassifier, samples: Samples) -> npt.NDArray[np.float32]:
    starts = range(0, len(samples), BATCH_SIZE)
    bar = tqdm(starts, desc=f"{samples.dataset} {samples.split}", unit="batch", mininterval=1.0)
    return np.concatenate([classifier.classify(samples.images[i : i + BATCH_SIZE]) for i in bar])
