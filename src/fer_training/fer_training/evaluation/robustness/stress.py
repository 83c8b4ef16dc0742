"""Accuracy of models on corrupted faces, and their corruption errors relative to a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.metrics import f1_score
from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.evaluation.results import RESAMPLES, Interval, Result, ResultFile, interval
from fer_perception.models.bundle import Precision
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_training.datasets import PHOTOGRAPHS, Samples, Split, dataset_name, load_dataset
from fer_training.evaluation.predictions import Model, load_model, predict_samples
from fer_training.evaluation.robustness.corruptions import COMBINED, CORRUPTIONS, SEVERITIES, corrupt
from fer_training.evaluation.text import aligned, points

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The mean corruption error is over all but the combined stress, whose parts it holds already. The first of these
# families overlaps with the second: the paper's claim is about eyes and mouth.
FACE_COVERED, ALL = "mouth or eyes", "all but combined"


def families(corruptions: Sequence[str]) -> dict[str, list[str]]:
    """The corruptions of each family of which more than one was measured."""
    groups: dict[str, list[str]] = {
        FACE_COVERED: [name for name in corruptions if name in ("mouth_mask", "sunglasses")]
    }
    for name in corruptions:
        groups.setdefault(CORRUPTIONS[name].family, []).append(name)
    groups[ALL] = [name for name in corruptions if name != COMBINED]
    return {family: members for family, members in groups.items() if len(members) > 1}


class Score(Result):
    """Accuracy and macro-F1 of a model, as means over the severities of a corruption and over a family's members.

    ``accuracies`` and ``macro_f1s``: of a corruption, by severity. ``corruption_error`` and
    ``relative_corruption_error``: None of clean images, and where the baseline has no such error. ``gain``: in accuracy
    over the baseline with its ``interval`` over resamples of images; None of the baseline itself.
    """

    accuracy: float
    macro_f1: float
    accuracies: list[float] = Field(default_factory=list)
    macro_f1s: list[float] = Field(default_factory=list)
    corruption_error: float | None = None
    relative_corruption_error: float | None = None
    gain: float | None = None
    interval: Interval | None = None


Scores = dict[str, Score]  # by model


class Summary(Result):
    """Scores of all ``models``, of which ``baseline`` is the first."""

    models: list[str]
    baseline: str
    clean: Scores
    corruptions: dict[str, Scores]
    families: dict[str, Scores]


class StressResult(ResultFile, Summary):
    """What ``stress`` writes. ``paths``: of the models, by name. ``severities``: the corruptions' parameters."""

    written_by = "python -m fer_training stress --json"
    dataset: str
    split: Split
    n: int
    precision: Precision
    seed: int
    paths: dict[str, str]
    labels: list[str]
    left_out: dict[str, int]
    sha256: str
    template: AlignmentTemplate
    severities: dict[str, list[dict[str, float]]]


def evaluate_stress(
    models: Sequence[Path],
    dataset: str,
    split: Split,
    corruptions: Sequence[str] = (),
    precision: Precision = "fp32",
    threads: int = 1,
    seed: int = 0,
    images: int = 0,
) -> tuple[StressResult, Samples]:
    """Evaluate models on one split of a dataset, as it is and under every corruption at every severity.

    The crops are corrupted as they would enter the network, at their own size and before normalisation, and all
    models see the same ones.

    :param models: bundles or runs; the first is the baseline of the others.
    :param dataset: ``NAME:PATH``.
    :param corruptions: keys of :data:`CORRUPTIONS`; all of them where empty.
    :param images: take only so many of the split, drawn by chance, always the same; 0: all.
    :return: the result and the samples.
    :raises FerError: a model or the dataset cannot be used, or the models cannot be compared on it.
    """
    names, chosen = _names(models), _chosen(corruptions)
    loaded = [load_model(model, precision, threads, dataset_name(dataset)) for model in models]
    _check_comparable(dict(zip(names, loaded, strict=True)), dataset)
    samples = _some(load_dataset(dataset, split, loaded[0].alignment), images)
    clean = [predict_samples(model, samples, is_quiet=True) for model in loaded]
    if any(found.labels != clean[0].labels for found in clean):
        raise FerError(f"{', '.join(names)} share different labels with {dataset}: measure them one by one")
    template = loaded[0].alignment.template
    summary = summarise(
        names,
        clean[0].targets,
        np.stack([found.logits.argmax(axis=1) for found in clean]),
        _predict_corrupted(loaded, samples, chosen, template, seed),
    )
    result = StressResult(
        **dict(summary),
        dataset=samples.dataset,
        split=split,
        n=len(clean[0].targets),
        precision=precision,
        seed=seed,
        paths={name: str(model) for name, model in zip(names, models, strict=True)},
        labels=list(clean[0].labels),
        left_out=clean[0].left_out,
        sha256=samples.fingerprint(),
        template=template,
        severities={
            name: [dict(zip(CORRUPTIONS[name].parameters, values, strict=True)) for values in found]
            for name, found in ((name, CORRUPTIONS[name].severities) for name in chosen)
        },
    )
    return result, samples


def _chosen(corruptions: Sequence[str]) -> list[str]:
    unknown = [name for name in corruptions if name not in CORRUPTIONS]
    if unknown:
        raise FerError(f"there is no corruption '{unknown[0]}'. Write one of {', '.join(CORRUPTIONS)}")
    return [name for name in CORRUPTIONS if not corruptions or name in corruptions]


def _predict_corrupted(
    models: Sequence[Model], samples: Samples, corruptions: Sequence[str], template: AlignmentTemplate, seed: int
) -> dict[str, Labels]:
    """Predictions by corruption: (models, severities, n)."""
    predictions: dict[str, list[list[Labels]]] = {name: [] for name in corruptions}
    steps = [(name, severity) for name in corruptions for severity in SEVERITIES]
    title = f"{samples.dataset} {samples.split}, corrupted"
    for name, severity in tqdm(steps, desc=title, unit="set", mininterval=1.0):
        corrupted = replace(samples, images=corrupt(samples.images, name, severity, template, seed))
        found = [predict_samples(model, corrupted, is_quiet=True).logits.argmax(axis=1) for model in models]
        predictions[name].append(found)
    return {name: np.array(found).transpose(1, 0, 2) for name, found in predictions.items()}


def summarise(names: Sequence[str], targets: Labels, clean: Labels, corrupted: dict[str, Labels]) -> Summary:
    """From predictions to scores; the first model is the baseline.

    The corruption error of a model is the sum of its error rates over the severities, divided by the baseline's; the
    relative one is the same of what is added to the error rate on clean images (Hendrycks and Dietterich, 2019). The
    means over corruptions are mCE and relative mCE. Here 1 is as good as the baseline, there 100.

    :param names: of the models.
    :param targets: (n,).
    :param clean: (models, n), predictions on the images as they are.
    :param corrupted: by corruption (models, severities, n).
    """
    right = {name: found == targets for name, found in corrupted.items()}
    clean_right = clean == targets
    corruptions = {
        name: {
            model: _corruption_score(right[name], targets, found, 1 - clean_right.mean(axis=1), index)
            for index, model in enumerate(names)
        }
        for name, found in corrupted.items()
    }
    grouped: dict[str, Scores] = {}
    for family, members in families(list(corrupted)).items():
        hits = np.concatenate([right[name] for name in members], axis=1)
        grouped[family] = {
            model: _family_score([corruptions[name][model] for name in members], _gain(hits[index], hits[0], index))
            for index, model in enumerate(names)
        }
    return Summary(
        models=list(names),
        baseline=names[0],
        clean={
            model: Score(
                accuracy=clean_right[index].mean(),
                macro_f1=_macro_f1(targets, clean[index]),
                **_gain(clean_right[index][None], clean_right[0][None], index),
            )
            for index, model in enumerate(names)
        },
        corruptions=corruptions,
        families=grouped,
    )


def _corruption_score(
    hits: npt.NDArray[np.bool_], targets: Labels, predictions: Labels, clean_errors: Floats, index: int
) -> Score:
    """The score of model ``index``; ``hits`` and ``predictions``: (models, severities, n)."""
    errors = 1 - hits.mean(axis=2)
    sums, added = errors.sum(axis=1), (errors - clean_errors[:, None]).sum(axis=1)
    accuracies = hits[index].mean(axis=1)
    macro_f1s = [_macro_f1(targets, found) for found in predictions[index]]
    return Score(
        accuracies=accuracies.tolist(),
        macro_f1s=macro_f1s,
        accuracy=accuracies.mean(),
        macro_f1=float(np.mean(macro_f1s)),
        corruption_error=_ratio(sums[index], sums[0]),
        relative_corruption_error=_ratio(added[index], added[0]),
        **_gain(hits[index], hits[0], index),
    )


def _family_score(members: Sequence[Score], gain: dict[str, Any]) -> Score:
    return Score(
        accuracy=float(np.mean([score.accuracy for score in members])),
        macro_f1=float(np.mean([score.macro_f1 for score in members])),
        corruption_error=_mean([score.corruption_error for score in members]),
        relative_corruption_error=_mean([score.relative_corruption_error for score in members]),
        **gain,
    )


def format_stress(result: StressResult) -> str:
    """The result as a table for a terminal."""
    rows: list[tuple[str, ...]] = [
        ("", "model", *(f"{severity}" for severity in SEVERITIES), "mean", "macro-F1", "CE", "rel. CE", "gain")
    ]
    parts = {"none": result.clean, **result.corruptions, **result.families}
    for name, scores in parts.items():
        for number, (model, score) in enumerate(scores.items()):
            rows.append(
                (
                    name if number == 0 else "",
                    model,
                    *([f"{value * 100:.1f}" for value in score.accuracies] or [""] * len(SEVERITIES)),
                    f"{score.accuracy * 100:.1f}",
                    f"{score.macro_f1 * 100:.1f}",
                    _number(score.corruption_error),
                    _number(score.relative_corruption_error),
                    "" if score.gain is None else points(score.gain, score.interval),
                )
            )
    heading = (
        f"{result.dataset}, {result.split} split, {result.n} images, {result.precision}: accuracy in % by severity; "
        f"CE: corruption error, 1 is {result.baseline}'s; gain: points of accuracy over it, in brackets 95% of "
        f"{RESAMPLES} bootstrap resamples"
    )
    return "\n".join([heading, *aligned(rows, left=2)])


def _names(models: Sequence[Path]) -> list[str]:
    """The folders' names, or the paths where two of these are the same."""
    names = [model.resolve().name for model in models]
    if len(set(names)) < len(names):
        names = [str(model) for model in models]
    if len(set(names)) < len(names):
        raise FerError(f"--model: {', '.join(names)} has the same model twice. Give each once")
    return names


def _some(samples: Samples, count: int) -> Samples:
    """Some of the samples, without what is not needed here; all for a count of 0."""
    kept = np.sort(np.random.default_rng(0).permutation(len(samples))[: count or None])
    images = [samples.images[index] for index in kept]
    return Samples(samples.dataset, samples.split, samples.labels, images, samples.targets[kept])


def _check_comparable(models: dict[str, Model], dataset: str) -> None:
    """All must take the same crops: photographs are cut by the first model's alignment."""
    are_cut = dataset_name(dataset) in PHOTOGRAPHS
    first: tuple[Any, ...] | None = None
    for name, model in models.items():
        template, spec = model.alignment.template, model.alignment.spec
        crops = (template, spec.width, spec.height, spec.color) if are_cut else (template,)
        if crops != (first := first or crops):
            raise FerError(f"{name} takes other crops than {next(iter(models))}: measure them one by one")


def _gain(hits: npt.NDArray[np.bool_], baseline: npt.NDArray[np.bool_], index: int) -> dict[str, Any]:
    """How much more often a model is right than the baseline on the same images; nothing for the baseline itself.

    :param hits: (severities, n).
    """
    if index == 0:
        return {}
    gains = hits.mean(axis=0) - baseline.mean(axis=0)
    n = len(gains)
    rng = np.random.default_rng(0)
    means = np.array([rng.multinomial(n, np.full(n, 1 / n)) @ gains for _ in range(RESAMPLES)]) / n
    return {"gain": float(gains.mean()), "interval": interval(means)}


def _macro_f1(targets: Labels, predictions: Labels) -> float:
    """Over the labels that occur."""
    return float(f1_score(targets, predictions, labels=np.unique(targets), average="macro", zero_division=0))


def _ratio(value: float, baseline: float) -> float | None:
    """None where the baseline has no (added) error, as then no error can be relative to it."""
    return float(value / baseline) if baseline > 1e-9 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
