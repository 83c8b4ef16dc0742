"""How well models do on images that are worse than those of the datasets, for the verb ``stress``."""

from fer_training.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from fer_training.evaluation.robustness.stress import evaluate_stress, format_stress

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt", "evaluate_stress", "format_stress"]
