"""Labelled images that a table lists."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from pathlib import Path

from fer_perception.csv_table import read_table
from fer_perception.errors import SourceError
from fer_perception.labels import ALIASES, EMOTIONS_8, emotion_named

KNOWN = re.compile("image|emotion|label|split")

log = logging.getLogger(__name__)


def labelled_images(file: Path, split: str = "") -> list[tuple[Path, str]]:
    """The images of a CSV with the columns image and emotion (or label), and their labels, in its order.

    An image's path begins at the CSV, or at ``images`` beside it. Rows without an emotion of the suite are left out;
    the log says how many, and what they have instead.

    :param split: only rows with this in the column ``split``; empty: all.
    :raises SourceError: the file cannot be used, or no row.
    """
    try:
        columns, rows = read_table(file, KNOWN)
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{file}: cannot be read ({error}). Give the path of a CSV in UTF-8") from error
    name = "emotion" if "emotion" in columns else "label"
    if not {"image", name} <= set(columns):
        raise SourceError(f"{file}: needs the columns image and emotion. It has {', '.join(columns) or 'none'}")
    found, unusable = [], Counter[str]()
    for _, cells in rows:
        if split and cells.get("split") != split:
            continue
        image, word = cells.get("image", ""), cells.get(name, "")
        label = emotion_named(word)
        if not image or label is None:
            unusable[f"'{word[:40]}'" if image else "no image"] += 1
            continue
        beside = file.parent / image
        found.append((beside if beside.exists() else file.parent / "images" / image, label))
    left_out = ""
    if unusable:
        listed = ", ".join(f"{word} ({count})" for word, count in unusable.most_common(10))
        left_out = f"{unusable.total()} rows without an emotion of {', '.join((*EMOTIONS_8, *ALIASES))}: {listed}"
        log.warning("%s: left out: %s", file, left_out)
    if not found:
        of_split = f" of the split '{split}'" if split else ""
        raise SourceError(f"{file}: lists no image{of_split} that can be used. {left_out}".rstrip())
    return found
