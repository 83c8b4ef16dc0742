"""What is fastest on this CPU: measured at the first start, and remembered with built engines.

INT8 is faster than FP32 where the processor has instructions for it (VNNI, dot products) and may be slower where not.
Several threads pay off for several faces, unless the cores are slow to wake up, or a container may not use them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from fer_perception.engines.cache import EngineCache, Entry
from fer_perception.engines.network import Network, bundle_network
from fer_perception.engines.onnx_runtime import OnnxRuntimeEngine
from fer_perception.files import sha256_of
from fer_perception.models.bundle import Bundle, Precision

CANDIDATES: tuple[Precision, ...] = ("fp32", "int8")  # a CPU has to convert fp16
FACES = 8  # that threads are measured with
PAYS_OFF = 0.9  # more threads must take at most this fraction of the time of fewer
WARM_UP, ROUNDS = 3, 15

Candidate = tuple[Network, int, int]  # threads, and faces of a batch


def fastest_on_cpu(bundle: Bundle) -> tuple[Precision, str]:
    """The precision, and why; of a bundle that has none of :data:`CANDIDATES` its first one.

    :raises BundleError: ONNX Runtime cannot load a file.
    """
    files = bundle.manifest.files
    candidates = [name for name in CANDIDATES if name in files]
    if len(candidates) < 2:
        return (candidates or [*files])[0], "a CPU has to convert fp16"
    facts = {"files": {name: files[name].sha256 for name in candidates}}
    times_ms = _remembered(
        f"{bundle.manifest.name}-precision",
        facts,
        lambda: _measure({name: (bundle_network(bundle, name), 1, 1) for name in candidates}),
    )
    times = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in times_ms.items())
    return min(candidates, key=lambda name: times_ms[name]), f"a face took on this CPU: {times}"


def threads_on_cpu(network: Network) -> tuple[int, str]:
    """How many threads pay off with several faces, and why.

    :raises BundleError: ONNX Runtime cannot load the file.
    """
    cores = len(os.sched_getaffinity(0))
    counts = [count for count in (1, 2, 4, 8) if count <= cores]
    if len(counts) < 2:
        return 1, "there is one core"
    faces = min(FACES, network.inputs.largest[0])
    times_ms = _remembered(
        f"{network.name}-threads",
        {"file": sha256_of(network.file), "cores": cores},
        lambda: _measure({str(count): (network, count, faces) for count in counts}),
    )
    chosen = 1
    for count in counts[1:]:
        if times_ms[str(count)] <= PAYS_OFF * times_ms[str(chosen)]:
            chosen = count
    times = ", ".join(f"{count}: {milliseconds:.2f} ms" for count, milliseconds in times_ms.items())
    return chosen, f"{faces} faces took on this CPU with so many threads: {times}"


def _remembered(stem: str, facts: dict[str, Any], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What was measured under these facts, on this processor."""
    facts = {"onnxruntime": onnxruntime.__version__, "processor": _processor(), **facts}
    cache = EngineCache()
    with cache.lock(stem, facts):
        entry = cache.load(stem, facts)
        if entry is None:
            entry = Entry(json.dumps(measure()).encode(), {})
            cache.store(stem, facts, entry)
    found: dict[str, float] = json.loads(entry.data)
    return found


def _measure(candidates: dict[str, Candidate]) -> dict[str, float]:
    """Milliseconds of a batch; the candidates take turns, and of each the fastest round counts: what other programs did
    in the others is not to be remembered.
    """
    durations: dict[str, list[float]] = {name: [] for name in candidates}
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(closing(OnnxRuntimeEngine(network.file, threads)))
            for name, (network, threads, _) in candidates.items()
        }
        batches = {
            name: np.zeros((faces, *network.inputs.usual[1:]), np.float32)
            for name, (network, _, faces) in candidates.items()
        }
        for _ in range(WARM_UP + ROUNDS):
            for name, engine in engines.items():
                begun_s = time.perf_counter()
                engine.infer(batches[name])
                durations[name].append((time.perf_counter() - begun_s) * 1000)
    return {name: min(values[WARM_UP:]) for name, values in durations.items()}


def _processor() -> str:
    """A hash of what the processor is and can do; virtual machines of one name differ in their instructions."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    told = {name.strip(): value for name, _, value in (line.partition(":") for line in lines)}
    known = [told.get(name, "") for name in ("model name", "flags", "CPU part", "Features")]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]
