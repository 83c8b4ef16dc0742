"""Keeps the chatter of MediaPipe and TensorFlow Lite, which is written by C++, out of the terminal."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2

# Neither library has a switch for these: environment variables of glog, absl and TensorFlow have no effect.
CHATTER = re.compile(rb"INFO: |[IW]\d{4} \d\d:\d\d:|WARNING: Logging before InitGoogle")

_lock = threading.RLock()


@contextmanager
def without_chatter() -> Iterator[list[bytes]]:
    """Drop information and warnings of native code that go to stderr inside this block; all other lines pass.

    The block's value is a list that holds the dropped lines when the block has ended.

    The whole process's stderr is held back until the block ends, so use it around short calls only. Errors of native
    code (``E0000 ...``, ``ERROR: ...``) and what other threads write appear then, in order. One block runs at a time.
    """
    dropped: list[bytes] = []
    with _lock:
        sys.stderr.flush()
        try:
            terminal = os.dup(STDERR)
        except OSError:  # a daemon without stderr
            yield dropped
            return
        held = os.memfd_create("stderr")
        os.dup2(held, STDERR)
        try:
            yield dropped
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STDERR)
            os.close(terminal)
            with open(held, "rb") as lines:
                lines.seek(0)
                for line in lines:
                    if CHATTER.match(line):
                        dropped.append(line)
                    else:
                        os.write(STDERR, line)
