"""Structural pruning: the verb ``prune``, on the library Torch-Pruning."""

from __future__ import annotations

from fer_training.training.pruning.comparison import compare_criteria
from fer_training.training.pruning.schedule import prune

__all__ = ["compare_criteria", "prune"]
