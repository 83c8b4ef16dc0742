"""How well models bear pictures that are worse than those of the datasets, for ``evaluate --stress``."""

from fer_training.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from fer_training.evaluation.robustness.stress import evaluate_stress, format_stress

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt", "evaluate_stress", "format_stress"]
