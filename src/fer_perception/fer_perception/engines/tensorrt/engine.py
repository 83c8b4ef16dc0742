"""TensorRT's runtime behind the interface of all engines.

It was never run where this was written, for want of a GPU: ``tests/test_gpu.py`` runs it where there is one.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from typing import Any

import numpy as np

from fer_perception.engines.tensorrt.bindings import LOGGER, VERSION, engine_tensors, trt
from fer_perception.engines.tensorrt.cache import EngineCache
from fer_perception.engines.tensorrt.cuda import CudaSession
from fer_perception.engines.tensorrt.preparation import Preparation, PreparedEngine, Target
from fer_perception.errors import EngineError
from fer_perception.models.bundle import Bundle, Precision
from fer_perception.types import Float32Array

log = logging.getLogger(__name__)


class TensorRTEngine:
    """An engine on the first GPU, or on one of a Jetson's accelerators.

    Several threads may call it; they take turns. More faces than the engine takes at once need several runs.

    :param prepared: the engine and the tensors it must have.
    :param target: what it was built for.
    :raises EngineError: it cannot be loaded, or has other tensors.
    """

    def __init__(self, prepared: PreparedEngine, target: Target) -> None:
        where = target.gpu.name if target.dla_core < 0 else f"accelerator {target.dla_core} of {target.gpu.name}"
        self.name = f"{VERSION} on {where}"
        self.sha256 = hashlib.sha256(prepared.data).hexdigest()
        self._largest = target.batches.largest
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._context: Any = None  # the interface before 8.5 is not in the type stubs
        self._session = CudaSession()
        try:
            with self._session.active():
                self._load(prepared, target.dla_core)
        except BaseException:
            self.close()
            raise

    def infer(self, batch: Float32Array) -> Float32Array:
        """See :meth:`Engine.infer`.

        :raises EngineError: a run failed, or the engine is closed.
        """
        with self._session.active():
            parts = range(0, len(batch), self._largest)
            return np.concatenate([self._run(batch[begin : begin + self._largest]) for begin in parts])

    def close(self) -> None:
        """See :meth:`Engine.close`. Waits for the run at hand."""
        with suppress(EngineError), self._session.active():
            # In this order: each is used by the one before.
            self._context = None
            self._engine = None
            self._runtime = None
        self._session.close()

    def _load(self, prepared: PreparedEngine, dla_core: int) -> None:
        LOGGER.errors.clear()
        self._runtime = runtime = trt.Runtime(LOGGER)
        if dla_core >= 0:
            runtime.DLA_core = dla_core
        self._engine = engine = runtime.deserialize_cuda_engine(prepared.data)
        if engine is None:
            raise EngineError(f"{self.name} cannot load the engine ({LOGGER.reasons()})")
        tensors = engine_tensors(engine)
        if sorted(tensors) != sorted(prepared.tensors):
            raise EngineError(f"the engine has {tensors} where {prepared.tensors} were built")
        crops, logits = sorted(tensors, key=lambda tensor: not tensor.is_input)
        self._crops = self._session.buffer((self._largest, *crops.shape[1:]), np.float32)
        self._logits = self._session.buffer((self._largest, *logits.shape[1:]), np.float32)
        addresses = {crops.name: self._crops.address, logits.name: self._logits.address}
        self._input, self._input_number, self._shape = crops.name, tensors.index(crops), crops.shape[1:]
        self._bindings = [addresses[tensor.name] for tensor in tensors]
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self.name} has no room for the engine ({LOGGER.reasons()}). End other programs")
        if self._by_name:
            for name, address in addresses.items():
                self._context.set_tensor_address(name, address)

    @property
    def _by_name(self) -> bool:
        return hasattr(self._context, "execute_async_v3")  # from 8.5 on, before by number

    def _run(self, part: Float32Array) -> Float32Array:
        if self._context is None:
            raise EngineError("the engine is closed: load it again")
        count = len(part)
        self._crops.host[:count] = part
        self._session.upload(self._crops, count)
        if not self._enqueue((count, *self._shape)):
            raise EngineError(f"{self.name} cannot run the engine ({LOGGER.reasons()})")
        self._session.download(self._logits, count)
        self._session.synchronize()
        return self._logits.host[:count].copy()

    def _enqueue(self, shape: tuple[int, ...]) -> bool:
        if self._by_name:
            return bool(
                self._context.set_input_shape(self._input, shape)
                and self._context.execute_async_v3(self._session.stream)
            )
        return bool(
            self._context.set_binding_shape(self._input_number, shape)
            and self._context.execute_async_v2(self._bindings, self._session.stream)
        )


def load_tensorrt_engine(
    bundle: Bundle, precision: Precision, target: Target, cache: EngineCache | None = None
) -> TensorRTEngine:
    """A bundle's engine: from the cache, or built now.

    :raises BundleError: the bundle's file cannot be used.
    :raises EngineError: TensorRT cannot build or run it here.
    """
    preparation = Preparation(bundle, precision, target, cache)
    prepared = preparation.engine()
    try:
        return TensorRTEngine(prepared, target)
    except EngineError as error:
        if prepared.built:
            raise
        log.warning("%s: cannot be used (%s); it is built again", prepared.file, error)
    preparation.discard()
    return TensorRTEngine(preparation.engine(), target)
