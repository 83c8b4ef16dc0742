"""Emotion engines: run a bundle's network on a batch of normalised crops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from fer_perception.errors import BundleError
from fer_perception.files import sha256_of
from fer_perception.types import Float32Array


class Engine(Protocol):
    """What all engines can do. ``name`` says which one it is and where it runs; ``sha256`` is of what it runs."""

    name: str
    sha256: str

    def infer(self, batch: Float32Array) -> Float32Array:
        """Logits of a batch; several threads may call it at once.

        :param batch: float32, (N, C, H, W), N at least 1.
        :return: float32, (N, labels).
        """

    def run(self, batch: Float32Array) -> list[Float32Array]:
        """All outputs of a network that has several, in its order, of a batch that is not divided."""

    def close(self) -> None:
        """Free everything; the engine cannot be used any more."""


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU.

    A batch is split among the threads; a single face runs on one. ONNX Runtime's own threads would speed up a single
    face a little, but wait for the next by spinning, and on a robot the other cores have work to do.

    :param onnx_file: an ONNX file with one input (N, C, H, W) float32 and one output (N, labels) of logits.
    :param threads: at most so many.
    :raises BundleError: ONNX Runtime cannot load the file.
    """

    def __init__(self, onnx_file: str | Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(onnx_file), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises many types of its own without a common base
            raise BundleError(f"{onnx_file}: ONNX Runtime cannot load it ({error}). Export the model again") from error
        self.sha256 = sha256_of(onnx_file)
        self.name = f"ONNX Runtime {onnxruntime.__version__} on the CPU"
        self._input = self._session.get_inputs()[0].name
        self._threads = threads
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="engine")  # starts threads when needed

    def infer(self, batch: Float32Array) -> Float32Array:
        """See :meth:`Engine.infer`."""
        parts = np.array_split(batch, min(len(batch), self._threads))
        others = [self._pool.submit(self._run, part) for part in parts[1:]]
        return np.concatenate([self._run(parts[0]), *(other.result() for other in others)])

    def run(self, batch: Float32Array) -> list[Float32Array]:
        """See :meth:`Engine.run`."""
        return [np.asarray(output, np.float32) for output in self._session.run(None, {self._input: batch})]

    def close(self) -> None:
        """See :meth:`Engine.close`."""
        self._pool.shutdown()
        del self._session

    def _run(self, batch: Float32Array) -> Float32Array:
        return self.run(batch)[0]
