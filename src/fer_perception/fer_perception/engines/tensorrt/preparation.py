"""The TensorRT engine of a network for one GPU: from the cache, or built and put there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from fer_perception.engines.cache import EngineCache, Entry, Facts
from fer_perception.engines.network import WORKSPACE_MB, Network
from fer_perception.engines.tensorrt.bindings import RTX, VERSION, Tensor
from fer_perception.engines.tensorrt.builder import BuildOptions, build
from fer_perception.engines.tensorrt.cuda import Gpu


class Target(NamedTuple):
    """What an engine is for. ``dla_core``: -1 for the GPU itself, else one of a Jetson's accelerators."""

    gpu: Gpu
    dla_core: int = -1

    def facts(self) -> Facts:
        """What of the target goes into an engine. TensorRT-RTX builds for all GPUs of a compute capability."""
        return {
            "tensorrt": VERSION,
            "gpu": "" if RTX else self.gpu.name,
            "compute_capability": self.gpu.compute_capability,
        }


class PreparedEngine(NamedTuple):
    """An engine. ``file``: where it lies; None: it could not be written. ``built``: just now."""

    data: bytes
    tensors: tuple[Tensor, ...]
    file: Path | None
    built: bool


class Preparation:
    """One network and one target."""

    def __init__(
        self,
        network: Network,
        target: Target,
        cache: EngineCache | None = None,
        workspace_mb: int = WORKSPACE_MB,
    ) -> None:
        self._network, self._target, self._cache = network, target, cache or EngineCache()
        self._content = network.file.read_bytes()
        self._options = BuildOptions(target.gpu.compute_capability, target.dla_core, workspace_mb)
        self._facts: Facts = {
            **target.facts(),
            "onnx_sha256": hashlib.sha256(self._content).hexdigest(),
            "precision": network.precision,
            "inputs": [list(shape) for shape in network.inputs],
            "dla_core": target.dla_core,
        }

    def engine(self) -> PreparedEngine:
        """The engine: the cached one, else a new one.

        :raises BundleError: the file's input and outputs are not the network's.
        :raises EngineError: TensorRT cannot parse it, or cannot build the engine on this machine.
        """
        with self._cache.lock(self._network.name, self._facts):
            return self._cached() or self._build()

    def discard(self) -> None:
        """Forget the cached engine."""
        self._cache.discard(self._network.name, self._facts)

    def _cached(self) -> PreparedEngine | None:
        entry = self._cache.load(self._network.name, self._facts)
        if entry is None:
            return None
        try:
            tensors = tuple(
                Tensor(name, is_input, tuple(shape), dtype) for name, is_input, shape, dtype in entry.details["tensors"]
            )
        except (KeyError, TypeError, ValueError):
            return None
        return PreparedEngine(entry.data, tensors, self._cache.path(self._network.name, self._facts), built=False)

    def _build(self) -> PreparedEngine:
        timings, facts = "timings", self._target.facts()
        known = self._cache.load(timings, facts)
        built = build(self._network, self._content, self._options, known.data if known else b"")
        file = self._cache.store(self._network.name, self._facts, Entry(built.data, {"tensors": built.tensors}))
        if file and built.timing_cache:
            self._cache.store(timings, facts, Entry(built.timing_cache, {}))
        return PreparedEngine(built.data, built.tensors, file, built=True)
