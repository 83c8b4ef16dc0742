"""``benchmark engines``: how fast bundles are, side by side.

Engines of one thread, in rounds in which each has its turn: a shared machine's speed changes by the minute, so ratios
are taken within a round, and the median over the rounds counts. CPU time and energy are taken in turns of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from tqdm import tqdm

from fer_perception.engines.onnx_runtime import Engine
from fer_perception.engines.selection import load_engine
from fer_perception.errors import FerError
from fer_perception.evaluation.results import rounded
from fer_perception.evaluation.speed import BatchSpeed, EngineSpeed, EnginesResult, IdlePower, machine
from fer_perception.models.bundle import MANIFEST, Bundle, Precision
from fer_perception.models.shipped import resolve_model, share_folder
from fer_perception.settings import Backend, PrecisionChoice
from fer_perception.telemetry.energy import IDLE_S, TURN_S, CostMeter, carbon_text, grams_co2e

BATCHES = (1, 8)
BASELINE = "baseline"  # whatever the default model is
SPEED_TURN_S = 0.1  # for each engine and batch in a round
WARM_UP = 5

Table = np.ndarray[Any, np.dtype[np.float64]]


class Candidate(NamedTuple):
    """A bundle at one precision."""

    bundle: Bundle
    precision: Precision
    engine: Engine


class Measured(NamedTuple):
    """Of an inference at one batch size, float64, (rounds, candidates) each; ``joules`` are NaN where not measured."""

    ms: Table
    cpu_ms: Table
    joules: Table


def measure_engines(
    models: Sequence[str],
    precision: PrecisionChoice,
    backend: Backend,
    rounds: int,
    grid_intensity: float | None = None,
    root: Path = Path("/"),
) -> EnginesResult:
    """Latency, throughput, CPU time and energy of bundles, and their speed's ratio to the first one's.

    :param models: folders or names of shipped bundles; none: all that are shipped, ``baseline`` first.
    :param precision: "auto": every file of a bundle; the first is the reference.
    :param grid_intensity: of the electricity grid, in gCO2e/kWh; None: carbon is not stated.
    :param root: the folder that holds the power sensors' ``sys``, where it is not the machine's own.
    :raises FerError: a bundle cannot be used.
    """
    folders = [resolve_model(model) for model in models] or shipped()
    candidates: list[Candidate] = []
    try:
        for folder in folders:
            bundle = Bundle(folder)
            found = [name for name in get_args(Precision) if name in bundle.manifest.files]
            for name in found if precision == "auto" else [precision]:
                candidates.append(Candidate(bundle, name, load_engine(bundle, name, 1, backend).engine))
        with closing(CostMeter(root)) as meter:
            meter.measure_idle(IDLE_S)
            measured = _measure(candidates, rounds, meter)
            return EnginesResult(
                machine=machine(),
                energy=_idle_power(meter),
                grid_intensity_g_per_kwh=grid_intensity,
                engines=_speeds(candidates, measured, grid_intensity),
            )
    finally:
        for candidate in candidates:
            candidate.engine.close()


def shipped() -> list[Path]:
    """The folders of all shipped bundles, that which ratios are to first.

    :raises FerError: there is none.
    """
    folders = sorted(file.parent for file in (share_folder() / "models").glob(f"*/{MANIFEST}"))
    if not folders:
        raise FerError(f"{share_folder() / 'models'}: holds no bundle. Install fer_perception again")
    return sorted(folders, key=lambda folder: folder.name != BASELINE)


def _measure(candidates: Sequence[Candidate], rounds: int, meter: CostMeter) -> dict[int, Measured]:
    """By batch, what an inference takes."""
    rng = np.random.default_rng(0)
    measured = {batch: Measured(*np.zeros((3, rounds, len(candidates)))) for batch in BATCHES}
    # Joules need as long a turn as their sensor is slow; CPU time is exact to the microsecond.
    cost_turn_s = TURN_S if meter.sensor else SPEED_TURN_S
    for number in tqdm(range(rounds), unit="round"):
        for index, (bundle, _, engine) in enumerate(candidates):
            spec = bundle.manifest.input
            for batch, tables in measured.items():
                crops = rng.standard_normal((batch, spec.channels, spec.height, spec.width)).astype(np.float32)
                tables.ms[number, index] = turn_ms(engine, crops)
                cost = meter.cost(partial(engine.infer, crops), cost_turn_s)
                tables.cpu_ms[number, index], tables.joules[number, index] = cost
    return measured


def _idle_power(meter: CostMeter) -> IdlePower:
    if reason := meter.reason:
        return IdlePower(reason=reason)
    return IdlePower(sensor=meter.sensor, idle_w=round(meter.idle_w, 3), idle_s=IDLE_S)


def turn_ms(engine: Engine, crops: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """The median milliseconds of an inference during one turn."""
    for _ in range(WARM_UP):
        engine.infer(crops)
    durations: list[float] = []
    end_s = time.perf_counter() + SPEED_TURN_S
    while time.perf_counter() < end_s or not durations:
        begin_s = time.perf_counter()
        engine.infer(crops)
        durations.append((time.perf_counter() - begin_s) * 1000)
    return float(np.median(durations))


def _speeds(
    candidates: Sequence[Candidate], measured: dict[int, Measured], grid_intensity: float | None
) -> list[EngineSpeed]:
    speeds = []
    for index, (bundle, precision, engine) in enumerate(candidates):
        manifest, end = bundle.manifest, f"/test/{precision}"
        batches = {
            f"batch_{batch}": _batch_speed(tables, index, batch, grid_intensity) for batch, tables in measured.items()
        }
        speeds.append(
            EngineSpeed(
                name=manifest.name,
                precision=precision,
                model=bundle.model_id(precision),
                engine=engine.name,
                parameters=manifest.parameters,
                macs=manifest.macs,
                bytes=bundle.onnx_file(precision).stat().st_size,
                accuracy={
                    key.removesuffix(end): metrics["accuracy"]
                    for key, metrics in manifest.metrics.items()
                    if key.endswith(end)
                },
                **batches,
            )
        )
    return speeds


def _batch_speed(tables: Measured, index: int, batch: int, grid_intensity: float | None) -> BatchSpeed:
    ms, cpu_ms, joules = (float(np.median(table[:, index])) for table in tables)
    is_stated = grid_intensity is not None and not math.isnan(joules)
    return BatchSpeed(
        p50_ms=round(ms, 4),
        faces_per_s=round(batch * 1000 / ms, 1),
        speed_ratio=round(float(np.median(tables.ms[:, 0] / tables.ms[:, index])), 3),
        cpu_ms=round(cpu_ms, 4),
        joules=rounded(joules, 6),
        g_co2e_per_1000=round(grams_co2e(1000 * joules, grid_intensity or 0.0), 6) if is_stated else None,
    )


def format_engines(result: EnginesResult) -> str:
    """The result for people."""
    dataset = result.dataset
    header = f"{'':44}{'batch 1':>9}{'CPU':>8}{'batch 8':>10}{'ratio at':>9}{'':6}{'M':>8}{'M':>8}{'':>8}{'':>9}"
    names = f"{'ms':>9}{'ms':>8}{'faces/s':>10}{'1':>7}{'8':>8}{'param.':>8}{'MACs':>8}{'MB':>8}"
    lines = ["", header, f"{'':44}{names}  {dataset}"]
    for engine in result.engines:
        one, eight, accuracy = engine.batch_1, engine.batch_8, engine.accuracy.get(dataset)
        lines.append(
            f"{engine.name + ', ' + engine.precision:44}{one.p50_ms:9.3f}{one.cpu_ms:8.3f}"
            f"{eight.faces_per_s:10.0f}{one.speed_ratio:7.2f}{eight.speed_ratio:8.2f}"
            f"{engine.parameters / 1e6:8.2f}{engine.macs / 1e6:8.1f}{engine.bytes / 1e6:8.2f}  "
            + (f"{accuracy:.2%}" if accuracy is not None else "not measured")
        )
    return "\n".join([*lines, "", *_energy_lines(result)])


def _energy_lines(result: EnginesResult) -> list[str]:
    energy = result.energy
    if not energy.sensor:
        return [f"energy, carbon: not measured ({energy.reason})"]
    lines = [f"energy of one inference, batch 1, above {energy.idle_w:.2f} W idle, by {energy.sensor}:"]
    for engine in result.engines:
        joules = engine.batch_1.joules
        value = "not measured" if joules is None else f"{joules * 1000:.3f} mJ"
        carbon = carbon_text(math.nan if joules is None else joules, result.grid_intensity_g_per_kwh)
        lines.append(f"{engine.name + ', ' + engine.precision:44}{value}; carbon: {carbon}")
    return lines
