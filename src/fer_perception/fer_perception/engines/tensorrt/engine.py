"""TensorRT's runtime behind the interface of all engines.

It was never run where this was written, for want of a GPU: ``tests/test_gpu.py`` runs it where there is one.
"""

from __future__ import annotations

import hashlib
import logging
import math
from contextlib import suppress
from typing import Any

import numpy as np

from fer_perception.engines.cache import EngineCache
from fer_perception.engines.network import Network, Shape
from fer_perception.engines.tensorrt.bindings import LOGGER, VERSION, Tensor, engine_tensors, sizes, trt
from fer_perception.engines.tensorrt.cuda import CudaSession
from fer_perception.engines.tensorrt.preparation import Preparation, PreparedEngine, Target
from fer_perception.errors import EngineError
from fer_perception.types import Float32Array

log = logging.getLogger(__name__)


class TensorRTEngine:
    """An engine on the first GPU, or on one of a Jetson's accelerators.

    Several threads may call it; they take turns. More faces than the engine takes at once need several runs.

    :param prepared: the engine and the tensors it must have.
    :param network: of which it was built.
    :param target: what it was built for.
    :raises EngineError: it cannot be loaded, or has other tensors.
    """

    def __init__(self, prepared: PreparedEngine, network: Network, target: Target) -> None:
        where = target.gpu.name if target.dla_core < 0 else f"accelerator {target.dla_core} of {target.gpu.name}"
        self.name = f"{VERSION} on {where}"
        self.sha256 = hashlib.sha256(prepared.data).hexdigest()
        self._largest = network.inputs.largest
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
        most = self._largest[0]
        with self._session.active():
            return np.concatenate([self._run(batch[begin : begin + most])[0] for begin in range(0, len(batch), most)])

    def run(self, batch: Float32Array) -> list[Float32Array]:
        """See :meth:`Engine.run`.

        :raises EngineError: a run failed, or the engine is closed.
        """
        with self._session.active():
            return self._run(batch)

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
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self.name} has no room for the engine ({LOGGER.reasons()}). End other programs")
        self._tensors = tensors
        self._input = next(tensor for tensor in tensors if tensor.is_input)
        self._outputs = [tensor for tensor in prepared.tensors if not tensor.is_input]  # in the file's order
        if not self._set_shape(self._largest):
            raise EngineError(f"the engine does not take {self._largest} ({LOGGER.reasons()})")
        self._buffers = {
            tensor.name: self._session.buffer((math.prod(self._shape(tensor)),), np.float32) for tensor in tensors
        }
        if self._by_name:
            for name, buffer in self._buffers.items():
                self._context.set_tensor_address(name, buffer.address)

    @property
    def _by_name(self) -> bool:
        return hasattr(self._context, "execute_async_v3")  # from 8.5 on, before by number

    def _run(self, batch: Float32Array) -> list[Float32Array]:
        """All outputs."""
        if self._context is None:
            raise EngineError("the engine is closed: load it again")
        source = self._buffers[self._input.name]
        source.host[: batch.size] = batch.ravel()
        self._session.upload(source, batch.size)
        if not (self._set_shape(batch.shape) and self._enqueue()):
            raise EngineError(f"{self.name} cannot run the engine ({LOGGER.reasons()})")
        shapes = [self._shape(tensor) for tensor in self._outputs]
        for tensor, shape in zip(self._outputs, shapes, strict=True):
            self._session.download(self._buffers[tensor.name], math.prod(shape))
        self._session.synchronize()
        return [
            self._buffers[tensor.name].host[: math.prod(shape)].reshape(shape).copy()
            for tensor, shape in zip(self._outputs, shapes, strict=True)
        ]

    def _set_shape(self, shape: Shape) -> bool:
        if self._by_name:
            return bool(self._context.set_input_shape(self._input.name, shape))
        return bool(self._context.set_binding_shape(self._tensors.index(self._input), shape))

    def _shape(self, tensor: Tensor) -> Shape:
        """A tensor's shape with the input as it is."""
        if self._by_name:
            return sizes(self._context.get_tensor_shape(tensor.name))
        return sizes(self._context.get_binding_shape(self._tensors.index(tensor)))

    def _enqueue(self) -> bool:
        if self._by_name:
            return bool(self._context.execute_async_v3(self._session.stream))
        addresses = [self._buffers[tensor.name].address for tensor in self._tensors]
        return bool(self._context.execute_async_v2(addresses, self._session.stream))


def load_tensorrt_engine(network: Network, target: Target, cache: EngineCache | None = None) -> TensorRTEngine:
    """A network's engine: from the cache, or built now.

    :raises BundleError: the network's file cannot be used.
    :raises EngineError: TensorRT cannot build or run it here.
    """
    preparation = Preparation(network, target, cache)
    prepared = preparation.engine()
    try:
        return TensorRTEngine(prepared, network, target)
    except EngineError as error:
        if prepared.built:
            raise
        log.warning("%s: cannot be used (%s); it is built again", prepared.file, error)
    preparation.discard()
    return TensorRTEngine(preparation.engine(), network, target)
