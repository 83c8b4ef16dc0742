"""What the bundles' manifests hold, as a report needs it, and its values as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fer_perception.errors import FerError
from fer_perception.models.bundle import MANIFEST, Bundle, Manifest

NOT_MEASURED, NOT_RECORDED = "not measured", "not recorded"


IN_TRAINING = "fp32, in training"


class PriorFigures(BaseModel):
    """What balanced predictions change, of one prior."""

    model_config = ConfigDict(frozen=True)

    strength: float
    accuracy: float
    mean_recall: float
    macro_f1: float
    recall: dict[str, float | None] = {}


class Figures(BaseModel):
    """The metrics of one evaluation that a report needs; what else is there is ignored."""

    model_config = ConfigDict(frozen=True)

    n: int
    accuracy: float
    macro_f1: float | None = None
    macro_f1_common: float | None = None
    auroc: float | None = None
    ece: float | None = None
    temperature: float | None = None
    intervals: dict[str, tuple[float, float]] = {}
    recall: dict[str, float | None] = {}
    confusion: list[list[int]] = []
    left_out: dict[str, int] = {}
    unused_labels: list[str] = []
    flip: Figures | None = None
    priors: dict[str, PriorFigures] = {}


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
    earlier_recipes: list[dict[str, Any]] = []  # of the run that it starts from, and so on

    @property
    def recipes(self) -> list[dict[str, Any]]:
        """All of them, the last first."""
        return [self.recipe, *self.earlier_recipes]


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
    return Entry(folder, manifest, training, figures)


def names_in(recipes: list[dict[str, Any]], key: str) -> list[str]:
    """The texts under a key of recipes and of their sections, and in lists there, without the empty ones."""
    values = [
        part.get(key)
        for recipe in recipes
        for part in (recipe, *(section for section in recipe.values() if isinstance(section, dict)))
    ]
    names = [name for value in values for name in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def network_name(network: Any, short: bool = False) -> str:
    """A recipe's network with its options; short: with its backbone alone."""
    if not isinstance(network, dict) or "name" not in network:
        return NOT_RECORDED
    options = network.get("options") or {}
    if short:
        return f"{network['name']} on {options['backbone']}" if "backbone" in options else str(network["name"])
    return f"`{network['name']}`" + (f": {value_text(options)}" if options else "")


def value_text(value: Any) -> str:
    """Any value of a recipe as Markdown."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {value_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if isinstance(value, str) else str(value)


def count_text(count: int | None) -> str:
    """With separators of thousands."""
    return NOT_RECORDED if count is None else f"{count:,}"


def percent_text(figures: Figures | None, metric: str) -> str:
    """A metric in percent, or that it was not measured."""
    if figures is None or metric not in figures.model_fields_set:
        return NOT_MEASURED
    value = getattr(figures, metric)
    return "not defined" if value is None else f"{value * 100:.2f}%"  # AUROC, where fewer than two emotions occur


def interval_text(figures: Figures, metric: str) -> str:
    """A metric's 95% interval in percent."""
    if metric not in figures.intervals:
        return NOT_MEASURED
    low, high = figures.intervals[metric]
    return f"{low * 100:.2f}% to {high * 100:.2f}%"
