"""Files: their hash, and writing them whole or not at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNK = 1 << 20


def sha256_of(file: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(file, "rb") as stream:
        digest = hashlib.sha256()
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            digest.update(chunk)
        return digest.hexdigest()


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
