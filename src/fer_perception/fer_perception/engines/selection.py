"""Which engine runs a bundle, and which of its files: chosen with a reason in the log, loaded and tried out."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from fer_perception.engines.onnx_runtime import Engine, OnnxRuntimeEngine
from fer_perception.engines.tensorrt.cuda import Gpu, driver_installed, find_gpu
from fer_perception.errors import BundleError, EngineError, FerError
from fer_perception.models.bundle import Bundle, Precision
from fer_perception.settings import Backend, PrecisionChoice

log = logging.getLogger(__name__)


class LoadedEngine(NamedTuple):
    """An engine and which file of the bundle it runs."""

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
    :param threads: of ONNX Runtime; see :class:`OnnxRuntimeEngine`.
    :param backend: "auto": TensorRT where a GPU has it, else ONNX Runtime.
    :param dla_core: with TensorRT, one of a Jetson's accelerators; -1: the GPU.
    :raises BundleError: the bundle or its file cannot be used.
    :raises EngineError: backend is "tensorrt" and TensorRT cannot be had or run here.
    """
    if backend == "tensorrt":
        try:
            return _load_tensorrt(bundle, precision, find_gpu(), dla_core)
        except EngineError as error:
            raise EngineError(f"backend tensorrt: {error}. Or use backend auto or onnxruntime") from error
    if backend == "auto" and (loaded := _try_tensorrt(bundle, precision, dla_core)):
        return loaded
    chosen = choose_precision(bundle, precision)
    return _tried(bundle, LoadedEngine(OnnxRuntimeEngine(bundle.onnx_file(chosen), threads), chosen))


def choose_precision(
    bundle: Bundle, precision: PrecisionChoice, gpu: Gpu | None = None, dla_core: int = -1
) -> Precision:
    """A file of the bundle for the CPU or a GPU; says why in the log where that was left open."""
    if precision != "auto":
        return precision
    order, reason = fastest_precisions(gpu, dla_core)
    available = bundle.manifest.files
    chosen = next((name for name in order if name in available), next(iter(available)))
    if len(available) > 1:
        log.info("precision auto: %s of %s, because %s", chosen, ", ".join(sorted(available)), reason)
    return chosen


def fastest_precisions(gpu: Gpu | None, dla_core: int = -1) -> tuple[tuple[Precision, ...], str]:
    """Precisions from the fastest on, and why. None: the CPU."""
    if gpu is None:
        return ("int8", "fp32"), "a CPU is fastest with int8 and has to convert fp16"
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


def _try_tensorrt(bundle: Bundle, precision: PrecisionChoice, dla_core: int) -> LoadedEngine | None:
    try:
        gpu = find_gpu()
    except EngineError as error:
        level = logging.WARNING if driver_installed() else logging.INFO
        log.log(level, "backend auto: ONNX Runtime, because no GPU can be used: %s", error)
        return None
    try:
        return _load_tensorrt(bundle, precision, gpu, dla_core)
    except Exception as error:  # whatever TensorRT does, a robot goes on with its CPU
        unexpected = None if isinstance(error, FerError) else error
        log.warning("backend auto: ONNX Runtime, because TensorRT failed: %s", error, exc_info=unexpected)
        return None


def _load_tensorrt(bundle: Bundle, precision: PrecisionChoice, gpu: Gpu, dla_core: int) -> LoadedEngine:
    from fer_perception.engines.tensorrt.engine import load_tensorrt_engine  # raises where TensorRT is missing
    from fer_perception.engines.tensorrt.preparation import Target

    chosen = choose_precision(bundle, precision, gpu, dla_core)
    engine = load_tensorrt_engine(bundle, chosen, Target(gpu, dla_core))
    log.info("backend: %s", engine.name)
    return _tried(bundle, LoadedEngine(engine, chosen))


def _tried(bundle: Bundle, loaded: LoadedEngine) -> LoadedEngine:
    try:
        _try_out(bundle, loaded)
    except BaseException:
        loaded.engine.close()
        raise
    return loaded


def _try_out(bundle: Bundle, loaded: LoadedEngine) -> None:
    manifest = bundle.manifest
    spec, file = manifest.input, bundle.path / manifest.files[loaded.precision].name
    expected = (1, len(manifest.labels))
    try:
        shape = loaded.engine.infer(np.zeros((1, spec.channels, spec.height, spec.width), np.float32)).shape
    except FerError:
        raise
    except Exception as error:  # what engines raise has no common base
        raise BundleError(f"{file}: does not take the manifest's input ({error}). Export the model again") from error
    if shape != expected:
        raise BundleError(f"{file}: returns {shape} where {expected} fits the manifest. Export the model again")
