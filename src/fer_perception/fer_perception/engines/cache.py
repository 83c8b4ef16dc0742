"""What takes long to make, on disk, so that it is made once: built engines, and what was measured to be fastest. In
``engines`` of the user's cache folder, which can be deleted at any time.

Each entry is two files: ``STEM.engine`` and ``STEM.json``, which says what it was made of, its tensors and its SHA-256.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fer_perception.files import cache_folder, written_atomically

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1

# What an engine was made of: plain values of JSON. Engines are used only where all of it is the same.
Facts = dict[str, Any]


class Entry(NamedTuple):
    """An engine as it is stored. ``details``: plain values of JSON that are no part of its identity."""

    data: bytes
    details: Facts


class EngineCache:
    """Engines by what they were made of.

    An entry that is truncated, foreign or made of anything else is not used and never an error, and what cannot be
    written is a warning that says what to do. Files are written beside and renamed, so nobody reads half of one.

    :param folder: another folder than the user's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "engines"

    def load(self, stem: str, facts: Facts) -> Entry | None:
        """An entry; None where there is none that can be used."""
        engine, description = self._files(stem, facts)
        try:
            if not (engine.is_file() and description.is_file()):
                return None
            found = json.loads(description.read_bytes())
            data = engine.read_bytes()
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: not used (%s)", engine, error)
            return None
        wanted = {**_identity(facts), "sha256": hashlib.sha256(data).hexdigest()}
        if not isinstance(found, dict) or not isinstance(found.get("details"), dict):
            found = {}
        differing = [name for name, value in wanted.items() if found.get(name) != value]
        if differing:
            log.warning("%s: not used, it is damaged or of something else (%s)", engine, ", ".join(differing))
            return None
        return Entry(data, found["details"])

    def store(self, stem: str, facts: Facts, entry: Entry) -> Path | None:
        """Write an entry; None, after a warning, where that is not possible."""
        engine, description = self._files(stem, facts)
        content = {**_identity(facts), "sha256": hashlib.sha256(entry.data).hexdigest(), "details": entry.details}
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(engine, entry.data)
            _write(description, json.dumps(content, indent=2).encode() + b"\n")
        except OSError as error:
            log.warning(
                "%s: cannot be written (%s), so it is made again at each start. Free some disk, make the folder "
                "writable, or set XDG_CACHE_HOME to another folder",
                engine,
                error.strerror or error,
            )
            return None
        return engine

    def path(self, stem: str, facts: Facts) -> Path:
        """Where the engine with these facts lies, or would lie."""
        return self._files(stem, facts)[0]

    def discard(self, stem: str, facts: Facts) -> None:
        """Forget an entry that turned out to be unusable."""
        for file in self._files(stem, facts):
            with suppress(OSError):
                file.unlink()

    @contextmanager
    def lock(self, stem: str, facts: Facts) -> Iterator[None]:
        """Only one process at a time is inside for these facts; the next one finds what this one stored. Where the
        folder takes no locks, all go on at once, which costs time only.
        """
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._files(stem, facts)[0].with_suffix(".lock")
        with ExitStack() as stack:
            with suppress(OSError):
                stream = stack.enter_context(open(file, "ab"))
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    log.info("waiting for another process that makes %s", file.with_suffix(".engine"))
                    fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _files(self, stem: str, facts: Facts) -> tuple[Path, Path]:
        digest = hashlib.sha256(json.dumps(_identity(facts), sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{stem}-{digest}.engine", self.folder / f"{stem}-{digest}.json"


def _identity(facts: Facts) -> Facts:
    return {"schema_version": SCHEMA_VERSION, "facts": facts}


def _write(file: Path, data: bytes) -> None:
    with written_atomically(file) as temporary:
        temporary.write_bytes(data)
