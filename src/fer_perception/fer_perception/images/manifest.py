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
from fer_perception.splits import split_named

KNOWN = re.compile("image|emotion|label|split")
MOST_NAMED = 10

log = logging.getLogger(__name__)


def labelled_images(file: Path, split: str = "") -> list[tuple[Path, str]]:
    """The images of a CSV with the columns image and emotion (or label), and their labels, in its order.

    An image's path begins at the CSV, or at ``images`` beside it. Rows without an emotion of the suite or without their
    image are left out; the log says how many, and what they have instead.

    :param split: only rows of this split, by any of its usual names (:mod:`fer_perception.splits`); empty: all.
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
        if split and _plain(cells.get("split", "")) != _plain(split):
            continue
        image, word = cells.get("image", ""), cells.get(name, "")
        label, path = emotion_named(word), _find(file.parent, image)
        if label is None:
            unusable[f"'{word[:40]}' is no emotion"] += 1
        elif path is None:
            unusable[f"{image} is missing" if image else "no image is named"] += 1
        else:
            found.append((path, label))
    left_out = ""
    if unusable:
        more = ", ..." if len(unusable) > MOST_NAMED else ""
        listed = ", ".join(f"{reason} ({count})" for reason, count in unusable.most_common(MOST_NAMED))
        left_out = f"{unusable.total()} rows cannot be used: {listed}{more}"
        left_out += f". Emotions are {', '.join((*EMOTIONS_8, *ALIASES))}" if "is no emotion" in listed else ""
        log.warning("%s: left out: %s", file, left_out)
    if not found:
        of_split = f" of the split '{split}'" if split else ""
        raise SourceError(f"{file}: lists no image{of_split} that can be used. {left_out}".rstrip())
    return found


def _plain(split: str) -> str:
    return split_named(split) or split.lower()


def _find(folder: Path, image: str) -> Path | None:
    return next((path for path in (folder / image, folder / "images" / image) if path.is_file()), None)
