"""Labelled images that a table lists."""

from __future__ import annotations

import csv
from pathlib import Path

from fer_perception.errors import SourceError
from fer_perception.labels import ALIASES, EMOTIONS_8, emotion_named


def labelled_images(file: Path, split: str = "") -> list[tuple[Path, str]]:
    """The images of a CSV with the columns image and emotion, and their labels, in its order.

    An image's path begins at the CSV, or at ``images`` beside it.

    :param split: only rows with this in the column ``split``; empty: all.
    :raises SourceError: the file or a row cannot be used, or there is none.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{file}: cannot be read ({error}). Give the path of a CSV in UTF-8") from error
    found = []
    for line, row in enumerate(rows, 2):
        if split and row.get("split") != split:
            continue
        image, word = row.get("image") or "", row.get("emotion") or ""
        label = emotion_named(word)
        if not image or label is None:
            raise SourceError(
                f"{file}, line {line}: image is '{image}' and emotion '{word}'. It needs the columns image and "
                f"emotion, with one of {', '.join(EMOTIONS_8)} (or {', '.join(ALIASES)})"
            )
        beside = file.parent / image
        found.append((beside if beside.exists() else file.parent / "images" / image, label))
    if not found:
        raise SourceError(f"{file}: lists no image" + (f" of the split '{split}'" if split else ""))
    return found
