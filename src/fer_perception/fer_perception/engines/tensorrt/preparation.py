"""The TensorRT engine of a bundle's file for one GPU: from the cache, or built and put there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from fer_perception.engines.tensorrt.bindings import RTX, VERSION, Tensor
from fer_perception.engines.tensorrt.builder import WORKSPACE_MB, Batches, BuildOptions, build
from fer_perception.engines.tensorrt.cache import EngineCache, Entry, Facts
from fer_perception.engines.tensorrt.cuda import Gpu
from fer_perception.errors import BundleError
from fer_perception.models.bundle import Bundle, Precision

# Most images show one face, and more than these are processed in turns. An accelerator takes one size of batch only.
BATCHES = Batches(1, 1, 16)
DLA_BATCHES = Batches(1, 1, 1)


class Target(NamedTuple):
    """What an engine is for. ``dla_core``: -1 for the GPU itself, else one of a Jetson's accelerators."""

    gpu: Gpu
    dla_core: int = -1

    @property
    def batches(self) -> Batches:
        """Sizes of batch the engine takes."""
        return BATCHES if self.dla_core < 0 else DLA_BATCHES

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
    """One bundle's file and one target.

    :raises BundleError: the bundle's file cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision,
        target: Target,
        cache: EngineCache | None = None,
        workspace_mb: int = WORKSPACE_MB,
    ) -> None:
        self._bundle, self._target, self._cache = bundle, target, cache or EngineCache()
        self._onnx_file = bundle.onnx_file(precision)
        self._content = self._onnx_file.read_bytes()
        self._options = BuildOptions(
            precision, target.batches, target.gpu.compute_capability, target.dla_core, workspace_mb
        )
        self._stem = f"{bundle.manifest.name}-{precision}"
        self._facts: Facts = {
            **target.facts(),
            "onnx_sha256": hashlib.sha256(self._content).hexdigest(),
            "precision": precision,
            "batches": list(target.batches),
            "dla_core": target.dla_core,
        }

    def engine(self) -> PreparedEngine:
        """The engine: the cached one, else a new one.

        :raises BundleError: the file does not fit the manifest.
        :raises EngineError: TensorRT cannot parse it, or cannot build the engine on this machine.
        """
        with self._cache.lock(self._stem, self._facts):
            engine = self._cached() or self._build()
        self._check(engine.tensors)
        return engine

    def discard(self) -> None:
        """Forget the cached engine."""
        self._cache.discard(self._stem, self._facts)

    def _cached(self) -> PreparedEngine | None:
        entry = self._cache.load(self._stem, self._facts)
        if entry is None:
            return None
        try:
            tensors = tuple(
                Tensor(name, is_input, tuple(shape), dtype) for name, is_input, shape, dtype in entry.details["tensors"]
            )
        except (KeyError, TypeError, ValueError):
            return None
        return PreparedEngine(entry.data, tensors, self._cache.path(self._stem, self._facts), built=False)

    def _build(self) -> PreparedEngine:
        timings, facts = "timings", self._target.facts()
        known = self._cache.load(timings, facts)
        built = build(self._onnx_file, self._content, self._options, known.data if known else b"")
        file = self._cache.store(self._stem, self._facts, Entry(built.data, {"tensors": built.tensors}))
        if file and built.timing_cache:
            self._cache.store(timings, facts, Entry(built.timing_cache, {}))
        return PreparedEngine(built.data, built.tensors, file, built=True)

    def _check(self, tensors: tuple[Tensor, ...]) -> None:
        manifest = self._bundle.manifest
        spec = manifest.input
        wanted = [(spec.channels, spec.height, spec.width), (len(manifest.labels),)]
        if [tensor.shape[1:] for tensor in tensors] != wanted:
            raise BundleError(
                f"{self._onnx_file}: its tensors {[tensor.shape[1:] for tensor in tensors]} are not the manifest's "
                f"{wanted}. Export the model again"
            )
