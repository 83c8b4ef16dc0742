"""What a command measured, as types and as JSON files with a version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from fer_perception.errors import FerError
from fer_perception.files import written_atomically

# Raised when a field is renamed, removed or gets another meaning.
SCHEMA_VERSION = 1

RESAMPLES = 1000  # of bootstrap intervals
Interval = tuple[float, float]


def interval(values: npt.NDArray[np.float64]) -> Interval:
    """The central 95% of bootstrap values: lower and upper end."""
    lower, upper = np.nanpercentile(values, (2.5, 97.5))
    return float(lower), float(upper)


def rounded(value: float, digits: int = 3) -> Any:
    """A number for a result; NaN becomes None."""
    return None if value != value else round(value, digits)


class Result(BaseModel):
    """A part of a result. Fractions are between 0 and 1; intervals are 95%, lower and upper end."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Kind = TypeVar("Kind", bound="ResultFile")


class ResultFile(Result):
    """The contents of a JSON file. ``written_by``: the command that writes it."""

    written_by: ClassVar[str] = ""
    schema_version: int = SCHEMA_VERSION

    def write(self, file: Path) -> None:
        """Write the file, and its folder where there is none."""
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False)
        with written_atomically(file) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls: type[Kind], file: Path) -> Kind:
        """Read a file.

        :raises FerError: it cannot be read, is of another version, or is not what ``written_by`` writes.
        """
        remedy = f"Write it again by {cls.written_by}"
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FerError(f"{file}: cannot be read ({error}). {remedy}") from error
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise FerError(f"{file}: has schema version {version}, this program reads {SCHEMA_VERSION}. {remedy}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
            raise FerError(f"{file}: {details}. {remedy}") from error
