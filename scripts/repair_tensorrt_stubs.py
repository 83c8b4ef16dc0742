#!/usr/bin/env python3
"""Make the package tensorrt-stubs readable for mypy.

All its releases up to 10.13 name parameters ``in``, which is a keyword, put one with a default before one without, and
lack the marker that says that a package has types. Run by scripts/setup.sh with the virtual environment's interpreter.
"""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

REPLACEMENTS = (
    (re.compile(r"\bin: (?=list\[)"), "in_: "),
    (re.compile(r"\bchannel_axis: int\)"), "channel_axis: int = ...)"),
)


def main() -> None:
    """Repair the stubs in this interpreter's site-packages."""
    packages = Path(sysconfig.get_path("purelib"))
    stubs = packages / "tensorrt_bindings" / "tensorrt.pyi"
    text = stubs.read_text(encoding="utf-8")
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    stubs.write_text(text, encoding="utf-8")
    for name in ("tensorrt", "tensorrt_bindings"):
        (packages / name / "py.typed").touch()


if __name__ == "__main__":
    main()
