"""Options of command lines that are settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from fer_perception.settings import Setting, Settings, Value, settings_of

# What runs the emotion network.
ENGINE = ("model", "precision", "backend", "threads")
# What the speed of a whole pipeline depends on.
ENGINE_AND_RANGE = (*ENGINE, "range")


def add_settings(parser: argparse._ActionsContainer, model: type[Settings], names: Sequence[str]) -> None:
    """An option for each of these settings, such as ``--min-confidence``, with type, range, default and description."""
    declared = settings_of(model)
    for name in names:
        found = declared[name]
        how: dict[str, Any] = {"type": _converter(found), "choices": found.choices or None}
        if isinstance(found.default, bool):
            how = {"action": "store_true"}
        shown = f" ({found.default})" if found.default not in ("", False) else ""
        parser.add_argument(option(name), default=found.default, help=found.description + shown, **how)


def option(name: str) -> str:
    """How a setting is called on a command line."""
    return f"--{name.replace('_', '-')}"


def values_from(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Value]:
    """The values of settings from the parsed options."""
    return {name: getattr(options, name) for name in names}


def _converter(declared: Setting) -> Callable[[str], Value]:
    kind = type(declared.default)

    def convert(text: str) -> Value:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if kind is int else ''}number") from None
        if not declared.choices and (problem := declared.problem(value)):  # choices are argparse's to refuse
            raise argparse.ArgumentTypeError(problem)
        return value

    return convert
