"""The criteria of pruning side by side: the same network, images, target and fine-tuning."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_training.reporting.markdown import table
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import CRITERIA, TrainConfig
from fer_training.runs.folder import BEST
from fer_training.training.pruning.schedule import prune

FOLDER = "criteria"


def compare_criteria(config: TrainConfig) -> Path:
    """Prune once by each criterion, to ``pruning.macs`` in one step, and fine-tune for ``pruning.step_epochs``.

    The runs lie in the folder ``criteria`` of the run's folder, with the table as ``criteria.json`` and
    ``criteria.md``. An interrupted comparison goes on when it is started again.

    :return: the file ``criteria.md``.
    :raises FerError: as :func:`fer_training.training.pruning.prune`.
    """
    folder = config.run_folder / FOLDER
    rows = []
    for criterion in CRITERIA:
        settings = replace(config.pruning, criterion=criterion, steps=1)
        run = prune(
            replace(config, name=criterion, out=str(folder), epochs=config.pruning.step_epochs, pruning=settings)
        )
        rows.append(_row(criterion, load_checkpoint(run / BEST)[1]))
    (folder / "criteria.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    file = folder / "criteria.md"
    file.write_text("\n".join([*_table(rows, config), ""]), encoding="utf-8")
    return file


def _row(criterion: str, facts: dict[str, Any]) -> dict[str, Any]:
    pruning, validation = facts["pruning"], facts["validation"]
    return {
        "criterion": criterion,
        "macs_share": pruning["macs_share"],
        "accuracy_of_start": pruning["accuracy_of_start"],
        "accuracy_before_fine_tuning": pruning["accuracy_before_fine_tuning"],
        "accuracy": validation["accuracy"],
        "macro_f1": validation["macro_f1"],
    }


def _table(rows: list[dict[str, Any]], config: TrainConfig) -> list[str]:
    keys = ("macs_share", "accuracy_before_fine_tuning", "accuracy", "macro_f1")
    return table(
        (
            *("criterion", "MACs left", "accuracy before fine-tuning"),
            f"after {config.pruning.step_epochs} epochs",
            "macro-F1",
        ),
        [(row["criterion"], *(f"{row[key] * 100:.1f}%" for key in keys)) for row in rows],
    )
