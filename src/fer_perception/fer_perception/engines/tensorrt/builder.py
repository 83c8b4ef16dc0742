"""From an ONNX file to a TensorRT engine, with every version from 8.2 to 11 and with TensorRT-RTX.

Nothing of TensorRT 8 and 10 was run where this was written: their interfaces were read in NVIDIA's published sources.
TensorRT-RTX 1.7, whose interface is that of TensorRT 11, builds in the tests.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from fer_perception.engines.network import WORKSPACE_MB, Network, Shapes, fits
from fer_perception.engines.tensorrt.bindings import LOGGER, RTX, VERSION, Tensor, network_tensors, trt
from fer_perception.errors import BundleError, EngineError
from fer_perception.models.bundle import Precision

log = logging.getLogger(__name__)

PROGRESS_S = 10.0


class BuildOptions(NamedTuple):
    """How to build.

    ``compute_capability``: of the GPU, such as "8.6"; TensorRT-RTX builds for it without having it. ``dla_core``: -1
    for the GPU, else a deep learning accelerator, with the GPU for what it cannot do.
    """

    compute_capability: str
    dla_core: int = -1
    workspace_mb: int = WORKSPACE_MB


class BuiltEngine(NamedTuple):
    """An engine, its inputs and outputs, and what the builder measured: for its next engine on the same GPU."""

    data: bytes
    tensors: tuple[Tensor, ...]
    timing_cache: bytes


def build(network: Network, content: bytes, options: BuildOptions, timing_cache: bytes = b"") -> BuiltEngine:
    """Build an engine. Takes from less than a second to many minutes; the log says how it goes.

    From TensorRT 10 on the file alone decides about precision, before that flags allow the network's.

    :param content: of the network's file.
    :param timing_cache: of an earlier build on the same GPU with the same TensorRT; b"": none.
    :raises BundleError: the file's input and outputs are not the network's.
    :raises EngineError: TensorRT cannot parse the file, or cannot build the engine on this machine.
    """
    LOGGER.errors.clear()
    try:
        builder = trt.Builder(LOGGER)
    except (RuntimeError, TypeError) as error:  # what pybind11 makes of a null pointer
        raise EngineError(f"{VERSION} cannot build here ({LOGGER.reasons()}). It needs a GPU and its driver") from error
    if options.dla_core >= builder.num_DLA_cores:
        raise EngineError(
            f"dla_core is {options.dla_core}, this machine has {builder.num_DLA_cores} such cores: use -1 for the GPU"
        )
    strongly_typed = _strongly_typed(options)
    onnx_file = network.file
    definition = builder.create_network(_network_flags(strongly_typed))
    parser = trt.OnnxParser(definition, LOGGER)
    if not parser.parse(content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise EngineError(f"{onnx_file}: {VERSION} cannot parse it ({reasons}). Use backend onnxruntime")
    _check(network, network_tensors(definition))
    config = builder.create_builder_config()
    if not strongly_typed:
        _allow_precision(config, network.precision)
    _limit_workspace(config, options.workspace_mb)
    _set_shapes(builder, definition, config, network.inputs)
    _set_device(config, options)
    if not RTX:  # which times nothing while it builds
        known = config.create_timing_cache(timing_cache) or config.create_timing_cache(b"")
        config.set_timing_cache(known, False)
    begin_s = time.monotonic()
    log.info("building a TensorRT engine of %s with %s: this can take minutes", onnx_file, VERSION)
    with _progress(config):
        serialized = builder.build_serialized_network(definition, config)
    if serialized is None:
        raise EngineError(f"{onnx_file}: {VERSION} built no engine ({LOGGER.reasons()}). Use backend onnxruntime")
    data = bytes(serialized)
    log.info("engine of %.1f MB built in %.1f s", len(data) / 1e6, time.monotonic() - begin_s)
    timings = b"" if RTX else bytes(config.get_timing_cache().serialize())
    return BuiltEngine(data, network_tensors(definition), timings)


def _strongly_typed(options: BuildOptions) -> bool:
    # TensorRT 10 for Jetson still takes DLA networks by the older flags, as 8 does.
    weak_dla = options.dla_core >= 0 and hasattr(trt.BuilderFlag, "FP16")
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and not weak_dla


def _network_flags(strongly_typed: bool) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    if strongly_typed:
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH)


def _check(network: Network, tensors: tuple[Tensor, ...]) -> None:
    outputs = [tensor.shape for tensor in tensors if not tensor.is_input]
    if (
        len(tensors) != 1 + len(network.outputs)
        or not network.inputs.are_taken_by(tensors[0].shape)
        or not all(fits(shape, wanted) for shape, wanted in zip(outputs, network.outputs, strict=True))
        or any(tensor.dtype != "FLOAT" for tensor in tensors)
    ):
        found = ", ".join(f"{tensor.name} {tensor.shape} {tensor.dtype}" for tensor in tensors)
        raise BundleError(
            f"{network.file}: has {found}; expected are one input {network.inputs.pattern} and outputs "
            f"{list(network.outputs)}, all float32, with any number for -1. Export the model again"
        )


def _allow_precision(config: trt.IBuilderConfig, precision: Precision) -> None:
    if precision != "fp32":
        config.set_flag(trt.BuilderFlag.FP16)  # with int8: for the layers that are not quantized
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


def _limit_workspace(config: trt.IBuilderConfig, megabytes: int) -> None:
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, megabytes << 20)
    else:
        older: Any = config  # before 8.4
        older.max_workspace_size = megabytes << 20


def _set_shapes(
    builder: trt.Builder, definition: trt.INetworkDefinition, config: trt.IBuilderConfig, shapes: Shapes
) -> None:
    tensor = definition.get_input(0)
    smallest, usual, largest = (trt.Dims(list(shape)) for shape in shapes)
    if shapes.smallest == shapes.largest:
        tensor.shape = usual
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(tensor.name, smallest, usual, largest)
    config.add_optimization_profile(profile)


def _set_device(config: trt.IBuilderConfig, options: BuildOptions) -> None:
    if options.dla_core >= 0:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if RTX:
        rtx: Any = trt
        known = {name[2:]: value for name, value in rtx.ComputeCapability.__members__.items() if name.startswith("SM")}
        if (wanted := options.compute_capability.replace(".", "")) not in known:
            names = ", ".join(f"{number[:-1]}.{number[-1]}" for number in known)
            raise EngineError(
                f"{VERSION} builds for the compute capabilities {names}, not {options.compute_capability}: use "
                "backend onnxruntime, or TensorRT itself"
            )
        rtx_config: Any = config
        rtx_config.num_compute_capabilities = 1
        rtx_config.set_compute_capability(known[wanted], 0)


@contextmanager
def _progress(config: trt.IBuilderConfig) -> Iterator[None]:
    """Say every few seconds that the build goes on, and what it is at where TensorRT tells (from 9 on)."""
    phases: dict[str, str] = {}
    monitor = _monitor(phases) if hasattr(trt, "IProgressMonitor") else None
    if monitor is not None:
        config.progress_monitor = monitor
    begin_s, done = time.monotonic(), threading.Event()

    def report() -> None:
        while not done.wait(PROGRESS_S):
            at = next(reversed(list(phases.values())), "")
            log.info("building for %.0f s%s", time.monotonic() - begin_s, at and f": {at}")

    thread = threading.Thread(target=report, name="build_progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        del monitor  # TensorRT used it until here


def _monitor(phases: dict[str, str]) -> trt.IProgressMonitor:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            phases[phase_name] = phase_name

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases[phase_name] = f"{phase_name}, {step + 1} of {self._steps[phase_name]}"
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            phases.pop(phase_name, None)

    return Monitor()
