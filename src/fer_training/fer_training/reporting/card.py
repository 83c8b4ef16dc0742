"""A bundle's model card, from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fer_perception.models.bundle import Manifest, ModelFile
from fer_training.reporting.entries import (
    NOT_MEASURED,
    NOT_RECORDED,
    Entry,
    Evaluation,
    Figures,
    Training,
    count_text,
    interval_text,
    names_in,
    network_name,
    percent_text,
    value_text,
)
from fer_training.reporting.markdown import bullets, table, wrapped
from fer_training.reporting.sources import INTENDED_USE, LIMITS, UNKNOWN, datasets_in, source_of

# What a model is made from, by the recipe's key.
INGREDIENTS = {
    "data": "Training data",
    "target": "Unlabelled training data",  # until 0.3
    "targets": "Unlabelled training data",
    "unlabelled": "Unlabelled training data",
    "pretrained": "First weights",
    "soft_targets": "Soft targets",
}


METRICS = (
    "Intervals are 95%, by bootstrap. Macro-F1 is over the emotions that occur, then over those with at least 1% of "
    "the images, AUROC one emotion against the rest, ECE the expected calibration error at the temperature of its row. "
    "Weights and temperature are chosen by means of `val`: only `test` is unseen."
)
PRIORS = (
    "The figures above are of predictions with the label frequencies of the training data. By default (`prior: "
    "balanced`) a node takes out as much of them as `strength` says: emotions that were rare there are found more "
    "often, and emotions that were frequent less often. The strength is chosen by mean recall on `val`. Recall by "
    "emotion:"
)
OVERVIEW = (
    *Evaluation._fields,
    *("images", "accuracy", "95% interval", "macro-F1", "95% interval", "of common emotions", "AUROC", "ECE"),
    "temperature",
)
BY_PRIOR = (*Evaluation._fields, "prior", "strength", "accuracy", "mean recall", "macro-F1")

# Sections of a recipe that do nothing while these keys are empty.
SWITCHES = {"distillation": ("soft_targets", "unlabelled"), "adaptation": ("target", "targets"), "pruning": ("start",)}


def format_card(entry: Entry) -> str:
    """A bundle's model card, as Markdown."""
    manifest = entry.manifest
    use = (
        "```bash",
        f"ros2 launch fer_perception fer.launch.py source:=0 model:=path/to/{manifest.name}",
        "```",
        "",
        "```python",
        "from fer_perception.emotions.classifier import EmotionClassifier",
        "",
        f'classifier = EmotionClassifier("path/to/{manifest.name}")',
        "probabilities = classifier.classify([face])  # uint8 (H, W) grey or (H, W, 3) RGB, aligned",
        "```",
    )
    lines = [
        *(f"# {manifest.name}", ""),
        *wrapped(
            f"Reads which of {len(manifest.labels)} expressions a face shows, from one aligned image of the face. A "
            "model bundle of the FER suite for ROS 2 robots: ONNX files that `fer_perception` serves."
        ),
        *("", *_network(entry), ""),
        *table(
            ("precision", "file", "SHA-256"),
            [(name, f"`{file.name}`", f"`{file.sha256}`") for name, file in _files(entry)],
        ),
        *("", "## Use", "", *use, ""),
        *("## Intended use", "", *bullets(INTENDED_USE), ""),
    ]
    parts = (_training(entry.training), _metrics(entry), _limits(entry), _licences(entry.training))
    return "\n".join([*lines, *(line for part in parts for line in part)])


def _network(entry: Entry) -> list[str]:
    manifest, spec = entry.manifest, entry.manifest.input
    return table(
        ("", ""),
        [
            ("network", network_name(entry.training.recipe.get("network"))),
            (
                "input",
                f"face of {spec.width} x {spec.height} pixels, {spec.color}, aligned by eyes and mouth; mean "
                f"{value_text(spec.mean)} and standard deviation {value_text(spec.std)} of pixels in 0..1",
            ),
            ("output", f"probabilities of {', '.join(manifest.labels)}"),
            ("parameters", f"{manifest.parameters:,}"),
            ("multiply-accumulate operations (MACs) for a face", f"{manifest.macs:,}"),
            ("temperature (the logits are divided by it)", f"{manifest.temperature:g}"),
            *_frequencies(manifest),
        ],
    )


def _training(training: Training) -> list[str]:
    data = training.recipe.get("data")
    lines = [
        *("## Training", ""),
        f"Data: {f'`{data}`' if data else NOT_RECORDED}. Selected epoch: {training.selected_epoch or NOT_RECORDED}.",
        "",
    ]
    if training.data:
        splits = [
            (split, count_text(facts.images), f"`{facts.sha256}`" if facts.sha256 else NOT_RECORDED)
            for split, facts in training.data.items()
        ]
        lines += [*table(("split", "images", "SHA-256 over pixels and labels"), splits), ""]
    recipe = [*_recipe(training.recipe), *_facts(training.model_extra or {})]
    lines += [*table(("recipe", ""), recipe), ""] if recipe else [f"Recipe: {NOT_RECORDED}.", ""]
    for earlier in training.earlier_recipes:
        name = f"earlier recipe `{earlier.get('name', NOT_RECORDED)}`, {network_name(earlier.get('network'))}"
        lines += [*table((name, ""), _recipe(earlier)), ""]
    return lines


def _files(entry: Entry) -> list[tuple[str, ModelFile]]:
    """All ONNX files and what they are."""
    files: list[tuple[str, ModelFile]] = list(entry.manifest.files.items())
    if entry.manifest.attention:
        files.append(("fp32, attention map only", entry.manifest.attention))
    return files


def _frequencies(manifest: Manifest) -> list[tuple[str, str]]:
    if manifest.label_frequencies is None:
        return []
    pairs = zip(manifest.labels, manifest.label_frequencies, strict=True)
    text = ", ".join(f"{label} {frequency:.1%}" for label, frequency in pairs)
    return [
        ("label frequencies in the training data", text),
        ("of which balanced predictions take out", f"{manifest.prior_strength:g} (0: nothing, 1: all)"),
    ]


def _metrics(entry: Entry) -> list[str]:
    lines = ["## Metrics", ""]
    if not entry.figures:
        return [*lines, f"{NOT_MEASURED.capitalize()}.", ""]
    overview, recalls, priors, notes = [], [], [], []
    for evaluation, single in entry.figures.items():
        overview.append(_overview(evaluation.dataset, evaluation, single, single.temperature))
        if single.flip:
            dataset = f"{evaluation.dataset}, mean with mirror image"
            # The temperature belongs to both, and is recorded once.
            overview.append(_overview(dataset, evaluation, single.flip, single.temperature))
        recalls.append((*evaluation, *(_recall(single, label) for label in entry.manifest.labels)))
        priors += _priors(evaluation, single, entry.manifest.labels)
        notes += _notes(evaluation, single)
    return [
        *lines,
        *wrapped(METRICS),
        "",
        *table(OVERVIEW, overview),
        *("", "Recall by emotion, and the number of images that show it:", ""),
        *table((*Evaluation._fields, *entry.manifest.labels), recalls),
        "",
        *([*wrapped(PRIORS), "", *table((*BY_PRIOR, *entry.manifest.labels), priors), ""] if priors else []),
        *([*bullets(dict.fromkeys(notes)), ""] if notes else []),
    ]


def _overview(dataset: str, evaluation: Evaluation, figures: Figures, temperature: float | None) -> tuple[str, ...]:
    return (
        dataset,
        *evaluation[1:],
        count_text(figures.n),
        percent_text(figures, "accuracy"),
        interval_text(figures, "accuracy"),
        percent_text(figures, "macro_f1"),
        interval_text(figures, "macro_f1"),
        percent_text(figures, "macro_f1_common"),
        percent_text(figures, "auroc"),
        percent_text(figures, "ece"),
        NOT_RECORDED if temperature is None else f"{temperature:g}",
    )


def _priors(evaluation: Evaluation, figures: Figures, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each prior."""
    return [
        (
            *evaluation,
            prior,
            f"{found.strength:g}",
            *(f"{value:.2%}" for value in (found.accuracy, found.mean_recall, found.macro_f1)),
            *("-" if (recall := found.recall.get(label)) is None else f"{recall:.1%}" for label in labels),
        )
        for prior, found in figures.priors.items()
    ]


def _notes(evaluation: Evaluation, figures: Figures) -> list[str]:
    name, notes = f"{evaluation.dataset} {evaluation.split}", []
    if figures.left_out:
        counts = ", ".join(f"{count:,} of {label}" for label, count in figures.left_out.items())
        notes.append(f"{name}: images of labels that the model lacks are left out: {counts}.")
    if figures.unused_labels:
        notes.append(
            f"{name}: without {', '.join(figures.unused_labels)}, which the dataset lacks. The other probabilities sum "
            "to 1."
        )
    return notes


def _limits(entry: Entry) -> list[str]:
    names = [
        name for key in ("data", "target", "targets", "unlabelled") for name in names_in(entry.training.recipes, key)
    ]
    names += [evaluation.dataset for evaluation in entry.figures]
    datasets = dict.fromkeys(dataset for name in names for dataset in datasets_in(name))
    known = [(dataset, text) for dataset in datasets for text in source_of(dataset).limits]
    specific = dict.fromkeys(text.format(name=f"`{dataset}`") for dataset, text in known)
    return ["## Limits", "", *bullets([*LIMITS, *specific]), ""]


def _licences(training: Training) -> list[str]:
    lines = [
        "Weights: Apache-2.0, as the project. Whether the terms of what they were made from bind them, too, is for "
        "you to judge."
    ]
    earlier = [recipe.get("name") for recipe in training.earlier_recipes]
    for key, what in INGREDIENTS.items():
        names = [name for name in names_in(training.recipes, key) if name not in earlier]  # those of that are listed
        parts = dict.fromkeys(part for name in names for part in datasets_in(name))
        lines += [f"{what} `{part}`: {source_of(part).licence}." for part in parts]
    if not names_in(training.recipes, "data"):
        lines.append(f"Training data: {NOT_RECORDED}. Their licence is {UNKNOWN.licence}.")
    origin = "<!-- Written by `python -m fer_training report` from manifest.yaml: changes made here get lost. -->"
    return ["## Licences", "", *bullets(lines), "", origin, ""]


def _recipe(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    """Keys and values, without what the card says elsewhere and without sections that are switched off."""
    return _facts(
        {
            key: value
            for key, value in recipe.items()
            if key not in ("name", "data", "network", "input")
            and value not in ("", None)
            and not (key in SWITCHES and isinstance(value, dict) and not any(map(value.get, SWITCHES[key])))
        }
    )


def _facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f"`{key}`", value_text(value)) for key, value in facts.items()]


def _recall(figures: Figures, label: str) -> str:
    counts = dict(zip(figures.recall, map(sum, figures.confusion), strict=False))
    if label not in figures.recall:
        return NOT_MEASURED
    recall = figures.recall[label]
    if recall is None:
        return "does not occur"
    return f"{recall * 100:.1f}%" + (f" of {counts[label]:,}" if label in counts else "")
