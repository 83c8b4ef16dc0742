"""Which of a bundle's files is fastest on this CPU: measured at the first start, and remembered with built engines.

INT8 is faster than FP32 where the processor has instructions for it (VNNI, dot products) and may be slower where not.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import onnxruntime

from fer_perception.engines.cache import EngineCache, Entry
from fer_perception.engines.network import bundle_network
from fer_perception.engines.onnx_runtime import OnnxRuntimeEngine
from fer_perception.models.bundle import Bundle, Precision

CANDIDATES: tuple[Precision, ...] = ("fp32", "int8")  # a CPU has to convert fp16
WARM_UP, ROUNDS = 3, 15


def fastest_on_cpu(bundle: Bundle) -> tuple[Precision, str]:
    """The precision, and why; of a bundle that has none of :data:`CANDIDATES` its first one.

    :raises BundleError: ONNX Runtime cannot load a file.
    """
    files = bundle.manifest.files
    candidates = [name for name in CANDIDATES if name in files]
    if len(candidates) < 2:
        return (candidates or [*files])[0], "a CPU has to convert fp16"
    facts = {
        "onnxruntime": onnxruntime.__version__,
        "processor": _processor(),
        "files": {name: files[name].sha256 for name in candidates},
    }
    cache, stem = EngineCache(), f"{bundle.manifest.name}-precision"
    with cache.lock(stem, facts):
        entry = cache.load(stem, facts)
        if entry is None:
            entry = Entry(json.dumps(_measure(bundle, candidates)).encode(), {})
            cache.store(stem, facts, entry)
    medians: dict[Precision, float] = json.loads(entry.data)
    times = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in medians.items())
    return min(medians, key=lambda name: medians[name]), f"a face took on this CPU: {times}"


def _measure(bundle: Bundle, candidates: list[Precision]) -> dict[Precision, float]:
    """Milliseconds of one face, medians; the files take turns, so that all meet the same other load."""
    durations: dict[Precision, list[float]] = {name: [] for name in candidates}
    with ExitStack() as stack:
        engines = {}
        for name in candidates:
            network = bundle_network(bundle, name)
            engines[name] = stack.enter_context(closing(OnnxRuntimeEngine(network.file)))
            face = np.zeros((1, *network.inputs.usual[1:]), np.float32)
        for _ in range(WARM_UP + ROUNDS):
            for name, engine in engines.items():
                begun_s = time.perf_counter()
                engine.infer(face)
                durations[name].append((time.perf_counter() - begun_s) * 1000)
    return {name: float(np.median(values[WARM_UP:])) for name, values in durations.items()}


def _processor() -> str:
    """A hash of what the processor is and can do; virtual machines of one name differ in their instructions."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    told = {name.strip(): value for name, _, value in (line.partition(":") for line in lines)}
    known = [told.get(name, "") for name in ("model name", "flags", "CPU part", "Features")]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]
