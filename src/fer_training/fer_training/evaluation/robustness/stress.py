"""Accuracy of models on corrupted faces, and their corruption errors relative to a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score
from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import RESAMPLES, interval
from fer_perception.models.bundle import Precision
from fer_training.datasets import CROPS, Samples, Split, load_dataset
from fer_training.evaluation.evaluate import Model, ask, load_model
from fer_training.evaluation.robustness.corruptions import COMBINED, CORRUPTIONS, SEVERITIES, corrupt

Labels = npt.NDArray[np.int64]

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


def evaluate_stress(
    models: Sequence[Path],
    dataset: str,
    split: Split,
    corruptions: Sequence[str] = (),
    precision: Precision = "fp32",
    threads: int = 1,
    seed: int = 0,
    images: int = 0,
) -> tuple[dict[str, Any], Samples]:
    """Evaluate models on one split of a dataset, as it is and under every corruption at every severity.

    The crops are corrupted as they would enter the network, at their own size and before normalisation, and all
    models see the same ones.

    :param models: bundles or runs; the first is the baseline of the others.
    :param dataset: ``NAME:PATH``.
    :param corruptions: keys of :data:`CORRUPTIONS`; all of them where empty.
    :param images: take only so many of the split, drawn by chance, always the same; 0: all.
    :return: what :func:`summarise` returns, with ``dataset``, ``split``, ``n``, ``precision``, ``seed``, ``paths`` of
        the models by name, ``labels``, ``left_out``, ``sha256`` of the data, the alignment ``template`` and, in
        ``severities``, the corruptions' parameters; and the samples.
    :raises FerError: a model or the dataset cannot be used, or the models cannot be compared on it.
    """
    names = _names(models)
    unknown = [name for name in corruptions if name not in CORRUPTIONS]
    if unknown:
        raise FerError(f"--stress: there is no corruption '{unknown[0]}'. Write one of {', '.join(CORRUPTIONS)}")
    chosen = [name for name in CORRUPTIONS if not corruptions or name in corruptions]
    loaded = [load_model(model, precision, threads) for model in models]
    _check_comparable(dict(zip(names, loaded, strict=True)), dataset)
    samples = _some(load_dataset(dataset, split, loaded[0].alignment), images)
    template = loaded[0].alignment.template

    clean = [ask(model, samples, is_quiet=True) for model in loaded]
    if any(answers.labels != clean[0].labels for answers in clean):
        raise FerError(f"--stress: {', '.join(names)} share different labels with {dataset}: measure them one by one")
    steps = [(name, severity) for name in chosen for severity in SEVERITIES]
    predictions: dict[str, list[list[Labels]]] = {name: [] for name in chosen}
    for name, severity in tqdm(steps, desc=f"{samples.dataset} {split}, corrupted", unit="set", mininterval=1.0):
        corrupted = replace(samples, images=corrupt(samples.images, name, severity, template, seed))
        predictions[name].append([ask(model, corrupted, is_quiet=True).logits.argmax(axis=1) for model in loaded])
    result = summarise(
        names,
        clean[0].targets,
        np.stack([answers.logits.argmax(axis=1) for answers in clean]),
        {name: np.array(found).transpose(1, 0, 2) for name, found in predictions.items()},
    )
    facts = {
        "dataset": samples.dataset,
        "split": split,
        "n": len(clean[0].targets),
        "precision": precision,
        "seed": seed,
        "paths": {name: str(model) for name, model in zip(names, models, strict=True)},
        "labels": list(clean[0].labels),
        "left_out": clean[0].left_out,
        "sha256": samples.fingerprint(),
        "template": template.model_dump(),
        "severities": {
            name: [dict(zip(CORRUPTIONS[name].parameters, values, strict=True)) for values in found]
            for name, found in ((name, CORRUPTIONS[name].severities) for name in chosen)
        },
    }
    return {**facts, **result}, samples


def summarise(names: Sequence[str], targets: Labels, clean: Labels, corrupted: dict[str, Labels]) -> dict[str, Any]:
    """From predictions to the tables; the first model is the baseline.

    The corruption error of a model is the sum of its error rates over the severities, divided by the baseline's; the
    relative one is the same of what is added to the error rate on clean pictures (Hendrycks and Dietterich, 2019). The
    means over corruptions are mCE and relative mCE. Here 1 is as good as the baseline, there 100.

    :param names: of the models.
    :param targets: (n,).
    :param clean: (models, n), predictions on the pictures as they are.
    :param corrupted: by corruption (models, severities, n).
    :return: ``models``, ``baseline``, ``clean`` (by model ``accuracy``, ``macro_f1``), ``corruptions`` and ``families``
        (by name and model: ``accuracy`` and ``macro_f1`` as means over severities and members, with the corruptions
        the lists ``accuracies`` and ``macro_f1s`` by severity, ``corruption_error`` and
        ``relative_corruption_error``, None where the baseline has no such error, and for all but the baseline ``gain``
        in accuracy over it with its 95% ``interval``, over resamples of pictures).
    """
    right = {name: found == targets for name, found in corrupted.items()}
    clean_error = 1 - (clean == targets).mean(axis=1)
    present = np.unique(targets)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for name, hits in right.items():
        errors = 1 - hits.mean(axis=2)
        sums, added = errors.sum(axis=1), (errors - clean_error[:, None]).sum(axis=1)
        rows[name] = {}
        for index, model in enumerate(names):
            accuracies = hits[index].mean(axis=1)
            macro_f1s = [
                f1_score(targets, found, labels=present, average="macro", zero_division=0)
                for found in corrupted[name][index]
            ]
            rows[name][model] = {
                "accuracies": accuracies.tolist(),
                "macro_f1s": [float(value) for value in macro_f1s],
                "accuracy": float(accuracies.mean()),
                "macro_f1": float(np.mean(macro_f1s)),
                "corruption_error": _ratio(sums[index], sums[0]),
                "relative_corruption_error": _ratio(added[index], added[0]),
                **_gain(hits[index], hits[0], index),
            }
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for family, members in families(list(corrupted)).items():
        groups[family] = {}
        hits = np.concatenate([right[name] for name in members], axis=1)
        for index, model in enumerate(names):
            means = {
                key: _mean([rows[name][model][key] for name in members])
                for key in ("accuracy", "macro_f1", "corruption_error", "relative_corruption_error")
            }
            groups[family][model] = {**means, **_gain(hits[index], hits[0], index)}
    return {
        "models": list(names),
        "baseline": names[0],
        "clean": {
            model: {
                "accuracy": float(1 - clean_error[index]),
                "macro_f1": float(f1_score(targets, clean[index], labels=present, average="macro", zero_division=0)),
                **_gain((clean[index] == targets)[None], (clean[0] == targets)[None], index),
            }
            for index, model in enumerate(names)
        },
        "corruptions": rows,
        "families": groups,
    }


def format_stress(result: dict[str, Any]) -> str:
    """The result as a table for a terminal."""
    rows: list[tuple[str, ...]] = [
        ("", "model", *(f"{severity}" for severity in SEVERITIES), "mean", "macro-F1", "CE", "rel. CE", "gain")
    ]
    parts = {"none": result["clean"], **result["corruptions"], **result["families"]}
    for name, entries in parts.items():
        for number, (model, entry) in enumerate(entries.items()):
            accuracies = [f"{value * 100:.1f}" for value in entry.get("accuracies", [])]
            gain = ""
            if "gain" in entry:
                low, high = (end * 100 for end in entry["interval"])
                gain = f"{entry['gain'] * 100:+.1f} [{low:+.1f}, {high:+.1f}]"
            rows.append(
                (
                    name if number == 0 else "",
                    model,
                    *(accuracies or [""] * len(SEVERITIES)),
                    f"{entry['accuracy'] * 100:.1f}",
                    f"{entry['macro_f1'] * 100:.1f}",
                    _number(entry.get("corruption_error")),
                    _number(entry.get("relative_corruption_error")),
                    gain,
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    heading = (
        f"{result['dataset']}, {result['split']} split, {result['n']} images, {result['precision']}: accuracy in % by "
        f"severity; CE: corruption error, 1 is {result['baseline']}'s; gain: points of accuracy over it, in brackets "
        f"95% of {RESAMPLES} bootstrap resamples"
    )
    return "\n".join([heading, *lines])


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
    are_cut = dataset.partition(":")[0] not in CROPS
    first: tuple[Any, ...] | None = None
    for name, model in models.items():
        template, spec = model.alignment.template, model.alignment.spec
        crops = (template, spec.width, spec.height, spec.color) if are_cut else (template,)
        if crops != (first := first or crops):
            raise FerError(f"--stress: {name} takes other crops than {next(iter(models))}: measure them one by one")


def _gain(hits: npt.NDArray[np.bool_], baseline: npt.NDArray[np.bool_], index: int) -> dict[str, Any]:
    """How much more often a model is right than the baseline on the same pictures; nothing for the baseline itself.

    :param hits: (severities, n).
    """
    if index == 0:
        return {}
    gains = hits.mean(axis=0) - baseline.mean(axis=0)
    n = len(gains)
    rng = np.random.default_rng(0)
    means = np.array([rng.multinomial(n, np.full(n, 1 / n)) @ gains for _ in range(RESAMPLES)]) / n
    return {"gain": float(gains.mean()), "interval": interval(means)}


def _ratio(value: float, baseline: float) -> float | None:
    """None where the baseline has no (added) error, as then no error can be relative to it."""
    return float(value / baseline) if baseline > 1e-9 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
