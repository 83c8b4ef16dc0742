"""Whether an audit log is as it was written: see :mod:`fer_perception.audit.log`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_perception.audit.log import GENESIS, Record, audit_files, canonical, sha256, torn_end
from fer_perception.errors import FerError


@dataclass
class Verification:
    """What was found. ``problem``: where the chain breaks first and how; empty: intact.

    ``head``: hash of the last record. ``first``: number of the first one that is there. ``notes``: what is no damage
    and yet worth knowing.
    """

    files: int = 0
    records: int = 0
    first: int = 0
    head: str = GENESIS
    begun: str = ""
    ended: str = ""
    dropped: int = 0
    problem: str = ""
    notes: list[str] = field(default_factory=list)


class _BreakError(Exception):
    """The chain breaks here."""


def verify(folder: Path, anchors: tuple[str, ...] = ()) -> Verification:
    """Follow a folder's chain from its first record to its head.

    :param anchors: hashes that were noted down elsewhere and must be in the chain. Without one, nothing tells of
        records that are missing at the end, nor of a chain that was written anew as a whole.
    :raises FerError: there is no log, or it cannot be read.
    """
    files = audit_files(folder)
    if not files:
        raise FerError(f"{folder}: holds no audit log. Give the folder of a node's audit-NNNNNN.jsonl")
    found = Verification(files=len(files))
    chain = _Follower(found, set(anchors))
    try:
        for index, file in enumerate(files):
            chain.follow(file, last=index == len(files) - 1)
        chain.conclude()
    except _BreakError as problem:
        found.problem = str(problem)
    except OSError as error:
        raise FerError(f"{error.filename}: cannot be read ({error.strerror}). Ask whoever owns it") from error
    return found


class _Follower:
    """Checks record after record."""

    def __init__(self, found: Verification, anchors: set[str]) -> None:
        self._found, self._anchors = found, anchors
        self._number = 0
        self._torn = b""
        self._begins_after: tuple[int, str] | None = None
        self._deleted: set[tuple[int, str]] = set()

    def follow(self, file: Path, last: bool) -> None:
        """All records of a file.

        :raises _BreakError: one is not what it was, or not where it was.
        """
        lines = file.read_bytes().split(b"\n")[:-1]
        for row, line in enumerate(lines, 1):
            self._check(f"{file.name}, line {row}", line, first_of_file=row == 1)
        if self._torn:
            raise _BreakError(f"{file.name}: its first record is missing, which tells how the file before it ended")
        self._torn = torn_end(file)
        if self._torn and last:
            self._found.notes.append(
                f"{file.name} ends with {len(self._torn)} bytes of a record whose writing was interrupted"
            )
        elif not lines and not last and not self._torn:
            raise _BreakError(f"{file.name}: its records are missing")

    def conclude(self) -> None:
        """What can be told at the end only.

        :raises _BreakError: records are missing at the beginning, or an anchor is.
        """
        if self._begins_after is not None:
            if self._begins_after not in self._deleted:
                raise _BreakError(
                    f"records up to number {self._begins_after[0]} are missing at the beginning, and no record says "
                    "that they were deleted for their age or size"
                )
            self._found.notes.append(f"records up to number {self._begins_after[0]} were deleted for their age or size")
        if self._anchors:
            missing = ", ".join(sorted(self._anchors))
            raise _BreakError(
                f"no record has the hash {missing}: records are missing at the end, or the chain is another"
            )

    def _check(self, where: str, line: bytes, first_of_file: bool) -> None:
        record = _parsed(where, line)
        number, previous, claimed = record["number"], record["previous"], record.pop("hash")
        if sha256(canonical(record)) != claimed or canonical({**record, "hash": claimed}).encode() != line:
            raise _BreakError(f"{where}: record {number} was changed")
        found = self._found
        if not found.records and number != 1:
            self._begins_after = (number - 1, previous)
            self._number, found.head = number - 1, previous
        self._compare(where, number, previous)
        if first_of_file:
            self._check_torn(where, record)
        if record["kind"] == "deleted":
            self._deleted.add((record["last_number"], record["last_hash"]))
        if record["kind"] == "dropped":
            found.dropped += record["records"]
        found.first, found.begun = found.first or number, found.begun or record["time"]
        found.records, found.head, found.ended = found.records + 1, claimed, record["time"] or found.ended
        self._number = number
        self._anchors.discard(claimed)

    def _compare(self, where: str, number: int, previous: str) -> None:
        expected = self._number + 1
        if number > expected:
            raise _BreakError(f"{where}: records {expected} to {number - 1} were removed")
        if number < expected:
            raise _BreakError(f"{where}: record {number} was inserted or moved, here belongs number {expected}")
        if previous != self._found.head:
            raise _BreakError(f"{where}: record {number} does not follow the one before it: one of them was replaced")

    def _check_torn(self, where: str, record: Record) -> None:
        told = record.get("torn", {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()})
        torn, self._torn = self._torn, b""
        follows = self._found.records > 0  # else the file before this one is not there any more
        if follows and told != {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}:
            raise _BreakError(f"{where}: the end of the file before it was truncated or changed")
        if torn:
            self._found.notes.append(f"{where}: before it the writing of a record was interrupted")


def _parsed(where: str, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if isinstance(record["number"], int) and all(
            isinstance(record[key], str) for key in ("kind", "time", "previous", "hash")
        ):
            return record
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise _BreakError(f"{where}: is no record; it was truncated or overwritten")


def format_verification(folder: Path, found: Verification) -> str:
    """The result for people."""
    verdict = f"BROKEN: {found.problem}" if found.problem else "intact"
    lines = [
        f"{folder}: {verdict}",
        f"  {found.records} records in {found.files} files, number {found.first} to {found.first + found.records - 1}, "
        f"{found.begun} to {found.ended}"
        if found.records
        else f"  no record in {found.files} files",
        *([f"  {found.dropped} records were dropped while it was written"] if found.dropped else []),
        *(f"  {note}" for note in found.notes),
        f"  head {found.head}" + (" (of the intact part)" if found.problem else ""),
    ]
    return "\n".join(lines)
