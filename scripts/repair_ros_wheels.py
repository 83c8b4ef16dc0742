#!/usr/bin/env python3
"""Make the CMake files of the ROS wheels name this interpreter.

The exported targets of the wheels' message packages hold the include folders of the Python and the numpy with which
the wheels were built (/opt/python/...). Run by scripts/setup.sh with the virtual environment's interpreter.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

REPLACEMENTS = (
    (re.compile(r"/opt/python/[\w.-]+/lib/python[\d.]+/site-packages/numpy/_core/include"), numpy.get_include()),
    (re.compile(r"/opt/python/[\w.-]+/include/python[\d.]+"), sysconfig.get_path("include")),
)


def main() -> None:
    """Repair every file under the environment's share folder that needs it."""
    repaired = 0
    for file in Path(sys.prefix, "share").rglob("*.cmake"):
        before = file.read_text(encoding="utf-8", errors="surrogateescape")
        after = before
        for pattern, path in REPLACEMENTS:
            after = pattern.sub(lambda _, path=path: path, after)  # type: ignore[misc]
        if after != before:
            file.write_text(after, encoding="utf-8", errors="surrogateescape")
            repaired += 1
    print(f"{repaired} file(s) repaired" if repaired else "nothing to repair")


if __name__ == "__main__":
    main()
