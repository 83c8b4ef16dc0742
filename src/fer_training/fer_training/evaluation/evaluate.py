"""Metrics of a model on datasets; the model is a bundle, as the robot serves it, or a training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_perception.emotions.classifier import EmotionClassifier, softmax
from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import (
    bootstrap_intervals,
    classification_metrics,
    expected_calibration_error,
    reliability,
)
from fer_perception.models.bundle import MANIFEST, Bundle, Precision, write_manifest
from fer_perception.preprocessing.normalization import prepare_crop
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import Alignment, Samples, Split, load_dataset
from fer_training.datasets.duplicates import report_duplicates
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.attention.text import format_checks
from fer_training.evaluation.calibration import fit_temperature, negative_log_likelihood
from fer_training.runs.config import load_config

BATCH_SIZE = 64

# Takes a dataset's key in the result and its samples.
AttentionMeasure = Callable[[str, Samples], dict[str, Any]]


class Model(NamedTuple):
    """A network to evaluate. ``logits`` takes N face crops to float32 (N, labels). ``abstain_below``: a bundle's own
    threshold, see :mod:`fer_training.evaluation.risk_coverage`.
    """

    logits: Callable[[Sequence[UInt8Image]], Float32Array]
    labels: tuple[str, ...]
    temperature: float
    alignment: Alignment
    abstain_below: float | None = None


class Answers(NamedTuple):
    """A model's answers to the samples of one dataset, over the labels that both have, in the model's order.

    ``kept``: (n,), the samples that they are of. ``targets``: (n,), indices into ``labels``. ``logits``, and
    ``mirrored`` of the mirror images if asked for: (n, labels). ``left_out``: samples by label that the model lacks.
    ``unused``: the model's labels that the data lack.
    """

    labels: tuple[str, ...]
    kept: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    logits: Float32Array
    mirrored: Float32Array | None
    left_out: dict[str, int]
    unused: tuple[str, ...]


def load_model(model: Path, precision: Precision, threads: int) -> Model:
    """Load a bundle or a run.

    :param model: a bundle's folder, or a run's folder.
    :raises FerError: it is neither, or lacks the precision.
    """
    if (model / MANIFEST).exists():
        classifier = EmotionClassifier(model, precision, threads)
        manifest = classifier.bundle.manifest
        alignment = Alignment(manifest.alignment, manifest.input)
        abstain_below = manifest.abstention.threshold if manifest.abstention else None
        return Model(classifier.logits, classifier.labels, classifier.temperature, alignment, abstain_below)

    from fer_training.evaluation.inference import predict  # torch only where it is needed
    from fer_training.runs.folder import CONFIG, load_run

    if not (model / CONFIG).exists():
        raise FerError(f"{model}: is neither a bundle ({MANIFEST}) nor a training run ({CONFIG})")
    if precision != "fp32":
        raise FerError(f"{model}: a training run has the precision fp32 only, {precision} is made by export")
    config = load_config(model / CONFIG)
    network, facts = load_run(model, config)
    spec = config.input.spec()

    def logits(crops: Sequence[UInt8Image]) -> Float32Array:
        probabilities = predict(network, np.stack([prepare_crop(crop, spec) for crop in crops]), spec)
        # Logits up to a constant per row, which softmax does not see; a probability may have been rounded to 0.
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))

    return Model(logits, tuple(facts["labels"]), 1.0, Alignment(FER2013_TEMPLATE, spec))


def ask(model: Model, samples: Samples, flip: bool = False, is_quiet: bool = False) -> Answers:
    """Run a model on the samples whose labels it has.

    Logits of labels that the dataset lacks are dropped, so that softmax restricts the probabilities to the others and
    they sum to 1.

    :param flip: run it on the mirror images, too.
    :param is_quiet: show no progress.
    :raises FerError: no sample has a label of the model.
    """
    labels = tuple(label for label in model.labels if label in samples.labels)
    numbers = np.array([labels.index(label) if label in labels else -1 for label in samples.labels], np.int64)
    targets = numbers[samples.targets]
    kept = np.flatnonzero(targets >= 0)
    if not len(kept):
        raise FerError(f"{samples.dataset}: no sample has one of the model's labels, {', '.join(model.labels)}")
    counts = np.bincount(samples.targets, minlength=len(samples.labels))
    columns = [model.labels.index(label) for label in labels]
    logits: list[Float32Array] = []
    mirrored: list[Float32Array] = []
    starts = range(0, len(kept), BATCH_SIZE)
    name = f"{samples.dataset} {samples.split}"
    for start in tqdm(starts, desc=name, unit="batch", mininterval=1.0, disable=is_quiet):
        images = [samples.images[index] for index in kept[start : start + BATCH_SIZE]]
        logits.append(model.logits(images)[:, columns])
        if flip:
            mirrored.append(model.logits([np.ascontiguousarray(image[:, ::-1]) for image in images])[:, columns])
    return Answers(
        labels,
        kept,
        targets[kept],
        np.concatenate(logits),
        np.concatenate(mirrored) if flip else None,
        {
            label: int(count)
            for label, count in zip(samples.labels, counts, strict=True)
            if count and label not in labels
        },
        tuple(label for label in model.labels if label not in labels),
    )


def evaluate(
    model: Path,
    datasets: Sequence[str],
    split: Split,
    precision: Precision = "fp32",
    threads: int = 1,
    flip: bool = False,
    attention: AttentionMeasure | None = None,
    training_data: str = "",
    groups: Sequence[str] = (),
    risk_coverage: bool = False,
) -> dict[str, Any]:
    """Evaluate a model on one split of each dataset.

    :param datasets: each ``NAME:PATH``. Of one given once the result is found by NAME, of one given with several paths
        by NAME and the last part of PATH.
    :param flip: also with the mean of the probabilities of image and mirror image.
    :param training_data: ``NAME:PATH``; also without the pictures that have a near-duplicate in its training split.
    :param attention: measures where the model looks, see :mod:`fer_training.evaluation.attention.landmark_fraction`.
    :param groups: columns of the datasets by which answers are compared, see :mod:`fer_training.evaluation.fairness`.
    :param risk_coverage: what abstaining buys, see :mod:`fer_training.evaluation.risk_coverage`.
    :return: ``model``, ``precision``, ``split``, ``temperature`` and ``datasets``. There, by dataset: the metrics of
        :func:`fer_perception.evaluation.metrics.classification_metrics`, ``intervals`` (95%, of accuracy and macro-F1),
        ``reliability``, ``labels`` (those that model and data share), ``left_out`` (samples by label that the model
        lacks), ``unused_labels`` (of the model, that the data lack), the data's ``sha256`` and, if asked for,
        ``flip`` (metrics and intervals), ``attention``, ``groups`` (by column) and ``without_duplicates`` (the number
        ``removed``, metrics and intervals).
    :raises FerError: a model or dataset cannot be used, or they share no label.
    """
    loaded = load_model(model, precision, threads)
    return {
        "model": str(model),
        "precision": precision,
        "split": split,
        "temperature": loaded.temperature,
        "datasets": evaluate_model(loaded, datasets, split, flip, attention, training_data, groups, risk_coverage),
    }


def evaluate_model(
    loaded: Model,
    datasets: Sequence[str],
    split: Split,
    flip: bool = False,
    attention: AttentionMeasure | None = None,
    training_data: str = "",
    groups: Sequence[str] = (),
    risk_coverage: bool = False,
) -> dict[str, Any]:
    """The part ``datasets`` of what :func:`evaluate` returns, of a model that is loaded already."""
    names = [dataset.partition(":")[0] for dataset in datasets]
    trained_on = load_dataset(training_data, "train", loaded.alignment) if training_data else None
    results: dict[str, Any] = {}
    for dataset, name in zip(datasets, names, strict=True):
        samples = load_dataset(dataset, split, loaded.alignment)
        key = samples.dataset
        if names.count(name) > 1:
            key = f"{key}:{Path(dataset.partition(':')[2]).name}"
        if key in results:
            raise FerError(f"{dataset}: a dataset '{key}' was already given; evaluate them one after another")
        answers = ask(loaded, samples, flip)
        probabilities = softmax(answers.logits / loaded.temperature)
        results[key] = {
            **_metrics(answers.targets, probabilities, answers.labels),
            "reliability": reliability(answers.targets, probabilities),
            "labels": list(answers.labels),
            "left_out": answers.left_out,
            "unused_labels": list(answers.unused),
            "sha256": samples.fingerprint(),
        }
        if risk_coverage:
            from fer_training.evaluation.risk_coverage import measure_risk_coverage

            measured = measure_risk_coverage(answers.targets, probabilities, loaded.abstain_below)
            results[key]["risk_coverage"] = measured
        if answers.mirrored is not None:
            both = (probabilities + softmax(answers.mirrored / loaded.temperature)) / 2
            results[key]["flip"] = _metrics(answers.targets, both, answers.labels)
        if trained_on:
            new = ~np.isin(answers.kept, [pair.second for pair in report_duplicates(trained_on, samples)])
            results[key]["without_duplicates"] = {
                "removed": int((~new).sum()),
                **_metrics(answers.targets[new], probabilities[new], answers.labels),
            }
        if attention:
            results[key]["attention"] = attention(key, samples)
        if groups:
            from fer_training.evaluation.fairness import (  # Fairlearn only where it is needed
                column_values,
                measure_groups,
            )

            results[key]["groups"] = {
                column: measure_groups(
                    answers.targets,
                    probabilities.argmax(axis=1),
                    answers.labels,
                    column_values(samples, answers.kept, column),
                )
                for column in groups
            }
    return results


def calibrate(bundle: Path, dataset: str, precision: Precision = "fp32", threads: int = 1) -> dict[str, float]:
    """Fit the temperature on a dataset's validation split and write it into the bundle's manifest.

    It is of the bundle, thus of all its precisions.

    :return: ``temperature``, and ``nll`` (in nats) and ``ece`` with the temperature that was there before and with it.
    :raises FerError: bundle or dataset cannot be used, or the data do not determine a temperature.
    """
    model = load_model(bundle, precision, threads)
    answers = ask(model, load_dataset(dataset, "val", model.alignment))
    temperature = round(fit_temperature(answers.logits, answers.targets), 4)
    # A threshold that was chosen before is of other confidences.
    changes = {"temperature": temperature, "abstention": None}
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update=changes))
    fitted = {"temperature": temperature}
    for when, value in (("before", model.temperature), ("after", temperature)):
        fitted[f"nll_{when}"] = negative_log_likelihood(answers.logits, answers.targets, value)
        fitted[f"ece_{when}"] = expected_calibration_error(answers.targets, softmax(answers.logits / value))
    return fitted


def record(bundle: Path, result: dict[str, Any]) -> None:
    """Write an evaluation's metrics into the manifest of the evaluated bundle."""
    manifest = Bundle(bundle).manifest
    metrics = dict(manifest.metrics)
    for dataset, values in result["datasets"].items():
        # The temperature may be fitted again later; the bins are for pictures, groups for who asked for them.
        kept = {key: value for key, value in values.items() if key not in ("reliability", "groups")}
        if "risk_coverage" in kept:
            kept["risk_coverage"] = {name: value for name, value in kept["risk_coverage"].items() if name != "curve"}
        kept["temperature"] = result["temperature"]
        metrics[f"{dataset}/{result['split']}/{result['precision']}"] = kept
    write_manifest(bundle, manifest.model_copy(update={"metrics": metrics}))


def format_calibration(fitted: dict[str, float]) -> str:
    """What :func:`calibrate` found, as one line."""
    return (
        f"temperature {fitted['temperature']:.4f} is now in the manifest: on the validation split NLL "
        f"{fitted['nll_before']:.4f} became {fitted['nll_after']:.4f}, ECE {fitted['ece_before'] * 100:.2f}% became "
        f"{fitted['ece_after'] * 100:.2f}%"
    )


def format_result(result: dict[str, Any]) -> str:
    """The result as text for a terminal: confusion matrix of each dataset, then one line of metrics for each."""
    lines = [
        f"{result['model']} ({result['precision']}, temperature {result['temperature']:g}), split {result['split']}"
    ]
    for dataset, m in result["datasets"].items():
        lines.append(
            f"{dataset}: {m['n']} images, accuracy {m['accuracy'] * 100:.2f}%, "
            f"macro-F1 {m['macro_f1'] * 100:.2f}%, AUROC {_percent(m['auroc'])}, ECE {m['ece'] * 100:.2f}%"
        )
        if m["left_out"]:
            left_out = ", ".join(f"{count} of {label}" for label, count in m["left_out"].items())
            lines.append(f"  left out, as the model lacks the label: {left_out}")
        if m["unused_labels"]:
            lines.append(
                f"  {', '.join(m['unused_labels'])}: the model's, not this dataset's; the probabilities are restricted "
                "to the other labels and sum to 1"
            )
        lines.append(
            "  shown (row) taken for (column)".ljust(34)
            + "".join(f"{label[:8]:>9}" for label in m["labels"])
            + "   recall"
        )
        for label, row in zip(m["labels"], m["confusion"], strict=True):
            recall = m["recall"][label]
            shown = "-" if recall is None else f"{recall * 100:.1f}%"
            lines.append(f"{label:>34}" + "".join(f"{count:>9}" for count in row) + f"{shown:>9}")
        lines += _attention(m["attention"]) if "attention" in m else []
        if "groups" in m:
            from fer_training.evaluation.fairness import format_groups

            lines.append(format_groups(m["groups"]))
    return "\n".join([*lines, "", *_overview(result)])


def _overview(result: dict[str, Any]) -> list[str]:
    """One line per dataset, and one more with the mirror image and without near-duplicates where that was asked for."""
    rows = [("", "accuracy", "macro-F1", "AUROC", "ECE", "images")]
    for dataset, single in result["datasets"].items():
        for name, m in (
            (dataset, single),
            (f"{dataset}, with mirror image", single.get("flip")),
            (f"{dataset}, without near-duplicates", single.get("without_duplicates")),
        ):
            if m:
                accuracy, macro_f1 = (
                    f"{m[key] * 100:.2f}% [{m['intervals'][key][0] * 100:.2f}, {m['intervals'][key][1] * 100:.2f}]"
                    for key in ("accuracy", "macro_f1")
                )
                rows.append((name, accuracy, macro_f1, _percent(m["auroc"]), _percent(m["ece"]), str(m["n"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "in brackets: 95% of 1000 bootstrap resamples",
        *(
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ),
    ]


def _attention(found: dict[str, Any]) -> list[str]:
    """One line for each map."""
    lines = [f"  share of attention on eyes, brows and mouth; uniform attention has {_percent(found['reference'])}"]
    for name, entry in found["maps"].items():
        line = f"  {name}: {_percent(entry['share'])}"
        if entry["interval"]:
            line += " [{:.2f}, {:.2f}]".format(*(end * 100 for end in entry["interval"]))
        line += f", {entry['ratio']:.2f} times uniform"
        if "size" in entry:
            line += "; a map of {} x {} reaches {}".format(*entry["size"], _percent(entry["highest"]))
            line += f"; contrast {entry['contrast']:.2f}, maps differ by {_percent(entry['variation'])} from their mean"
        lines.append(line)
    lines += [f"  {name}: none, as {reason}" for name, reason in found["absent"].items()]
    return lines + (format_checks(found["checks"]) if "checks" in found else [])


def _percent(share: float | None) -> str:
    return "not defined" if share is None else f"{share * 100:.2f}%"


def _metrics(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], labels: Sequence[str]
) -> dict[str, Any]:
    metrics = classification_metrics(targets, probabilities, labels)
    return {**metrics, "intervals": bootstrap_intervals(metrics["confusion"])}
