"""What ``benchmark`` measures: networks alone, a live graph, and what gate and audit log cost."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from pydantic import Field

from fer_perception.evaluation.results import Interval, Result, ResultFile
from fer_perception.models.bundle import Precision
from fer_perception.settings import FaceMode


def machine() -> str:
    """Processor, cores, Python."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


class BatchSpeed(Result):
    """Of an inference at one batch size: medians over rounds; ``speed_ratio`` is to the first engine of the run.

    ``joules``: above idle power, None: not measured. ``g_co2e_per_1000``: of a thousand, None: not measured or stated.
    """

    p50_ms: float
    faces_per_s: float
    speed_ratio: float
    cpu_ms: float
    joules: float | None
    g_co2e_per_1000: float | None


class EngineSpeed(Result):
    """One bundle at one precision; ``accuracy``: by dataset, on its test split, as the manifest records it."""

    name: str
    precision: Precision
    model: str
    engine: str
    parameters: int
    macs: int
    bytes: int
    accuracy: dict[str, float]
    batch_1: BatchSpeed
    batch_8: BatchSpeed

    def batch(self, size: int) -> BatchSpeed:
        """The speed at a batch size, 1 or 8."""
        found: BatchSpeed = getattr(self, f"batch_{size}")
        return found


class IdlePower(Result):
    """Sensor and power before the run, or the ``reason`` why nothing was measured."""

    reason: str = ""
    sensor: str = ""
    idle_w: float | None = None
    idle_s: float | None = None


class EnginesResult(ResultFile):
    """Engines that were measured side by side, on one thread."""

    written_by = "python -m fer_perception benchmark engines --json"
    machine: str
    energy: IdlePower
    grid_intensity_g_per_kwh: float | None
    engines: list[EngineSpeed]

    @property
    def dataset(self) -> str:
        """The dataset with the most accuracies, of equals the first that is not derived; empty without any."""
        names = [name for engine in self.engines for name in engine.accuracy]
        return max(sorted(dict.fromkeys(names), key=lambda name: "/" in name), key=names.count) if names else ""


class Latencies(Result):
    """How many images were ``sent`` and how many predictions ``received``, and how long each took; None: none came."""

    sent: int
    received: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class RateResult(Latencies):
    """One round at one rate; ``jitter_ms``: standard deviation of the time between two messages."""

    jitter_ms: float | None


class Floor(Result):
    """The bare pipeline in a plain loop."""

    p50_ms: float
    p99_ms: float
    fps: float


class LiveEnergy(Result):
    """Power of the whole machine without images and at 30 Hz, and what an image adds; or the ``reason``."""

    reason: str = ""
    sensor: str = ""
    idle_w: float | None = None
    w_at_30_hz: float | None = None
    j_per_image: float | None = None
    g_co2e_per_1000_images: float | None = None


class ModeResult(Result):
    """One face mode. ``rates``: by rate in Hz the best round; ``rounds``: all of them."""

    engine: str
    input_sha256: str
    energy: LiveEnergy
    floor: Floor
    rates: dict[str, RateResult]
    rounds: dict[str, list[RateResult]]
    peak_fps: float
    peak_fraction_of_floor: float
    cpu_percent: float | None
    cpu_ms_per_image: float
    rss_mb: float


class Stages(Result):
    """Medians of the node's stages in ms, and of their sum ``frame``, with ``count`` faces."""

    count: int
    detect: float
    align: float
    infer: float
    frame: float


class FacesResult(Result):
    """One face and eight in images of the same size."""

    one: Stages
    eight: Stages
    frame_ratio: float
    emotion_ratio: float


class StartResult(Result):
    """Seconds from a process's start to its first prediction: with an empty cache, and the median of later starts. The
    system had the files in memory.
    """

    cold_s: float
    warm_s: float


class CamerasResult(Latencies):
    """All cameras together."""

    cpu_percent: float
    rss_mb: float


class BusyResult(Latencies):
    """Beside so many processes that compute without a pause; ages are those of the image at publication."""

    processes: int
    age_p50_ms: float | None
    age_p99_ms: float | None


class SoakResult(Result):
    """A long run at 30 Hz, by minute."""

    minutes: int
    lost: int
    rss_mb: list[float]
    age_p50_ms: list[float]
    growth_mb: float


class LiveResult(ResultFile):
    """A live graph. ``cameras``: with a process for each and with one for all. ``busy``: while others compute."""

    written_by = "python -m fer_perception benchmark --json"
    machine: str
    input: str
    grid_intensity_g_per_kwh: float | None
    modes: dict[FaceMode, ModeResult]
    start: StartResult | None = None
    faces: FacesResult | None = None
    cameras: dict[str, CamerasResult] = Field(default_factory=dict)
    busy: BusyResult | None = None
    soak: SoakResult | None = None


class OverheadResult(ResultFile):
    """The pipeline with quality gate and audit log against that without; ``ratio`` of the medians."""

    written_by = "python -m fer_perception benchmark overhead --json"
    machine: str
    model: str
    images: int
    faces_per_image: float
    without_ms: float
    with_ms: float
    median_of_differences_ms: float
    ratio: float
    interval: Interval
