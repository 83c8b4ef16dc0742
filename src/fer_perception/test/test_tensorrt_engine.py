"""The CUDA session and the TensorRT runtime's use, on stand-ins for pycuda and TensorRT.

No GPU is needed: the stand-ins keep to the rules of the originals (a context must be current in the calling thread, a
copy is done when its stream is synchronised, ...) and fail where they are broken. Both on a GPU: ``test_gpu.py``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fer_perception.engines.network import Network, Shapes, bundle_network
from fer_perception.engines.tensorrt.cuda import CudaSession, Gpu, find_gpu
from fer_perception.errors import EngineError
from fer_perception.models.bundle import Bundle


class FakePinned:
    """Pinned memory, as numpy sees it."""

    def __init__(self, driver: FakeDriver, shape: tuple[int, ...], dtype: Any) -> None:
        self._driver, self._memory = driver, np.full(shape, np.nan, dtype)
        self.__array_interface__ = self._memory.__array_interface__
        driver.live.add(self)

    def free(self) -> None:
        self._driver.need_context()
        self._driver.live.remove(self)


class FakeDeviceMemory:
    def __init__(self, driver: FakeDriver, size: int) -> None:
        self.memory = np.zeros(size // 4, np.float32)
        self._driver = driver
        driver.live.add(self)
        driver.addresses[int(self)] = self.memory

    def __int__(self) -> int:
        return id(self.memory)

    def free(self) -> None:
        self._driver.need_context()
        self._driver.live.remove(self)
        del self._driver.addresses[int(self)]


class FakeContext:
    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        driver.live.add(self)

    def push(self) -> None:
        self._driver.stack().append(self)

    def detach(self) -> None:
        assert self._driver.stack() == [self], "pycuda would not release it"
        self._driver.stack().pop()
        self._driver.live.remove(self)


class FakeStream:
    """Does nothing before it is synchronised."""

    def __init__(self, driver: FakeDriver) -> None:
        driver.need_context()
        self._driver, self._work, self.handle = driver, [], len(driver.streams) + 1
        driver.streams[self.handle] = self

    def enqueue(self, work: Callable[[], None]) -> None:
        self._driver.need_context()
        self._work.append(work)

    def synchronize(self) -> None:
        self._driver.need_context()
        while self._work:
            self._work.pop(0)()


class FakeDriver(ModuleType):
    """pycuda.driver."""

    class Error(Exception):
        pass

    device_attribute = SimpleNamespace(MULTIPROCESSOR_COUNT="multiprocessors")

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self._threads = threading.local()
        self.live: set[Any] = set()
        self.addresses: dict[int, np.ndarray] = {}
        self.streams: dict[int, FakeStream] = {}
        self.memory_left = 10**9
        device = SimpleNamespace(
            retain_primary_context=lambda: FakeContext(self),
            name=lambda: "Orin",
            compute_capability=lambda: (8, 7),
            get_attribute=lambda _: 8,
        )
        self.Device = type("Device", (), {"__new__": lambda cls, number: device, "count": staticmethod(lambda: 1)})
        self.Context = SimpleNamespace(pop=lambda: self.stack().pop())
        self.Stream = lambda: FakeStream(self)

    def init(self) -> None:
        pass

    def stack(self) -> list[FakeContext]:
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        return self._threads.stack

    def need_context(self) -> None:
        if not self.stack():
            raise self.Error("no currently active context?")

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.need_context()
        return np.asarray(FakePinned(self, shape, dtype))

    def mem_alloc(self, size: int) -> FakeDeviceMemory:
        self.need_context()
        if size > self.memory_left:
            raise self.Error("out of memory")
        return FakeDeviceMemory(self, size)

    def memcpy_htod_async(self, address: int, source: np.ndarray, stream: FakeStream) -> None:
        memory = self.addresses[address]
        stream.enqueue(lambda: memory.__setitem__(slice(source.size), source.ravel()))

    def memcpy_dtoh_async(self, target: np.ndarray, address: int, stream: FakeStream) -> None:
        memory = self.addresses[address]
        stream.enqueue(lambda: target.__setitem__(..., memory[: target.size].reshape(target.shape)))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = FakeDriver()
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


SHAPE, LABELS, LARGEST = (1, 8, 8), 7, 16
NAMES = ("crops", "logits")
SHAPES = ((-1, *SHAPE), (-1, LABELS))


class FakeRun:
    """An execution context: a crop's logits are its mean times 0, 1, 2 ..."""

    def __init__(self, driver: FakeDriver, shapes: tuple[tuple[int, ...], ...]) -> None:
        driver.need_context()
        self._driver, self._shapes = driver, shapes
        self._count = 0
        self._addresses: list[int] = [0, 0]

    def _set_shape(self, shape: tuple[int, ...]) -> bool:
        self._count = shape[0]
        return shape[1:] == self._shapes[0][1:] and shape[0] <= LARGEST

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return (self._count, *self._shapes[tensor][1:])

    def _enqueue(self, stream: int) -> bool:
        crops, logits = (self._driver.addresses[address] for address in self._addresses)

        def compute() -> None:
            means = crops[: self._count * 64].reshape(self._count, 64).mean(axis=1)
            logits[: self._count * LABELS] = np.outer(means, np.arange(LABELS)).ravel()

        self._driver.streams[stream].enqueue(compute)
        return True


class FakeRunByName(FakeRun):
    """As from TensorRT 8.5 on."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "crops"
        return self._set_shape(shape)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape(NAMES.index(name))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[NAMES.index(name)] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        return self._enqueue(stream_handle)


class FakeRunByNumber(FakeRun):
    """As in TensorRT 8.2."""

    def set_binding_shape(self, binding: int, shape: tuple[int, ...]) -> bool:
        assert binding == 0
        return self._set_shape(shape)

    def get_binding_shape(self, binding: int) -> tuple[int, ...]:
        return self._shape(binding)

    def execute_async_v2(self, bindings: list[int], stream_handle: int) -> bool:
        self._addresses = bindings
        return self._enqueue(stream_handle)


class FakeEngine:
    def __init__(self, driver: FakeDriver, api: ModuleType, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.driver, self.api, self.shapes = driver, api, shapes


class FakeEngineByName(FakeEngine):
    @property
    def num_io_tensors(self) -> int:
        return len(self.shapes)

    def get_tensor_name(self, index: int) -> str:
        return NAMES[index]

    def get_tensor_mode(self, name: str) -> Any:
        return (self.api.TensorIOMode.INPUT, self.api.TensorIOMode.OUTPUT)[NAMES.index(name)]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[NAMES.index(name)]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.api.float32

    def create_execution_context(self) -> FakeRun:
        return FakeRunByName(self.driver, self.shapes)


class FakeEngineByNumber(FakeEngine):
    num_bindings = 2

    def get_binding_name(self, index: int) -> str:
        return NAMES[index]

    def binding_is_input(self, index: int) -> bool:
        return index == 0

    def get_binding_shape(self, index: int) -> tuple[int, ...]:
        return self.shapes[index]

    def get_binding_dtype(self, index: int) -> Any:
        return self.api.float32

    def create_execution_context(self) -> FakeRun:
        return FakeRunByNumber(self.driver, self.shapes)


class Loader:
    """Makes engines of data; ``kind`` of interface and ``shapes`` are the stand-in's."""

    def __init__(self, driver: FakeDriver, api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        from fer_perception.engines.tensorrt import engine as tensorrt_engine
        from fer_perception.engines.tensorrt.bindings import Tensor
        from fer_perception.engines.tensorrt.preparation import PreparedEngine, Target

        self.kind: type[FakeEngine] = FakeEngineByName
        self.shapes: tuple[tuple[int, ...], ...] = SHAPES
        self.tensors = (Tensor("crops", True, SHAPES[0], "FLOAT"), Tensor("logits", False, SHAPES[1], "FLOAT"))
        self.target = Target(Gpu("Orin with 8 multiprocessors", "8.7"))
        self._module, self._prepared = tensorrt_engine, PreparedEngine

        def deserialize(data: bytes) -> FakeEngine | None:
            driver.need_context()
            return None if data == b"broken" else self.kind(driver, api, self.shapes)

        runtime = SimpleNamespace(deserialize_cuda_engine=deserialize)
        monkeypatch.setattr(tensorrt_engine, "trt", SimpleNamespace(Runtime=lambda logger: runtime))

    def load(self, data: bytes = b"data") -> Any:
        shapes = Shapes(*((count, *SHAPE) for count in (1, 1, LARGEST)))
        network = Network("network", Path("network.onnx"), "fp32", shapes, (SHAPES[1],))
        return self._module.TensorRTEngine(self._prepared(data, self.tensors, None, built=True), network, self.target)


@pytest.fixture
def loader(driver: FakeDriver, tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Loader:
    return Loader(driver, tensorrt, monkeypatch)


def crops(count: int, first: float = 0.0) -> np.ndarray:
    """Each crop is filled with a number of its own."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    return np.ascontiguousarray(np.broadcast_to(numbers[:, None, None, None], (count, *SHAPE)))


def expected(count: int, first: float = 0.0) -> np.ndarray:
    return np.outer(np.arange(first, first + count), np.arange(LABELS)).astype(np.float32)


def test_the_gpu_is_named_with_its_size(driver: FakeDriver) -> None:
    assert find_gpu() == Gpu("Orin with 8 multiprocessors", "8.7")


def test_a_session_copies_both_ways_and_frees_everything(driver: FakeDriver) -> None:
    session = CudaSession()
    with session.active():
        buffer = session.buffer((4, 3), np.float32)
        buffer.host[:] = np.arange(12).reshape(4, 3)
        session.upload(buffer, 2)
        session.synchronize()
        buffer.host[:] = 0
        session.download(buffer, 3)
        session.synchronize()
        assert buffer.host.tolist() == [[0, 1, 2], [3, 4, 5], [0, 0, 0], [0, 0, 0]]
    assert driver.stack() == []
    session.close()
    session.close()
    assert not driver.live
    with pytest.raises(EngineError, match="the engine is closed: load it again"), session.active():
        pass


def test_a_cuda_error_is_told_and_leaves_nothing_behind(driver: FakeDriver) -> None:
    session = CudaSession()
    driver.memory_left = 0
    with pytest.raises(EngineError, match="CUDA: out of memory"), session.active():
        session.buffer((4, 3), np.float32)
    assert driver.stack() == []
    session.close()
    assert not driver.live


@pytest.mark.parametrize("kind", [FakeEngineByName, FakeEngineByNumber], ids=["from 8.5", "8.2"])
@pytest.mark.parametrize("count", [1, 2, LARGEST, LARGEST + 1, 3 * LARGEST + 5])
def test_any_number_of_faces_is_answered(loader: Loader, kind: type[FakeEngine], count: int) -> None:
    loader.kind = kind
    engine = loader.load()
    assert engine.name.endswith("on Orin with 8 multiprocessors")
    for first in (0.0, 100.0):
        output = engine.infer(crops(count, first))
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected(count, first))


def test_threads_get_their_own_answers(loader: Loader, driver: FakeDriver) -> None:
    engine = loader.load()

    def ask(first: int) -> bool:
        return bool(np.allclose(engine.infer(crops(3, first)), expected(3, first)))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))
        pool.submit(engine.close).result()  # as a lifecycle transition does, in a thread that did not load it
    assert not driver.live
    with pytest.raises(EngineError, match="closed"):
        engine.infer(crops(1))


def test_an_engine_that_cannot_be_loaded_frees_everything(loader: Loader, driver: FakeDriver) -> None:
    with pytest.raises(EngineError, match="cannot load the engine"):
        loader.load(b"broken")
    assert not driver.live
    loader.shapes = ((-1, 3, 8, 8), (-1, 7))
    with pytest.raises(EngineError, match=r"the engine has .* were built"):
        loader.load()
    assert not driver.live


def test_a_run_that_fails_is_told_and_the_next_goes_on(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loader.load()
    with monkeypatch.context() as patch:
        patch.setattr(FakeRunByName, "execute_async_v3", lambda self, stream_handle: False)
        with pytest.raises(EngineError, match="cannot run the engine"):
            engine.infer(crops(1))
    np.testing.assert_allclose(engine.infer(crops(1, 5.0)), expected(1, 5.0))


def test_a_cached_engine_that_cannot_be_loaded_is_built_again(
    loader: Loader, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """As after an update of the driver alone."""
    from fer_perception.engines.tensorrt.engine import load_tensorrt_engine
    from fer_perception.engines.tensorrt.preparation import Preparation, Target

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle, target = Bundle(tiny_bundle), Target(Gpu("a GPU", "8.6"))
    network = bundle_network(bundle, "fp32")
    file = Preparation(network, target).engine().file
    assert file is not None
    written = file.stat().st_mtime_ns
    tries: list[FakeEngine] = []

    class Second(FakeEngineByName):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            tries.append(self)
            self.shapes = ((-1, 1, 48, 48), (-1, 7)) if len(tries) > 1 else ()  # the first is not as it should be

    loader.kind = Second
    load_tensorrt_engine(network, target).close()
    assert len(tries) == 2
    assert file.stat().st_mtime_ns > written
    assert "cannot be used" in caplog.text
