"""The criteria of pruning side by side: the same network, images, target and fine-tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fer_perception.evaluation.results import Result, ResultFile
from fer_training.reporting.markdown import table
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import CRITERIA, TrainConfig
from fer_training.runs.folder import BEST
from fer_training.training.pruning.schedule import prune

FOLDER = "criteria"


class CriterionResult(Result):
    """One criterion, on the validation split."""

    criterion: str
    macs_fraction: float
    accuracy_of_start: float
    accuracy_before_fine_tuning: float
    accuracy: float
    macro_f1: float


class CriteriaResult(ResultFile):
    """What ``prune --compare`` writes. ``epochs``: of fine-tuning."""

    written_by = "python -m fer_training prune --compare"
    epochs: int
    criteria: list[CriterionResult]


def compare_criteria(config: TrainConfig) -> Path:
    """Prune once by each criterion, to ``pruning.macs`` in one step, and fine-tune for ``pruning.step_epochs``.

    The runs lie in the folder ``criteria`` of the run's folder, with the table as ``criteria.json`` and
    ``criteria.md``. An interrupted comparison goes on when it is started again.

    :return: the file ``criteria.md``.
    :raises FerError: as :func:`fer_training.training.pruning.prune`.
    """
    folder = config.run_folder / FOLDER
    found = []
    for criterion in CRITERIA:
        settings = replace(config.pruning, criterion=criterion, steps=1)
        run = prune(
            replace(config, name=criterion, out=str(folder), epochs=config.pruning.step_epochs, pruning=settings)
        )
        facts = load_checkpoint(run / BEST)[1]
        pruning = {key: facts["pruning"][key] for key in CriterionResult.model_fields if key in facts["pruning"]}
        metrics = {key: facts["validation"][key] for key in ("accuracy", "macro_f1")}
        found.append(CriterionResult.model_validate({**pruning, **metrics}))
    result = CriteriaResult(epochs=config.pruning.step_epochs, criteria=found)
    result.write(folder / "criteria.json")
    file = folder / "criteria.md"
    file.write_text("\n".join([*_table(result), ""]), encoding="utf-8")
    return file


def _table(result: CriteriaResult) -> list[str]:
    keys = ("macs_fraction", "accuracy_before_fine_tuning", "accuracy", "macro_f1")
    header = ("criterion", "MACs left", "accuracy before fine-tuning", f"after {result.epochs} epochs", "macro-F1")
    rows = [(row.criterion, *(f"{getattr(row, key) * 100:.1f}%" for key in keys)) for row in result.criteria]
    return table(header, rows)
