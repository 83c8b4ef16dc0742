"""What a user has set and nobody takes: misspelt names, and keys of parameter files that are of no node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from fer_perception.settings.declaration import settings_of
from fer_perception.settings.nodes import NODE_SETTINGS

ALIKE = 0.7
MOST_NAMED = 5


def nearest(name: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """The known name that a misspelt one stands for; empty where none is like it."""
    return next(iter(get_close_matches(name, list(known), 1, alike)), "")


def owners_of(parameter: str) -> list[str]:
    """The nodes of the suite that have a parameter."""
    return [node for node, model in NODE_SETTINGS.items() if parameter in settings_of(model)]


def misspelt(name: str, known: Sequence[str]) -> str:
    """What a warning says of a parameter that no node of the suite has.

    :param known: the node's own parameters.
    """
    meant = nearest(name, known)
    return f"parameter {name} is not known and not used" + (
        f": {meant} is" if meant else ": --help lists those that are"
    )


def argument_keys(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Where ROS's arguments set parameters of certain nodes: an argument, and the nodes' names as it has them."""
    for option, argument in pairwise(arguments):
        if option == "--params-file":
            yield f"{option} {argument}", file_keys(Path(argument))
        elif option in ("-p", "--param") and (found := re.match(r"(\w+):\w", argument)):
            yield f"{option} {argument}", [found[1]]


def file_keys(file: Path) -> list[str]:
    """The nodes' names in a ROS parameter file; none where it cannot be read, of which ROS complains itself."""
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        return list(_keys(yaml.safe_load(file.read_text(encoding="utf-8")), ""))
    return []


def _keys(content: Any, above: str) -> Iterator[str]:
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == "ros__parameters":
            yield above
        else:
            yield from _keys(value, f"{above}/{str(key).strip('/')}")


def matches(key: str, node: str) -> bool:
    """Whether ROS takes a key for a node's full name: ``*`` is one part of it, ``**`` any number of them."""
    parts = {"*": r"/\w+", "**": r"(/\w+)*"}
    pattern = "".join(parts.get(part, f"/{re.escape(part)}") for part in key.strip("/").split("/"))
    return re.fullmatch(pattern, node) is not None


def unused_keys(source: str, keys: Sequence[str], nodes: Sequence[str]) -> str:
    """A warning where keys are of none of the nodes; empty where that can be meant so.

    It is where others match: a file may be of several launches. Unless a key is like the name of a node that no other
    key is of.

    :param source: where the keys are from.
    :param nodes: full names.
    """
    used = [key for key in keys if any(matches(key, node) for node in nodes)]
    unused = [key for key in keys if key not in used]
    if used:
        missed = {_name(node) for node in nodes} - {_name(key) for key in used}
        unused = [key for key in unused if _name(key) in missed or _is_misspelt(_name(key), missed)]
    if not unused:
        return ""
    more = f" and {len(unused) - MOST_NAMED} more" if len(unused) > MOST_NAMED else ""
    return (
        f"{source}: what is under {', '.join(unused[:MOST_NAMED])}{more} is not used, as no node here has that name. "
        f"Write {' or '.join(nodes[:MOST_NAMED])}; /** stands for any namespace"
    )


def _name(node: str) -> str:
    return node.rpartition("/")[2]


def _is_misspelt(name: str, nodes: Iterable[str]) -> bool:
    return name not in NODE_SETTINGS and bool(nearest(name, nodes))
