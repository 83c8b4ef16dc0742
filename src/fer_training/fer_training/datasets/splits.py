"""Held-out splits for datasets that come without a validation or test split."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

SHARE = 0.1


def held_out(keys: Iterable[str]) -> set[str]:
    """A tenth of the keys, at least one: the same ones on every machine, whatever the order.

    :param keys: one for each image: the person where the dataset names one, else the image's name.
    """
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    return set(ranked[: math.ceil(SHARE * len(ranked))])
