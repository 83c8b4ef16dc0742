"""What the user chose on the command line, as a file of parameters that wins over the user's own file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping

from fer_perception.settings import Value

# rcl merges all files first and then applies its keys in the order in which they appeared. Only a key that no earlier
# file has comes last; '/**/**' means the same as the usual '/**'.
KEY = "/**/**"


def write_choices(chosen: Mapping[str, Value]) -> str:
    """Writes parameters that win over those of any file given before; the path of the file.

    The file stays, as those that launch_ros writes: a node may start late. JSON is YAML in which a text stays a text.
    """
    with tempfile.NamedTemporaryFile("w", prefix="fer_choices_", suffix=".yaml", delete=False) as file:
        json.dump({KEY: {"ros__parameters": dict(chosen)}}, file)
    return file.name
