"""How fast bundles are, side by side: ``benchmark --engines``.

Engines of one thread, in rounds in which each has its turn: a shared machine's speed changes by the minute, so ratios
are taken within a round, and the median over the rounds counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from tqdm import tqdm

from fer_perception.backends import Backend, PrecisionChoice, load_engine
from fer_perception.bundle import MANIFEST, Bundle, Precision
from fer_perception.engine import Engine
from fer_perception.errors import FerError
from fer_perception.resources import DEFAULT_MODEL, resolve_model, share_folder

BATCHES = (1, 8)
TURN_S = 0.1  # for each engine and batch in a round
WARM_UP = 5

Result = dict[str, Any]


class Candidate(NamedTuple):
    """A bundle at one precision."""

    bundle: Bundle
    precision: Precision
    engine: Engine


def measure_engines(models: Sequence[str], precision: PrecisionChoice, backend: Backend, rounds: int) -> list[Result]:
    """Latency and throughput of bundles, and their ratio to the first one's.

    :param models: folders or names of shipped bundles; none: all that are shipped, the default first.
    :param precision: "auto": every file of a bundle; the first is the reference.
    :return: of each bundle and precision, in milliseconds by batch and as ratios, with what the manifest knows.
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
        return _rows(candidates, _measure(candidates, rounds))
    finally:
        for candidate in candidates:
            candidate.engine.close()


def shipped() -> list[Path]:
    """The folders of all shipped bundles, the default first.

    :raises FerError: there is none.
    """
    folders = sorted(file.parent for file in (share_folder() / "models").glob(f"*/{MANIFEST}"))
    if not folders:
        raise FerError(f"{share_folder() / 'models'}: holds no bundle. Install fer_perception again")
    return sorted(folders, key=lambda folder: folder.name != DEFAULT_MODEL)


def _measure(candidates: Sequence[Candidate], rounds: int) -> dict[int, np.ndarray[Any, np.dtype[np.float64]]]:
    """By batch, the median milliseconds of an inference: float64, (rounds, candidates)."""
    rng = np.random.default_rng(0)
    times_ms = {batch: np.zeros((rounds, len(candidates))) for batch in BATCHES}
    for number in tqdm(range(rounds), unit="round"):
        for index, (bundle, _, engine) in enumerate(candidates):
            spec = bundle.manifest.input
            for batch in BATCHES:
                crops = rng.standard_normal((batch, spec.channels, spec.height, spec.width)).astype(np.float32)
                times_ms[batch][number, index] = turn_ms(engine, crops)
    return times_ms


def turn_ms(engine: Engine, crops: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """The median milliseconds of an inference during one turn."""
    for _ in range(WARM_UP):
        engine.infer(crops)
    durations: list[float] = []
    end_s = time.perf_counter() + TURN_S
    while time.perf_counter() < end_s or not durations:
        begin_s = time.perf_counter()
        engine.infer(crops)
        durations.append((time.perf_counter() - begin_s) * 1000)
    return float(np.median(durations))


def _rows(candidates: Sequence[Candidate], times_ms: dict[int, np.ndarray[Any, np.dtype[np.float64]]]) -> list[Result]:
    rows = []
    for index, (bundle, precision, engine) in enumerate(candidates):
        manifest = bundle.manifest
        row: Result = {
            "name": manifest.name,
            "precision": precision,
            "model": bundle.model_id(precision),
            "engine": engine.name,
            "parameters": manifest.parameters,
            "macs": manifest.macs,
            "bytes": bundle.onnx_file(precision).stat().st_size,
            "accuracy": {
                key.split("/")[0]: metrics["accuracy"]
                for key, metrics in manifest.metrics.items()
                if key.endswith(f"/test/{precision}")
            },
        }
        for batch, durations in times_ms.items():
            row[f"batch_{batch}"] = {
                "p50_ms": round(float(np.median(durations[:, index])), 4),
                "faces_per_s": round(batch * 1000 / float(np.median(durations[:, index])), 1),
                "speed_ratio": round(float(np.median(durations[:, 0] / durations[:, index])), 3),
            }
        rows.append(row)
    return rows


def format_engines(rows: Sequence[Result]) -> str:
    """The rows for people."""
    datasets = [dataset for row in rows for dataset in row["accuracy"]]
    dataset = max(datasets, key=datasets.count) if datasets else ""
    header = f"{'':44}{'batch 1':>9}{'batch 8':>10}{'ratio at':>9}{'':6}{'M':>8}{'M':>8}{'':>8}{'':>9}"
    lines = ["", header, f"{'':44}{'ms':>9}{'faces/s':>10}{'1':>7}{'8':>8}{'param.':>8}{'MACs':>8}{'MB':>8}  {dataset}"]
    for row in rows:
        one, eight = row["batch_1"], row["batch_8"]
        accuracy = row["accuracy"].get(dataset)
        lines.append(
            f"{row['name'] + ', ' + row['precision']:44}{one['p50_ms']:9.3f}{eight['faces_per_s']:10.0f}"
            f"{one['speed_ratio']:7.2f}{eight['speed_ratio']:8.2f}"
            f"{row['parameters'] / 1e6:8.2f}{row['macs'] / 1e6:8.1f}{row['bytes'] / 1e6:8.2f}  "
            + (f"{accuracy:.2%}" if accuracy is not None else "not measured")
        )
    return "\n".join(lines)
