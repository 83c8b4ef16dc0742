"""An append-only log of decisions in which tampering shows.

A folder of files ``audit-NNNNNN.jsonl``, one record a line, in canonical JSON. Every record holds its number, the hash
of the record before it and its own, which is the SHA-256 of all the rest of it: a chain through all files, as in
Schneier and Kelsey, *Secure Audit Logs to Support Computer Forensics* (1999). Whoever can write the folder can write a
whole new chain; that shows where the newest hash, the head, was noted down elsewhere. No record holds pixels.

Kinds of records: ``open`` begins a file, ``context`` says what decides (model, engine, parameters), ``decision`` what
was decided, ``dropped`` how many records were lost because they came too fast or could not be written, ``deleted``
which files were deleted for their age or size.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fer_perception.errors import FerError

log = logging.getLogger(__name__)

Record = dict[str, Any]

SCHEMA_VERSION = 1
FILE_NAME = re.compile(r"audit-(\d{6,})\.jsonl")
LOCK = ".lock"
GENESIS = "0" * 64

# Records that wait for the disk. At 30 a second, half a minute of a disk that hangs.
WAITING = 1000
# A power cut loses at most this much; a killed process only what waits.
SYNC_S = 1.0
# So that age can be told by file.
MAX_FILE_AGE_S = 86_400.0
DAY_S = 86_400.0
LOG_PERIOD_S = 60.0
DIGITS = 4
CONTEXT_LENGTH = 16


@dataclass(frozen=True)
class Limits:
    """When a new file is begun, and when old ones are deleted. ``keep_days``: 0 keeps them whatever their age."""

    file_bytes: int = 16_000_000
    total_bytes: int = 512_000_000
    keep_days: float = 30.0

    @classmethod
    def in_megabytes(cls, file_mb: int, total_mb: int, keep_days: float) -> Limits:
        """Limits in the units of the nodes' parameters."""
        return cls(file_mb * 1_000_000, total_mb * 1_000_000, keep_days)


class AuditLog:
    """Writes a folder's chain in a thread of its own, so that nobody waits for a disk.

    What cannot be written, or comes faster than it can be, is counted and told of by the next record that can.

    :raises FerError: the folder cannot be written, or another log writes it.
    """

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self._limits = limits or Limits()
        self._lock = _lock_folder(folder)
        self._waiting: queue.Queue[Record | None] = queue.Queue(WAITING)
        self._lost = 0
        self._lost_lock = threading.Lock()
        self._chain = _Chain(folder, self._limits)
        self._context: Record = {}
        self._complained_s = -LOG_PERIOD_S
        try:
            self._chain.begin_file({})
        except OSError as error:
            os.close(self._lock)
            raise FerError(_refusal(folder, error)) from error
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Records that were lost and not yet told of."""
        with self._lost_lock:
            return self._lost

    def put(self, kind: str, content: Record) -> None:
        """Append a record; returns at once.

        :param content: plain values of JSON, without NaN.
        """
        record = {"kind": kind, "time": _now(), **content}
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._lose(1)

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join()
        os.close(self._lock)

    def _lose(self, count: int) -> None:
        with self._lost_lock:
            self._lost += count

    def _work(self) -> None:
        synced_s = time.monotonic()
        while True:
            try:
                record = self._waiting.get(timeout=SYNC_S)
            except queue.Empty:
                record = {}
            if record is None:
                break
            if record:
                self._write(record)
            if time.monotonic() - synced_s > SYNC_S:
                self._chain.sync()
                synced_s = time.monotonic()
        if self.dropped:
            self._write({})
        self._chain.close()

    def _write(self, record: Record) -> None:
        """Write a record, after one that tells of those lost before; an empty one is only that."""
        lost = self.dropped
        try:
            if lost:
                self._chain.write({"kind": "dropped", "time": _now(), "records": lost}, self._context)
                self._lose(-lost)
            if record:
                if record["kind"] == "context":
                    self._context = record
                self._chain.write(record, self._context)
        except OSError as error:
            self._lose(bool(record))
            if time.monotonic() - self._complained_s >= LOG_PERIOD_S:
                self._complained_s = time.monotonic()
                log.warning("%s. Until then records are lost, and counted", _refusal(self.folder, error))
        except ValueError as error:  # NaN, from a network that gives no numbers
            self._lose(1)
            log.warning("%s: a record cannot be written (%s)", self.folder, error)


class _Chain:
    """The files of a folder; used by one thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._file = -1
        self._size = 0
        self._begun_s = 0.0
        self._number, self._head = 0, GENESIS
        files = audit_files(folder)
        if files:
            self._number, self._head = _last_of(files)

    def begin_file(self, context: Record) -> None:
        """End the file and begin the next one, with a record of how the last one ended, and the context.

        :raises OSError: it cannot be written.
        """
        self.close()
        files = audit_files(self._folder)
        while files and b"\n" not in files[-1].read_bytes():  # a start that was killed before the first record
            files.pop().unlink()
        index = int(FILE_NAME.fullmatch(files[-1].name)[1]) + 1 if files else 1  # type: ignore[index]
        path = self._folder / f"audit-{index:06}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._size, self._begun_s = 0, time.time()
        torn = torn_end(files[-1]) if files else b""
        opened: Record = {"kind": "open", "time": _now(), "schema": SCHEMA_VERSION}
        if torn:
            opened["torn"] = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
        try:
            self._append(opened)
        except OSError:
            path.unlink()  # it holds no record, and on a full disk there would be many of them
            raise
        if context:
            self._append({key: value for key, value in context.items() if key not in ("number", "previous", "hash")})
        self._delete_old()

    def write(self, record: Record, context: Record) -> None:
        """Append a record; to a new file where this one is full, old or damaged.

        :param context: repeated at the beginning of a new file, so that it can be read without the ones before.
        :raises OSError: it cannot be written; then the chain is as before.
        """
        full = self._size + 1024 > self._limits.file_bytes or time.time() - self._begun_s > MAX_FILE_AGE_S
        if self._file < 0 or full:
            self.begin_file({} if record["kind"] == "context" else context)
        self._append(record)

    def sync(self) -> None:
        """Have what was written survive a power cut."""
        if self._file >= 0:
            try:
                os.fsync(self._file)
            except OSError as error:
                log.warning("%s", _refusal(self._folder, error))

    def close(self) -> None:
        """End the file."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1

    def _append(self, record: Record) -> None:
        chained = {**record, "number": self._number + 1, "previous": self._head}
        digest = sha256(canonical(chained))
        line = canonical({**chained, "hash": digest}).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # Perhaps half a line is there: it stays, and the next file tells of it.
            os.close(self._file)
            self._file = -1
            raise
        self._size += len(line)
        self._number, self._head = self._number + 1, digest

    def _delete_old(self) -> None:
        """Delete the oldest files beyond the limits and write down which, so that nobody misses them."""
        files = audit_files(self._folder)[:-1]
        sizes = {file: file.stat().st_size for file in files}
        oldest_s = time.time() - self._limits.keep_days * DAY_S if self._limits.keep_days else 0.0
        # The newest one is full some day.
        room = self._limits.total_bytes - self._limits.file_bytes
        for file in files:
            if sum(sizes.values()) <= room and file.stat().st_mtime >= oldest_s:
                break
            number, head = _last_of([file])
            self._append(
                {
                    "kind": "deleted",
                    "time": _now(),
                    "file": file.name,
                    "last_number": number,
                    "last_hash": head,
                }
            )
            file.unlink()
            del sizes[file]


def audit_files(folder: Path) -> list[Path]:
    """The files of a log, in their order."""
    names = [path for path in folder.iterdir() if FILE_NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(names, key=lambda path: (len(path.name), path.name))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def canonical(record: Record) -> str:
    """The one way to write a record: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def torn_end(file: Path) -> bytes:
    """What a file holds after its last whole line: part of a record whose writing was interrupted."""
    return file.read_bytes().rpartition(b"\n")[2]


def _last_of(files: Sequence[Path]) -> tuple[int, str]:
    """Number and hash of the last whole record of files; 0 and GENESIS where there is none."""
    for file in reversed(files):
        for line in reversed(file.read_bytes().split(b"\n")[:-1]):
            try:
                record = json.loads(line)
                return int(record["number"]), str(record["hash"])
            except (ValueError, KeyError, TypeError):
                continue  # damaged; verification tells of it
    return 0, GENESIS


def _lock_folder(folder: Path) -> int:
    """Take the folder for this process alone; given back by closing the descriptor."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise FerError(_refusal(folder, error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FerError(f"{folder}: another node writes its audit log there. Give each a folder of its own") from error
    return descriptor


def _refusal(folder: Path, error: OSError) -> str:
    return (
        f"{folder}: the audit log cannot be written ({error.strerror or error}). Free some disk space, make the folder "
        "writable, or give another audit.folder"
    )
