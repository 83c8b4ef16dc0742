"""The folder of measurements: reading them, and a script of those that are missing."""

from __future__ import annotations

import fnmatch
import shlex
from pathlib import Path

from fer_perception.errors import FerError
from fer_perception.evaluation.results import ResultFile
from fer_perception.files import sha256_of
from fer_training.reporting.paper.measurements import MEASUREMENTS, VARIABLES, Measurement


class NotMeasured(Exception):  # noqa: N818 - no error: a part of the report
    """There is no figure; the message says why, and is part of the report."""


class Folder:
    """The folder of the JSON files; ``root`` is what the weights' paths are relative to.

    :raises FerError: there is no such folder.
    """

    def __init__(self, folder: Path, root: Path = Path()) -> None:
        if not folder.is_dir():
            raise FerError(f"{folder}: is no folder. Make it, and fill it with what report --commands prints")
        self.folder, self.root = folder, root
        self._read: dict[str, ResultFile | NotMeasured] = {}  # by name; weights are hashed once

    def read(self, measurement: Measurement) -> ResultFile:
        """The contents of a measurement's file, of its own type.

        :raises NotMeasured: it is absent, of another model, or of weights that were replaced since.
        :raises FerError: it is damaged, or of another version.
        """
        if measurement.name not in self._read:
            try:
                self._read[measurement.name] = self._open(measurement)
            except NotMeasured as reason:
                self._read[measurement.name] = reason
        found = self._read[measurement.name]
        if isinstance(found, NotMeasured):
            raise found
        return found

    def _open(self, measurement: Measurement) -> ResultFile:
        file = self.folder / f"{measurement.name}.json"
        if not file.exists():
            if measurement.condition:
                raise NotMeasured(f"needs {measurement.condition.text}")
            raise NotMeasured(f"there is no `{file.name}`")
        result = measurement.result.read(file)
        for key, wanted in measurement.expected.items():
            if Path(str(getattr(result, key))).name != wanted:
                raise NotMeasured(f"`{file.name}` is not of the {key} `{wanted}`")
        for name, digest in self._digests(measurement).items():
            if (self.root / name).exists() and digest != sha256_of(self.root / name):
                raise NotMeasured(f"`{file.name}` is of an earlier `{name}`")
        return result

    def is_recorded(self, measurement: Measurement) -> bool:
        """Whether it is known of which weights the measurement is."""
        digests = self._digests(measurement)
        present = {
            file.relative_to(self.root).as_posix()
            for pattern in measurement.weights
            for file in self.root.glob(pattern)
        }
        return present <= set(digests) and all(fnmatch.filter(digests, pattern) for pattern in measurement.weights)

    def command(self, measurement: Measurement, folder: str = "") -> str:
        """What measures it, as one line of bash; ``folder``: written instead of the folder's own path."""
        where = folder or shlex.quote(str(self.folder))
        text = measurement.command.replace("{json}", f"{where}/{measurement.name}.json")
        if measurement.weights:
            text += f" && sha256sum {' '.join(measurement.weights)} > {where}/{measurement.name}.sha256"
        return text

    def script(self) -> str:
        """A bash script of what is missing, damaged or of other weights; one failure stops no other measurement."""
        lines = [
            "# Measurements that are missing, or of other weights. Run this in the repository's root.",
            *(f': "${{{name}:?set it, for example {name}={example}}}"' for name, example in VARIABLES.items()),
        ]
        for measurement in MEASUREMENTS:
            if self._is_fresh(measurement):
                continue
            absent = self._absent(measurement)
            lines += ["", f"# {measurement.name}: {measurement.what}"]
            if absent:
                lines += [f"# needs {', '.join(absent)}. Run this, then print the commands again:"]
                lost = ["# restore it from git", "# or make it anew: scripts/reproduce.sh"]
                lines += [f"# {measurement.made_by}"] if measurement.made_by else lost
            elif measurement.condition:
                lines += [f"if {measurement.condition.test}; then {self.command(measurement)}; fi"]
            else:
                lines += [self.command(measurement)]
        return "\n".join([*lines, ""])

    def _is_fresh(self, measurement: Measurement) -> bool:
        try:
            self.read(measurement)
        except (NotMeasured, FerError):
            return False
        return self.is_recorded(measurement)

    def _absent(self, measurement: Measurement) -> list[str]:
        return [pattern for pattern in measurement.weights if not any(self.root.glob(pattern))]

    def _digests(self, measurement: Measurement) -> dict[str, str]:
        """SHA-256 by path, of what was measured; empty where it was not recorded."""
        file = self.folder / f"{measurement.name}.sha256"
        if not file.exists():
            return {}
        pairs = [line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines()]
        return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}
