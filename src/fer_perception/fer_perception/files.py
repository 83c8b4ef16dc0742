"""Files: their hash, writing them whole or not at all, YAML, and the cache folder."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from platformdirs import user_cache_path

from fer_perception.errors import FerError

CHUNK = 1 << 20
# What operating systems leave behind; hidden files, too.
LITTER = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin", "system volume information")
MOST_NAMED = 5


def sha256_of(file: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(file, "rb") as stream:
        digest = hashlib.sha256()
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            digest.update(chunk)
        return digest.hexdigest()


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an operating system."""
    return name.startswith(".") or name.lower() in LITTER


def visible_entries(folder: Path) -> list[Path]:
    """What lies in a folder, without :func:`is_litter`. Numbers in names count as such: frame2 is before frame10."""

    def parts(entry: Path) -> tuple[list[str | int], str]:
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", entry.name)], entry.name

    return sorted((entry for entry in folder.iterdir() if not is_litter(entry.name)), key=parts)


def some_names(files: Sequence[Path]) -> str:
    """The names of the first of some files, and how many more there are."""
    more = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
    return ", ".join(file.name for file in files[:MOST_NAMED]) + more


def cache_folder() -> Path:
    """The user's folder for what can be made or fetched again: ``$XDG_CACHE_HOME/fer_perception``, else
    ``~/.cache/fer_perception``.
    """
    return user_cache_path("fer_perception")


@contextmanager
def written_atomically(file: Path) -> Iterator[Path]:
    """The path of a temporary file beside ``file``, which replaces it when the block has written it.

    After an exception in the block the old file is left as it was and the temporary one is removed. A killed process
    leaves the old file as well.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or the user's share of it."""
    # Writers in C++ put the system's words into errors of their own.
    told = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full")
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in told)


@contextmanager
def room_in(folder: Path, remedy: str) -> Iterator[None]:
    """Name the folder and the remedy where the block finds the disk full.

    :raises FerError: it does.
    """
    try:
        yield
    except FerError:
        raise
    except Exception as error:
        if is_full(error):
            raise FerError(f"{folder}: the disk is full. Free some space, or {remedy}") from error
        raise


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Name the folder and the remedy where the block, which makes it or empties it, is not let.

    :raises FerError: it is not.
    """
    try:
        yield
    except OSError as error:
        raise FerError(f"{folder}: cannot be written ({error.strerror}). Choose another --out") from error


class _Dumper(yaml.SafeDumper):
    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        inline = not any(isinstance(item, (dict, list)) for item in sequence)
        return super().represent_sequence(tag, sequence, inline or flow_style)


def yaml_text(content: object) -> str:
    """YAML with a list of plain values in one line; keys keep their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
