"""Cells of the paper's tables and figures: its number, and how ours is read out of the measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from fer_perception.evaluation.results import Interval
from fer_training.reporting.paper.folder import Folder
from fer_training.reporting.paper.measurements import BY_NAME

NO_FIGURE = "no figure"


class Unit(NamedTuple):
    """How a figure is written: the value times ``scale``, with ``sign`` and so many ``digits``."""

    name: str
    scale: float = 1.0
    digits: int = 1
    sign: str = ""

    def number(self, value: float) -> str:
        """The value without its unit."""
        return f"{value * self.scale:{self.sign}.{self.digits}f}"

    def text(self, value: float) -> str:
        """The value with its unit."""
        return self.number(value) + self.name


PERCENT = Unit("%", 100)
POINTS = Unit(" points", 100, sign="+")
RATIO = Unit(" times", digits=2)
FPS = Unit(" images/s")
MILLISECONDS = Unit(" ms", digits=2)
JOULES = Unit(" J", digits=4)
GRAMS = Unit(" gCO2e", digits=6)
PLAIN = Unit("", digits=2)


class Reading(NamedTuple):
    """Our figure. ``on``: data or machine; ``interval``: 95%; ``remark``: what it has to be seen beside."""

    value: float
    on: str
    interval: Interval | None = None
    remark: str = ""

    def text(self, unit: Unit) -> str:
        """The figure with its unit, interval and remark."""
        text = unit.text(self.value)
        if self.interval:
            text += f" [{', '.join(map(unit.number, self.interval))}]"
        return text + (f"; {self.remark}" if self.remark else "")


class Source(NamedTuple):
    """Our figure out of the results of measurements, by their names."""

    names: tuple[str, ...]
    read: Callable[..., Reading]

    def measure(self, folder: Folder) -> Reading:
        """Our figure.

        :raises NotMeasured: there is none.
        """
        return self.read(*results(folder, self.names))


@dataclass(frozen=True)
class Cell:
    """One number. ``claimed``: the paper's, or a word on why it has none.

    ``same``: how it is measured on the paper's own data or board; ``ours``: here, by the section's definition.
    """

    row: str
    column: str
    claimed: float | str
    unit: Unit
    ours: Source | None = None
    same: Source | None = None

    @property
    def claimed_text(self) -> str:
        """The paper's number with its unit."""
        return (
            self.claimed if isinstance(self.claimed, str) else f"{self.claimed * self.unit.scale:.4g}{self.unit.name}"
        )


class Section(NamedTuple):
    """A table or figure of the paper. ``definition``: of our figures."""

    title: str
    definition: str
    cells: tuple[Cell, ...]
    contradictions: tuple[str, ...] = ()


def results(folder: Folder, names: tuple[str, ...]) -> list[Any]:
    """The results of measurements, each of its own type.

    :raises NotMeasured: one is not there, or of other weights.
    """
    return [folder.read(BY_NAME[name]) for name in names]
