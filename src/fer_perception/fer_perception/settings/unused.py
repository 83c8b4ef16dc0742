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
# As a slip of the finger: another key of a file may be of another node whose name is like this one's.
VERY_ALIKE = 0.85
# What the suite's nodes publish and subscribe to by a relative name.
TOPICS = (
    *("image", "image/compressed", "camera_info", "faces", "emotions", "landmarks", "attention", "detections"),
    *("overlay", "latency", "latency_statistics", "face_latency", "face_latency_statistics"),
)
MOST_NAMED = 5
FILE_FORM = "Its form is NODE: {ros__parameters: {NAME: VALUE}}, as in config/params.yaml"


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


def unused_arguments(arguments: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Warnings of those of ROS's arguments that set something of nodes or topics that are not there.

    :param nodes: full names of the process's nodes.
    """
    warnings = []
    for option, argument in pairwise(arguments):
        source = f"{option} {argument}"
        if option == "--params-file":
            keys = file_keys(Path(argument))
            warnings.append(unused_keys(source, keys, nodes) if keys else f"{source}: it sets nothing. {FILE_FORM}")
        elif option in ("-p", "--param") and (found := re.match(r"(\w+):\w", argument)):
            warnings.append(unused_keys(source, [found[1]], nodes))
        elif option in ("-r", "--remap") and (found := re.fullmatch(r"(?:(\w+):)?(\w[\w/]*|/[\w/]+):=(.+)", argument)):
            warnings.append(_unused_remapping(source, found[1], found[2], found[3], nodes))
    return [warning for warning in warnings if warning]


def _unused_remapping(source: str, node: str | None, topic: str, target: str, nodes: Sequence[str]) -> str:
    """Of a topic that is like one of the suite's. Others may be of other nodes of a launch."""
    if node and node not in map(_name, nodes):
        return f"{source}: no node here is called {node}. Write {' or '.join(map(_name, nodes))}"
    known = {f"{name.rpartition('/')[0]}/{known}": known for name in nodes for known in TOPICS}
    if topic in TOPICS or topic in known or topic.startswith("__"):
        return ""
    # What begins with a slash is whole: the topic of a node in a namespace has that in front.
    meant = topic.strip("/") if topic.strip("/") in TOPICS else "" if topic[0] == "/" else nearest(topic, TOPICS)
    return f"{source}: no node here has the topic {topic}. Write {meant}:={target}" if meant else ""


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
    key is of, or hardly differs from the name of one of the suite's nodes here.

    :param source: where the keys are from.
    :param nodes: full names.
    """
    used = [key for key in keys if any(matches(key, node) for node in nodes)]
    unused = [key for key in keys if key not in used]
    if used:
        here = {_name(node) for node in nodes}
        missed, own = here - {_name(key) for key in used}, here & NODE_SETTINGS.keys()
        unused = [key for key in unused if _name(key) in missed or _is_misspelt(_name(key), missed, own)]
    if not unused:
        return ""
    more = f" and {len(unused) - MOST_NAMED} more" if len(unused) > MOST_NAMED else ""
    return (
        f"{source}: what is under {', '.join(unused[:MOST_NAMED])}{more} is not used, as no node here has that name. "
        f"Write {' or '.join(nodes[:MOST_NAMED])}; /** stands for any namespace"
    )


def _name(node: str) -> str:
    return node.rpartition("/")[2]


def _is_misspelt(name: str, missed: Iterable[str], own: Iterable[str]) -> bool:
    if name in NODE_SETTINGS:
        return False
    slip = nearest(name, own, VERY_ALIKE)
    is_numbered = slip == name.rstrip("0123456789_")  # fer_node_2 is another node's
    return bool(nearest(name, missed)) or (bool(slip) and not is_numbered)
