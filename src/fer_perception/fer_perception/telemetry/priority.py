"""Which processes yield where the cores are busy."""

from __future__ import annotations

import os

NICENESS = 10


def give_way() -> None:
    """Let the pipeline, and processes of ordinary priority, run first; what is only looked at can wait."""
    os.nice(NICENESS)
