"""What lies in a dataset's folder and is not read: it is named, with counts."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path, PurePath

from fer_perception.files import is_litter
from fer_training.datasets.files.trees import entries
from fer_training.datasets.keypoints import CACHE_FILES
from fer_training.datasets.photographs import IMAGE_SUFFIXES

GROUPS = 6  # in a message
EXAMPLES = 2

log = logging.getLogger(__name__)


def name_unused(path: Path, used: Collection[Path]) -> None:
    """Warn of the files at a dataset's path that are not used in any split, once in a process.

    :param path: as the user gave it. Of a file, only images that lie beside used ones are looked at.
    """
    files = {Path(os.path.normpath(file)) for file in used}
    path = Path(os.path.normpath(path))
    unused = [file for file in _all_files(path, files) if file not in files]
    if not unused:
        return
    folders_in_use = {path} | {parent for file in files for parent in file.parents}
    groups: dict[Path, list[Path]] = defaultdict(list)
    for file in unused:
        # The highest folder of which nothing is used, or else the one that the file lies in.
        inside = [folder for folder in file.parents if folder.is_relative_to(path)][::-1]
        groups[next((folder for folder in inside if folder not in folders_in_use), file.parent)].append(file)
    named = [_describe(folder, path, found) for folder, found in sorted(groups.items(), key=_most_first)]
    more = f"; and in {len(named) - GROUPS} more folders" if len(named) > GROUPS else ""
    _warn_once(
        f"{path}: {len(unused)} file(s) not used: {'; '.join(named[:GROUPS])}{more}. The layouts that are read are in "
        "docs/training.md"
    )


def _most_first(group: tuple[Path, list[Path]]) -> tuple[int, Path]:
    return -len(group[1]), group[0]


@cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


def _describe(folder: Path, root: Path, files: list[Path]) -> str:
    name = f"{folder.relative_to(root)}/" if folder.is_relative_to(root) and folder != root else f"{folder}/"
    examples = ", ".join(file.name for file in files[:EXAMPLES]) + (", ..." if len(files) > EXAMPLES else "")
    return f"{len(files)} in {name} ({examples})"


def _all_files(path: Path, used: Collection[Path]) -> Iterator[Path]:
    if not path.is_dir():
        for folder in sorted({file.parent for file in used if file.suffix.lower() in IMAGE_SUFFIXES}):
            if folder.is_dir():
                yield from (file for file in entries(folder) if file.suffix.lower() in IMAGE_SUFFIXES)
        return
    visited = set()  # by their true place: links may lead in a circle
    for here, folders, files in os.walk(path, followlinks=True):
        place = os.path.realpath(here)
        folders[:] = [] if place in visited else sorted(name for name in folders if not is_litter(name))
        if place not in visited:
            names = (name for name in sorted(files) if not (is_litter(name) or PurePath(name).match(CACHE_FILES)))
            yield from (Path(here, name) for name in names)
        visited.add(place)
