"""All CUDA calls of the suite, through pycuda. Nothing here is imported before a GPU is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_perception.errors import EngineError

DEVICE = 0

# Of cards and JetPack 7, JetPack 4 and 5, JetPack 6.
DRIVER_DEVICES = ("nvidia0", "nvhost-gpu", "nvgpu")


class Gpu(NamedTuple):
    """A GPU as engines know it. ``compute_capability``: such as "8.7".

    The name holds the number of multiprocessors: all boards of a Jetson family call themselves alike.
    """

    name: str
    compute_capability: str


def driver_installed() -> bool:
    """NVIDIA's driver is there: whatever is missing, it is not the GPU."""
    return any(Path("/dev", name).exists() for name in DRIVER_DEVICES)


def find_gpu() -> Gpu:
    """The first GPU.

    :raises EngineError: pycuda, the driver or the GPU is missing.
    """
    driver = _driver()
    with _as_engine_error(driver):
        if not driver.Device.count():
            raise EngineError("the CUDA driver finds no GPU")
        device = driver.Device(DEVICE)
        multiprocessors = device.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)
        major, minor = device.compute_capability()
        return Gpu(f"{device.name()} with {multiprocessors} multiprocessors", f"{major}.{minor}")


class Buffer:
    """Pinned memory of the host, and as much of the device. ``host``: the array of the first; ``address``: of the
    second. To be made and freed while its session is active.
    """

    def __init__(self, driver: ModuleType, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.host: npt.NDArray[Any] = driver.pagelocked_empty(shape, dtype)
        self._pinned: Any = self.host.base
        try:
            self._device = driver.mem_alloc(self.host.nbytes)
        except BaseException:
            self._pinned.free()
            raise
        self.address = int(self._device)

    def free(self) -> None:
        """Give both memories back."""
        self.host = np.empty(0)
        self._device.free()
        self._pinned.free()


class CudaSession:
    """The GPU's primary context, which TensorRT uses as well, with one stream and buffers.

    All use lies inside ``with session.active()``, from any thread; one at a time. :meth:`close` frees everything after
    the use at hand.

    :raises EngineError: the context cannot be had.
    """

    def __init__(self) -> None:
        self._driver = _driver()
        self._lock = threading.Lock()
        self._buffers: list[Buffer] = []
        with _as_engine_error(self._driver):
            self._context: Any = self._driver.Device(DEVICE).retain_primary_context()
        try:
            with self.active():
                self._stream = self._driver.Stream()
        except BaseException:
            self._release()
            raise

    @contextmanager
    def active(self) -> Iterator[None]:
        """The context is current in this thread, for this thread alone.

        :raises EngineError: the session is closed, or a CUDA call inside failed.
        """
        with self._lock, _as_engine_error(self._driver):
            if self._context is None:
                raise EngineError("the engine is closed: load it again")
            self._context.push()
            try:
                yield
            finally:
                self._driver.Context.pop()

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.handle)

    def buffer(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """A new buffer; the session frees it."""
        self._buffers.append(Buffer(self._driver, shape, dtype))
        return self._buffers[-1]

    def upload(self, buffer: Buffer, count: int) -> None:
        """Enqueue the copy of a buffer's first rows to the device."""
        self._driver.memcpy_htod_async(buffer.address, buffer.host[:count], self._stream)

    def download(self, buffer: Buffer, count: int) -> None:
        """Enqueue the copy of a buffer's first rows from the device."""
        self._driver.memcpy_dtoh_async(buffer.host[:count], buffer.address, self._stream)

    def synchronize(self) -> None:
        """Wait until all that was enqueued is done."""
        self._stream.synchronize()

    def close(self) -> None:
        """Free stream and buffers and release the context. Closing again does nothing."""
        with self._lock:
            if self._context is not None:
                self._release()

    def _release(self) -> None:
        # Releasing a primary context leaves it on the stack of the thread that does it; this thread's stack ends with
        # it. And pycuda releases only what is current, or was made by the same thread.
        thread = threading.Thread(target=self._free, name="cuda_release")
        thread.start()
        thread.join()

    def _free(self) -> None:
        context, self._context = self._context, None
        context.push()
        while self._buffers:
            self._buffers.pop().free()
        self._stream = None
        context.detach()


def _driver() -> Any:
    """The module of pycuda's driver, initialised.

    :raises EngineError: pycuda or the CUDA driver is missing.
    """
    try:
        import pycuda.driver as driver
    except ImportError as error:
        raise EngineError(
            f"pycuda cannot be imported ({error}). With an NVIDIA GPU and CUDA's toolkit: pip install pycuda"
        ) from error
    with _as_engine_error(driver):
        driver.init()
    return driver


@contextmanager
def _as_engine_error(driver: ModuleType) -> Iterator[None]:
    try:
        yield
    except driver.Error as error:
        raise EngineError(f"CUDA: {error}. Look at the GPU and its driver (nvidia-smi, on a Jetson dmesg)") from error
