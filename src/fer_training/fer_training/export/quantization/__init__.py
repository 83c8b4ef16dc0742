"""Files of lower precision for a bundle: the verb ``quantize``."""

from __future__ import annotations

from fer_training.export.quantization.bundles import quantize

__all__ = ["quantize"]
