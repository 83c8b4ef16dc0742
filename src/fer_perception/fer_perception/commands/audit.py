"""``audit verify``: says whether audit logs are as they were written, or where they were tampered with.

The head is the hash of the last record. Note it down elsewhere, now and then: a later check with --anchor then also
finds out about records that were cut off at the end, and about a log that was written anew. The exit status is 1 where
a log is broken.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_perception.audit.log import audit_files
from fer_perception.audit.verification import format_verification, verify


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  audit verify ~/fer_audit\n  audit verify ~/fer_audit/fer.fer_node --anchor 3f1c...",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("verify", help="check the chain of records")
    check.add_argument("path", type=Path, metavar="PATH", help="a log's folder, or one that holds folders of logs")
    check.add_argument(
        "--anchor", action="append", default=[], metavar="HASH", help="a head that was noted down; may be given again"
    )
    options = parser.parse_args(arguments)
    if options.anchor and len(logs_in(options.path)) > 1:
        parser.error("--anchor: it is of one log; give that one's folder")
    return options


def logs_in(path: Path) -> list[Path]:
    """The folder itself, or where it holds no files of a log, those in it that do."""
    inside = sorted(folder for folder in path.iterdir() if audit_files(folder)) if path.is_dir() else []
    return [path] if audit_files(path) or not inside else inside


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    found = {folder: verify(folder, tuple(options.anchor)) for folder in logs_in(options.path)}
    for folder, verification in found.items():
        print(format_verification(folder, verification))
    return 1 if any(verification.problem for verification in found.values()) else 0
