"""Means over pictures, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fer_perception.evaluation.metrics import RESAMPLES, interval


def mean_and_interval(values: npt.ArrayLike) -> dict[str, Any]:
    """``mean`` over the finite of N values, ``n`` of them, and the 95% bootstrap ``interval`` over the pictures.

    The interval is None for fewer than two values, the mean too for none.
    """
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    count = len(found)
    if count < 2:
        return {"n": count, "mean": float(found[0]) if count else None, "interval": None}
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return {"n": count, "mean": float(found.mean()), "interval": interval(draws @ found / count)}
