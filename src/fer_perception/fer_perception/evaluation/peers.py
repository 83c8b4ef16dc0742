"""What ``benchmark peers`` measures: this suite and other systems on the same images."""

from __future__ import annotations

from pydantic import Field

from fer_perception.evaluation.results import Result, ResultFile


class PeerResult(Result):
    """One system. ``parts``: what it consists of.

    ``p50_ms``: of an image, the median over the photographs. ``speed_ratio``: to the first system, the median of the
    ratios within a photograph. ``found``: fraction of the photographs in which a face was found, ``found_and_right``:
    and its label was the photograph's; ``mean_recall``: the mean of that over the labels.
    """

    name: str
    parts: str
    p50_ms: float
    images_per_s: float
    speed_ratio: float
    found: float
    found_and_right: float
    mean_recall: float


class PeersResult(ResultFile):
    """Systems side by side; ``missing``: why others were not measured, by name. ``shown``: so often was each image."""

    written_by = "python -m fer_perception benchmark peers --json"
    machine: str
    manifest: str
    split: str
    photographs: int
    shown: int
    systems: list[PeerResult]
    missing: dict[str, str] = Field(default_factory=dict)
