"""TensorRT's Python package, wherever it comes from, and what differs between its versions when engines are described.

Import this module only where TensorRT is wanted: it raises :class:`EngineError` where there is none.

Three packages have the same interface: ``tensorrt`` (JetPack's, and NVIDIA's for servers), ``tensorrt_rtx`` and
``tensorrt_rtx_bindings`` (TensorRT for RTX, without and with libraries of its own).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from fer_perception.errors import EngineError

log = logging.getLogger(__name__)

# The bindings of TensorRT for RTX find the libraries that this package brings only when they are loaded already.
RTX_LIBRARIES = "onnxruntime_ep_nv_tensorrt_rtx"
RTX_LOAD_ORDER = ("libcudart.so*", "libtensorrt_rtx.so*", "libtensorrt_onnxparser_rtx.so*")


def _find() -> ModuleType:
    reasons = []
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            if name == "tensorrt_rtx_bindings":
                _load_rtx_libraries()
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            reasons.append(f"{name}: {error}")
            continue
        if hasattr(module, "Builder"):
            return module
        reasons.append(f"{name}: is not the real package")  # type stubs make a folder of that name
    raise EngineError(
        f"TensorRT's Python package cannot be imported ({'; '.join(reasons)}). On a Jetson: "
        "sudo apt install python3-libnvinfer, and a virtual environment that sees it; see docs/jetson.md"
    )


def _load_rtx_libraries() -> None:
    spec = importlib.util.find_spec(RTX_LIBRARIES)
    for folder in spec.submodule_search_locations or () if spec else ():
        for pattern in RTX_LOAD_ORDER:
            for library in sorted(Path(folder).glob(pattern))[:1]:
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = _find()

RTX = trt.__name__ != "tensorrt"
NAME = "TensorRT-RTX" if RTX else "TensorRT"
VERSION = f"{NAME} {trt.__version__}"


class Logger(trt.ILogger):
    """TensorRT's messages in the log. Its information is of use to its developers: level debug.

    ``errors``: the last ones, to be told by whoever failed because of them.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: deque[str] = deque(maxlen=5)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            self.errors.append(msg)
        elif severity == trt.ILogger.WARNING:
            log.warning("%s: %s", NAME, msg)
        else:
            log.debug("%s: %s", NAME, msg)

    def reasons(self) -> str:
        """The last errors, which are forgotten then."""
        text = "; ".join(self.errors)
        self.errors.clear()
        return text or "it gave no reason"


LOGGER = Logger()  # TensorRT keeps one logger for the process


class Tensor(NamedTuple):
    """An input or output. ``shape``: -1 where it is dynamic; ``dtype``: TensorRT's name, FLOAT for float32."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: str


def sizes(dimensions: trt.Dims) -> tuple[int, ...]:
    """Dimensions as plain numbers."""
    return tuple(dimensions[index] for index in range(len(dimensions)))


def network_tensors(network: trt.INetworkDefinition) -> tuple[Tensor, ...]:
    """Inputs and outputs of a network, in its order."""
    inputs = [(network.get_input(index), True) for index in range(network.num_inputs)]
    outputs = [(network.get_output(index), False) for index in range(network.num_outputs)]
    return tuple(
        Tensor(tensor.name, is_input, sizes(tensor.shape), tensor.dtype.name) for tensor, is_input in inputs + outputs
    )


def engine_tensors(engine: trt.ICudaEngine) -> tuple[Tensor, ...]:
    """Inputs and outputs of an engine, in its order."""
    if hasattr(engine, "num_io_tensors"):
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return tuple(
            Tensor(
                name,
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                sizes(engine.get_tensor_shape(name)),
                engine.get_tensor_dtype(name).name,
            )
            for name in names
        )
    bindings: Any = engine  # before 8.5
    return tuple(
        Tensor(
            bindings.get_binding_name(index),
            bindings.binding_is_input(index),
            sizes(bindings.get_binding_shape(index)),
            bindings.get_binding_dtype(index).name,
        )
        for index in range(bindings.num_bindings)
    )
