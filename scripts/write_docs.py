"""Writes what is told of the code itself: the parameters of the nodes, and the modules of each folder.

python scripts/write_docs.py            write docs/parameters.md, params.yaml, and the table in docs/architecture.md
python scripts/write_docs.py --check    write nothing; fail where they are out of date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from textwrap import wrap

from fer_perception.settings import NODE_SETTINGS, Value, settings_of

ROOT = Path(__file__).parents[1]
PARAMETERS, ARCHITECTURE = ROOT / "docs" / "parameters.md", ROOT / "docs" / "architecture.md"
PARAMETER_FILE = ROOT / "src" / "fer_perception" / "config" / "params.yaml"
TABLE_HEAD = "| folder | modules |\n|---|---|\n"

INTRODUCTION = """\
# Parameters

Written by `python scripts/write_docs.py` from `fer_perception.settings`, where each setting is declared once. Options
of the commands and arguments of the launch files with the same names have the same defaults and ranges.

The column *changes* says when a parameter can be set. `start`: only when the node is started. `unconfigured`:
*configure* reads it; until *cleanup* a change is refused with that reason. `always`: a change takes effect with the
next image. A `double` must have a decimal point: write `20.0`, not `20`.
"""


def parameters_page() -> str:
    """docs/parameters.md."""
    parts = [INTRODUCTION]
    for name, model in NODE_SETTINGS.items():
        parts.append(f"\n## {name}\n\n| parameter | default | values | changes | |\n|---|---|---|---|---|\n")
        parts += [f"| {' | '.join(found.documentation())} |\n" for found in settings_of(model).values()]
    return "".join(parts)


PARAMETER_FILE_HEAD = """\
# Every parameter of every node with its default. Copy this file, keep the lines that you change, and give it as
# params_file:=FILE to fer.launch.py or as --params-file FILE to a node. /** is any namespace.
# Written by scripts/write_docs.py from fer_perception.settings.
"""


def parameter_file() -> str:
    """config/params.yaml."""
    lines = [PARAMETER_FILE_HEAD]
    for node, model in NODE_SETTINGS.items():
        lines.append(f"/**/{node}:\n  ros__parameters:\n")
        for found in settings_of(model).values():
            details = f"{found.description} ({found.allowed})" if found.allowed else found.description
            lines += [f"    {line}\n" for line in wrap(details, 112, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"    {found.name}: {_yaml(found.default)}\n")
    return "".join(lines)


def _yaml(value: Value) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def architecture_page(page: str) -> str:
    """docs/architecture.md with the table of the modules as they are; it ends the page."""
    text, _, _ = page.partition(TABLE_HEAD)
    rows: dict[str, list[str]] = {}
    for package in ("fer_perception", "fer_training"):
        top = ROOT / "src" / package
        for file in sorted((top / package).rglob("*.py")):
            if file.stem != "__init__":
                rows.setdefault(str(file.parent.relative_to(top)), []).append(file.stem)
    return text + TABLE_HEAD + "".join(f"| `{folder}` | {', '.join(names)} |\n" for folder, names in rows.items())


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where a page is out of date")
    options = parser.parse_args()
    pages = {
        PARAMETERS: parameters_page(),
        PARAMETER_FILE: parameter_file(),
        ARCHITECTURE: architecture_page(ARCHITECTURE.read_text(encoding="utf-8")),
    }
    old = [file for file, text in pages.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in old:
        if options.check:
            print(f"{file.relative_to(ROOT)} is out of date: run python scripts/write_docs.py", file=sys.stderr)
        else:
            file.write_text(pages[file], encoding="utf-8")
            print(f"written: {file.relative_to(ROOT)}")
    return int(options.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
