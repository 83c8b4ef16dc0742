"""A run's folder: configuration, checkpoints, history."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.files import written_atomically
from fer_training.networks import NETWORKS
from fer_training.networks.heads import keep_logits
from fer_training.runs.checkpoint import load_checkpoint, load_weights
from fer_training.runs.config import TrainConfig, load_config, save_config

LAST, BEST, HISTORY, CURVES, CONFIG = (
    "last.safetensors",
    "best.safetensors",
    "history.csv",
    "curves.png",
    "config.yaml",
)

FREQUENCIES = "label_frequencies"  # of a checkpoint's facts: see fer_training.training.sampling.learnt_frequencies

log = logging.getLogger(__name__)

Row = dict[str, float]


def build_network(config: TrainConfig, num_classes: int) -> nn.Module:
    """The configured network with random weights.

    :raises FerError: unknown network or option.
    """
    if config.network.name not in NETWORKS:
        raise FerError(f"network '{config.network.name}' is unknown, known are {', '.join(sorted(NETWORKS))}")
    try:
        return NETWORKS[config.network.name](
            num_classes=num_classes, in_channels=config.input.spec().channels, **config.network.options
        )
    except TypeError as error:
        raise FerError(f"network '{config.network.name}': {error}. Mend network.options") from error


def heads(facts: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The labels of each of a run's label sets, by their dataset; of the first one are its predictions."""
    return {name: tuple(labels) for name, labels in facts.get("heads", {"": facts["labels"]}).items()}


def outputs(heads: Mapping[str, Sequence[str]]) -> int:
    """How many logits a network has for these label sets."""
    return sum(map(len, heads.values()))


def load_run(folder: Path, config: TrainConfig) -> tuple[nn.Module, dict[str, Any]]:
    """The selected network of a finished or running training, in evaluation mode, and the facts saved with it."""
    groups, facts = load_checkpoint(folder / BEST)
    network = build_network(config, outputs(heads(facts)))
    load_weights(network, groups["network"], folder / BEST)
    return network.eval(), facts


def load_head(folder: Path, config: TrainConfig, labels_of: str = "") -> tuple[nn.Module, dict[str, Any]]:
    """As :func:`load_run`, of one label set alone: the network gives its logits, and ``labels``, ``validation`` and
    ``label_frequencies`` are its.

    :param labels_of: the dataset whose labels these are; of another dataset, the first set is taken.
    """
    network, facts = load_run(folder, config)
    label_sets = heads(facts)
    if len(label_sets) == 1:
        return network, facts
    names = [*label_sets]
    name = labels_of if labels_of in names else names[0]
    first = outputs({before: label_sets[before] for before in names[: names.index(name)]})
    columns = slice(first, first + len(label_sets[name]))
    keep_logits(network, columns)
    own = {"labels": list(label_sets[name]), "validation": facts["validation_of"][name]}
    if FREQUENCIES in facts:
        own[FREQUENCIES] = facts[FREQUENCIES][columns]
    return network, {**facts, **own}


def require_labels(run: Path, facts: Mapping[str, Any], data: str, label_sets: Mapping[str, Sequence[str]]) -> None:
    """Check that a run has learnt the labels that data have.

    :raises FerError: it has not.
    """
    if [*heads(facts).values()] != [tuple(labels) for labels in label_sets.values()]:
        raise FerError(f"{data}: has other labels than {run}. Give the data that it was trained on")


def open_run(config: TrainConfig, is_writer: bool) -> tuple[dict[str, dict[str, Tensor]], int]:
    """The run's last checkpoint, and the number of its finished epochs: empty and 0 in a new folder.

    :param is_writer: write the configuration into a new folder.
    :raises FerError: the folder holds a run of another configuration, or a damaged checkpoint.
    """
    folder = config.run_folder
    last, settings = folder / LAST, folder / CONFIG
    if not last.exists():
        if is_writer:
            folder.mkdir(parents=True, exist_ok=True)
            save_config(config, settings)
        return {}, 0
    before, now = asdict(load_config(settings)), asdict(config)
    changed = sorted(key for key in now if now[key] != before[key] and key not in ("threads", "device", "out"))
    if changed:
        raise FerError(
            f"{folder}: holds a run with other values of {', '.join(changed)}. Give the run another name, or delete "
            "the folder"
        )
    groups, values = load_checkpoint(last)
    log.info("%s: going on after epoch %d", folder, values["epochs_done"])
    return groups, int(values["epochs_done"])


def read_history(file: Path, epochs: int) -> list[Row]:
    """The first ``epochs`` rows, by column."""
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)][:epochs]


def write_history(file: Path, history: list[Row]) -> None:
    """Write all rows, atomically. Numbers are written so that they are read back exactly."""
    with written_atomically(file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(history[0]))
        writer.writeheader()
        writer.writerows(_texts(row) for row in history)


def _texts(row: Mapping[str, float]) -> dict[str, str]:
    return {key: str(int(value)) if key == "epoch" else repr(float(value)) for key, value in row.items()}
