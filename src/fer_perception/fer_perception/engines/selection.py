"""Which engine runs a network, and which file of a bundle: chosen with a reason in the log, loaded and tried out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fer_perception.engines.cpu_choices import fastest_on_cpu, threads_on_cpu
from fer_perception.engines.network import Network, bundle_network, fits
from fer_perception.engines.onnx_runtime import Engine, OnnxRuntimeEngine
from fer_perception.engines.tensorrt.cuda import Gpu, driver_installed, find_gpu
from fer_perception.errors import BundleError, EngineError, FerError
from fer_perception.models.bundle import Bundle, Precision
from fer_perception.settings import Backend, PrecisionChoice

log = logging.getLogger(__name__)


class LoadedEngine(NamedTuple):
    """An engine and the precision of the file it runs."""

    engine: Engine
    precision: Precision


def load_engine(
    bundle: Bundle,
    precision: PrecisionChoice = "fp32",
    threads: int = 1,
    backend: Backend = "onnxruntime",
    dla_core: int = -1,
) -> LoadedEngine:
    """An engine for a bundle, checked against its manifest by one trial inference.

    :param precision: which file; "auto": the one that is fastest where it runs.
    :param threads: of ONNX Runtime, see :class:`OnnxRuntimeEngine`; 0: as many as pay off with several faces.
    :param backend: "auto": TensorRT where a GPU has it, else ONNX Runtime.
    :param dla_core: with TensorRT, one of a Jetson's accelerators; -1: the GPU.
    :raises BundleError: the bundle or its file cannot be used.
    :raises EngineError: backend is "tensorrt" and TensorRT cannot be had or run here.
    """

    def network(gpu: Gpu | None) -> Network:
        return bundle_network(bundle, choose_precision(bundle, precision, gpu, dla_core), dla_core)

    return _load(network, threads, backend, dla_core)


def load_network(network: Network, backend: Backend) -> Engine:
    """An engine for a network that is no bundle's, checked by one trial inference.

    :raises EngineError: backend is "tensorrt" and TensorRT cannot be had or run here.
    """
    return _load(lambda gpu: network, 1, backend, -1).engine


def _load(choose: Callable[[Gpu | None], Network], threads: int, backend: Backend, dla_core: int) -> LoadedEngine:
    """``choose``: the network for a GPU, or for the CPU."""
    if backend == "tensorrt":
        try:
            return _load_tensorrt(choose, find_gpu(), dla_core)
        except EngineError as error:
            raise EngineError(f"backend tensorrt: {error}. Or use backend auto or onnxruntime") from error
    if backend == "auto" and (loaded := _try_tensorrt(choose, dla_core)):
        return loaded
    network = choose(None)
    if not threads:
        threads, reason = threads_on_cpu(network)
        log.info("threads of %s: %d, because %s", network.name, threads, reason)
    return _tried(network, OnnxRuntimeEngine(network.file, threads))


def choose_precision(
    bundle: Bundle, precision: PrecisionChoice, gpu: Gpu | None = None, dla_core: int = -1
) -> Precision:
    """A file of the bundle for the CPU or a GPU; says why in the log where that was left open."""
    if precision != "auto":
        return precision
    available = bundle.manifest.files
    if gpu is None:
        chosen, reason = fastest_on_cpu(bundle)
    else:
        order, reason = fastest_precisions(gpu, dla_core)
        chosen = next((name for name in order if name in available), next(iter(available)))
    if len(available) > 1:
        log.info("precision auto: %s of %s, because %s", chosen, ", ".join(sorted(available)), reason)
    return chosen


def fastest_precisions(gpu: Gpu, dla_core: int = -1) -> tuple[tuple[Precision, ...], str]:
    """Precisions from the fastest on, and why."""
    capability = tuple(map(int, gpu.compute_capability.split(".")))
    where = f"{gpu.name} (compute capability {gpu.compute_capability})"
    if dla_core >= 0:
        return ("fp16", "int8"), "a deep learning accelerator computes in fp16 and takes quantized files badly"
    # NVIDIA's tables of hardware and precision in TensorRT's support matrices.
    fast_int8 = capability >= (6, 1) and capability != (6, 2)
    fast_fp16 = capability >= (5, 3) and capability != (6, 1)
    if fast_int8:
        return ("int8", "fp16", "fp32") if fast_fp16 else ("int8", "fp32"), f"{where} has fast int8"
    if fast_fp16:
        return ("fp16", "fp32"), f"{where} has fast fp16 and no fast int8"
    return ("fp32",), f"{where} has neither fast fp16 nor fast int8"


def _try_tensorrt(choose: Callable[[Gpu | None], Network], dla_core: int) -> LoadedEngine | None:
    try:
        gpu = find_gpu()
    except EngineError as error:
        level = logging.WARNING if driver_installed() else logging.INFO
        log.log(level, "backend auto: ONNX Runtime, because no GPU can be used: %s", error)
        return None
    try:
        return _load_tensorrt(choose, gpu, dla_core)
    except Exception as error:  # whatever TensorRT does, a robot goes on with its CPU
        unexpected = None if isinstance(error, FerError) else error
        log.warning("backend auto: ONNX Runtime, because TensorRT failed: %s", error, exc_info=unexpected)
        return None


def _load_tensorrt(choose: Callable[[Gpu | None], Network], gpu: Gpu, dla_core: int) -> LoadedEngine:
    from fer_perception.engines.tensorrt.engine import load_tensorrt_engine  # raises where TensorRT is missing
    from fer_perception.engines.tensorrt.preparation import Target

    network = choose(gpu)
    engine = load_tensorrt_engine(network, Target(gpu, dla_core))
    log.info("backend of %s: %s", network.name, engine.name)
    return _tried(network, engine)


def _tried(network: Network, engine: Engine) -> LoadedEngine:
    try:
        _try_out(network, engine)
    except BaseException:
        engine.close()
        raise
    return LoadedEngine(engine, network.precision)


def _try_out(network: Network, engine: Engine) -> None:
    try:
        shapes = [output.shape for output in engine.run(np.zeros(network.inputs.usual, np.float32))]
    except FerError:
        raise
    except Exception as error:  # what engines raise has no common base
        raise BundleError(
            f"{network.file}: does not take {network.inputs.usual} ({error}). Export the model again"
        ) from error
    wanted = network.outputs
    if len(shapes) != len(wanted) or not all(fits(*pair) for pair in zip(shapes, wanted, strict=True)):
        raise BundleError(f"{network.file}: returns {shapes} where {list(wanted)} fits. Export the model again")
