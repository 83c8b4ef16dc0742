"""The names of the splits of datasets, as folders, columns and releases call them."""

from __future__ import annotations

import re
from typing import Literal, get_args

# "adapt" holds images for unsupervised adaptation; only manifests have it. Its labels are there to measure with.
Split = Literal["train", "val", "test", "adapt"]
SPLITS: tuple[Split, ...] = get_args(Split)

# PublicTest and PrivateTest are FER2013's.
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


def split_named(word: str | None) -> Split | None:
    """The split that a word means, or None: train_set, Validation, FER2013Test; case and punctuation are the same."""
    plain = re.sub(r"[\W_]", "", (word or "").lower()).removeprefix("fer2013")
    for ending in ("set", "data", "images"):
        plain = plain.removesuffix(ending)
    return WORDS.get(plain)
