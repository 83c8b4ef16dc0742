"""Labelled images in folders that are called like emotions: ``happy/*.jpg`` and so on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from fer_perception.errors import SourceError
from fer_perception.files import some_names, visible_entries
from fer_perception.images.sources import IMAGE_SUFFIXES
from fer_perception.labels import EMOTIONS_8, emotion_of_folder
from fer_perception.splits import split_named

log = logging.getLogger(__name__)


def images_of_classes(top: Path) -> list[tuple[Path, str]]:
    """The images in a folder's class folders and in those inside them, with their labels.

    Class folders are called as in :func:`fer_perception.labels.emotion_of_folder`. The log names what else is there.

    :returns: empty where the folder has neither class folders nor others that could be meant so.
    :raises SourceError: its folders are numbers, or splits of a dataset.
    """
    entries = visible_entries(top)
    folders = [entry for entry in entries if entry.is_dir()]
    labels = {folder: label for folder in folders if (label := emotion_of_folder(folder.name))}
    if folders and not labels:
        _refuse(top, [folder.name for folder in folders])
    if not labels:
        return []
    found: list[tuple[Path, str]] = []
    unused = [entry for entry in entries if entry not in labels]
    for folder, label in labels.items():
        for file in _files_below(folder):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                found.append((file, label))
            else:
                unused.append(file)
    if unused:
        log.warning("%s: left out, as they are no images in folders called like emotions: %s", top, some_names(unused))
    return found


def _refuse(top: Path, names: list[str]) -> None:
    listed = ", ".join(names[:10])
    if all(name.isdecimal() for name in names):
        raise SourceError(
            f"{top}: its folders are called {listed}, and what numbers mean differs between datasets. Call them like "
            f"emotions: {', '.join(EMOTIONS_8)}"
        )
    if splits := [name for name in names if split_named(name)]:
        raise SourceError(f"{top}: holds the splits {', '.join(splits)}. Give one of these folders")


def _files_below(folder: Path) -> Iterator[Path]:
    for entry in visible_entries(folder):
        if entry.is_dir():
            yield from _files_below(entry)
        else:
            yield entry
