"""Hooks of mkdocs: the README is the first page, and links to other files of the repository lead there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
INDEX = "index.md"
LINK = re.compile(r"\]\(([\w./-]+)(#[\w-]+)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the first page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, INDEX, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to what is not part of the site; one to nothing stays, and ends the build."""
    folder = ROOT if page.file.src_uri == INDEX else Path(config["docs_dir"], page.file.src_uri).parent

    def absolute(match: re.Match[str]) -> str:
        target = (folder / match[1]).resolve()
        if files.get_file_from_path(match[1]) or not target.exists() or target.is_relative_to(config["docs_dir"]):
            return match[0]
        return f"]({config['repo_url']}/blob/main/{target.relative_to(ROOT)}{match[2] or ''})"

    return LINK.sub(absolute, markdown)
