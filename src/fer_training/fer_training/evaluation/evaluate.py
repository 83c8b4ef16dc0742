"""The verb ``evaluate``: metrics of a model on datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_perception.emotions.class_prior import BALANCED, TRAINING
from fer_perception.emotions.classifier import softmax
from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import Metrics, classification_metrics, mean_recall
from fer_perception.evaluation.results import RESAMPLES, Result, ResultFile
from fer_perception.models.bundle import Bundle, Precision, write_manifest
from fer_training.datasets import Alignment, Samples, Split, dataset_name, load_dataset
from fer_training.datasets.duplicates import report_duplicates
from fer_training.evaluation.predictions import Model, Predictions, load_model, predict_samples
from fer_training.evaluation.risk_coverage import RiskCoverage, format_risk_coverage, measure_risk_coverage
from fer_training.evaluation.text import aligned, percent


class MetricsWithoutDuplicates(Metrics):
    """Metrics without ``removed`` samples that have a near-duplicate in the training data."""

    removed: int


class PriorMetrics(Result):
    """The metrics that the class prior changes most. ``strength``: how much of the training data's prior was taken out.

    ``mean_recall``: over the labels that occur. ``recall``: by label, None where it does not occur.
    """

    strength: float
    accuracy: float
    mean_recall: float
    macro_f1: float
    recall: dict[str, float | None]


class DatasetResult(Metrics):
    """The metrics on one dataset.

    ``labels``: those that model and data share. ``left_out``: samples by label that the model lacks.
    ``unused_labels``: of the model, that the data lack. ``sha256``: of the samples. ``flip``: with the mean of the
    probabilities of image and mirror image. ``priors``: of a bundle that has label frequencies, ``training`` and
    ``balanced``; all other metrics are of predictions with the training data's prior.
    """

    labels: list[str]
    left_out: dict[str, int]
    unused_labels: list[str]
    sha256: str
    risk_coverage: RiskCoverage | None = None
    flip: Metrics | None = None
    without_duplicates: MetricsWithoutDuplicates | None = None
    priors: dict[str, PriorMetrics] | None = None


class EvaluationResult(ResultFile):
    """What ``evaluate`` writes. ``datasets``: by name."""

    written_by = "python -m fer_training evaluate --json"
    model: str
    precision: Precision
    split: Split
    temperature: float
    datasets: dict[str, DatasetResult]


def evaluate(
    model: Path,
    datasets: Sequence[str],
    split: Split,
    precision: Precision = "fp32",
    threads: int = 1,
    flip: bool = False,
    training_data: str = "",
) -> EvaluationResult:
    """Evaluate a model on one split of each dataset; of a run with several label sets, by the labels of the dataset.

    :param model: the folder of a bundle or of a training run.
    :param datasets: each ``NAME:PATH``. Of one given once the result is found by NAME, of one given with several paths
        by NAME and the last part of PATH.
    :param flip: also with the mean of the probabilities of image and mirror image.
    :param training_data: ``NAME:PATH``; also without the images that have a near-duplicate in its training split.
    :raises FerError: a model or dataset cannot be used, or they share no label.
    """
    loaded = [load_model(model, precision, threads, dataset_name(dataset)) for dataset in datasets]
    return evaluate_models(loaded, str(model), datasets, split, precision, flip, training_data)


def evaluate_models(
    models: Sequence[Model],
    name: str,
    datasets: Sequence[str],
    split: Split,
    precision: Precision,
    flip: bool = False,
    training_data: str = "",
) -> EvaluationResult:
    """Evaluate a loaded model; see :func:`evaluate`.

    :param models: the model for each of the datasets; they differ in their labels only.
    :param name: of the model in the result.
    """
    alignment, temperature = models[0].alignment, models[0].temperature
    trained_on = load_dataset(training_data, "train", alignment) if training_data else None
    results = {
        key: _evaluate_samples(model, samples, flip, trained_on)
        for model, (key, samples) in zip(models, _named_samples(alignment, datasets, split), strict=True)
    }
    return EvaluationResult(model=name, precision=precision, split=split, temperature=temperature, datasets=results)


def _named_samples(alignment: Alignment, datasets: Sequence[str], split: Split) -> Iterator[tuple[str, Samples]]:
    """The datasets, each under the name that its result gets."""
    names = [dataset.partition(":")[0] for dataset in datasets]
    keys: set[str] = set()
    for dataset, name in zip(datasets, names, strict=True):
        samples = load_dataset(dataset, split, alignment)
        key = samples.dataset
        if names.count(name) > 1:
            key = f"{key}:{Path(dataset.partition(':')[2]).name}"
        if key in keys:
            raise FerError(f"{dataset}: a dataset '{key}' was already given; evaluate them one after another")
        keys.add(key)
        yield key, samples


def _evaluate_samples(model: Model, samples: Samples, flip: bool, trained_on: Samples | None) -> DatasetResult:
    """``trained_on``: also without the images that have a near-duplicate there."""
    found = predict_samples(model, samples, flip)
    probabilities = found.probabilities(model.temperature)
    both = None
    if found.mirrored is not None:
        mean = (probabilities + softmax(found.mirrored / model.temperature)) / 2
        both = classification_metrics(found.targets, mean, found.labels)
    metrics = classification_metrics(found.targets, probabilities, found.labels)
    return DatasetResult(
        **dict(metrics),
        labels=list(found.labels),
        left_out=found.left_out,
        unused_labels=list(found.unused),
        sha256=samples.fingerprint(),
        risk_coverage=measure_risk_coverage(found.targets, probabilities, model.abstain_below),
        flip=both,
        without_duplicates=_without_duplicates(model, found, samples, trained_on) if trained_on else None,
        priors=None if found.bias is None else _by_prior(model, found, metrics),
    )


def _by_prior(model: Model, found: Predictions, metrics: Metrics) -> dict[str, PriorMetrics]:
    """:param metrics: with the training data's prior."""
    probabilities = found.probabilities(model.temperature, model.prior_strength)
    balanced = classification_metrics(found.targets, probabilities, found.labels)
    return {
        prior: PriorMetrics(
            strength=strength,
            accuracy=measured.accuracy,
            mean_recall=mean_recall(measured),
            macro_f1=measured.macro_f1,
            recall=measured.recall,
        )
        for prior, strength, measured in ((TRAINING, 0.0, metrics), (BALANCED, model.prior_strength, balanced))
    }


def _without_duplicates(
    model: Model, found: Predictions, samples: Samples, trained_on: Samples
) -> MetricsWithoutDuplicates:
    new = ~np.isin(found.kept, [pair.second for pair in report_duplicates(trained_on, samples)])
    probabilities = found.probabilities(model.temperature)
    metrics = classification_metrics(found.targets[new], probabilities[new], found.labels)
    return MetricsWithoutDuplicates(**dict(metrics), removed=int((~new).sum()))


def record(bundle: Path, result: EvaluationResult) -> None:
    """Write an evaluation's metrics into the manifest of the evaluated bundle."""
    manifest = Bundle(bundle).manifest
    metrics = dict(manifest.metrics)
    # Bins and curves are for plots.
    unrecorded: dict[str, Any] = {
        "reliability": True,
        "risk_coverage": {"curve"},
        "flip": {"reliability"},
        "without_duplicates": {"reliability"},
        "priors": {},
    }
    for dataset, values in result.datasets.items():
        missing = {name: True for name in unrecorded if getattr(values, name) is None}
        kept = values.model_dump(mode="json", exclude=unrecorded | missing)
        # The temperature may be fitted again later.
        metrics[f"{dataset}/{result.split}/{result.precision}"] = {**kept, "temperature": result.temperature}
    write_manifest(bundle, manifest.model_copy(update={"metrics": metrics}))


def format_result(result: EvaluationResult) -> str:
    """The result as text for a terminal: confusion matrix of each dataset, then one line of metrics for each."""
    lines = [f"{result.model} ({result.precision}, temperature {result.temperature:g}), split {result.split}"]
    for dataset, metrics in result.datasets.items():
        lines += _confusion(dataset, metrics)
    return "\n".join([*lines, "", *_overview(result)])


def _confusion(dataset: str, metrics: DatasetResult) -> list[str]:
    lines = [
        f"{dataset}: {metrics.n} images, accuracy {percent(metrics.accuracy)}, macro-F1 {percent(metrics.macro_f1)}, "
        f"AUROC {percent(metrics.auroc)}, ECE {percent(metrics.ece)}"
    ]
    if metrics.left_out:
        left_out = ", ".join(f"{count} of {label}" for label, count in metrics.left_out.items())
        lines.append(f"  left out, as the model lacks the label: {left_out}")
    if metrics.unused_labels:
        lines.append(
            f"  {', '.join(metrics.unused_labels)}: the model's, not this dataset's; the probabilities are restricted "
            "to the other labels and sum to 1"
        )
    rows: list[tuple[str, ...]] = [
        ("  true label (row), prediction (column)", *(label[:8] for label in metrics.labels), "recall")
    ]
    for label, counts in zip(metrics.labels, metrics.confusion, strict=True):
        recall = metrics.recall[label]
        rows.append((label.rjust(34), *map(str, counts), "-" if recall is None else percent(recall, digits=1)))
    lines += aligned(rows)
    if metrics.priors:
        lines += _priors(metrics.priors)
    return [*lines, f"  {format_risk_coverage(metrics.risk_coverage)}"] if metrics.risk_coverage else lines


def _priors(priors: dict[str, PriorMetrics]) -> list[str]:
    labels = list(next(iter(priors.values())).recall)
    rows: list[tuple[str, ...]] = [
        ("  by prior", "accuracy", "mean recall", "macro-F1", *(f"recall {label[:8]}" for label in labels))
    ]
    for prior, found in priors.items():
        recalls = ("-" if recall is None else percent(recall, digits=1) for recall in found.recall.values())
        means = map(percent, (found.accuracy, found.mean_recall, found.macro_f1))
        rows.append((f"  {prior}, strength {found.strength:g}", *means, *recalls))
    return aligned(rows)


def _overview(result: EvaluationResult) -> list[str]:
    """One line per dataset, and one more with the mirror image and without near-duplicates where that was asked for."""
    rows: list[tuple[str, ...]] = [("", "accuracy", "macro-F1", "AUROC", "ECE", "images")]
    for dataset, single in result.datasets.items():
        for name, metrics in (
            (dataset, single),
            (f"{dataset}, with mirror image", single.flip),
            (f"{dataset}, without near-duplicates", single.without_duplicates),
        ):
            if metrics:
                means = (percent(getattr(metrics, key), metrics.intervals[key]) for key in ("accuracy", "macro_f1"))
                rows.append((name, *means, percent(metrics.auroc), percent(metrics.ece), str(metrics.n)))
    return [f"in brackets: 95% of {RESAMPLES} bootstrap resamples", *aligned(rows)]
