"""The names of splits, and held-out ones for datasets that come without a validation or test split."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable

from fer_training.datasets.samples import Split

# As folders, columns and releases call them; PublicTest and PrivateTest are FER2013's.
WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "publictest": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
    "adapt": "adapt",
}
SHARE = 0.1


def split_named(word: str | None) -> Split | None:
    """The split that a word means, or None: train_set, Validation, FER2013Test; case and punctuation are the same."""
    plain = re.sub(r"[\W_]", "", (word or "").lower()).removeprefix("fer2013")
    for ending in ("set", "data", "images"):
        plain = plain.removesuffix(ending)
    return WORDS.get(plain)


def held_out(keys: Iterable[str]) -> set[str]:
    """A tenth of the keys, at least one: the same ones on every machine, whatever the order.

    :param keys: one for each image: the person where the dataset names one, else the image's name.
    """
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    return set(ranked[: math.ceil(SHARE * len(ranked))])
