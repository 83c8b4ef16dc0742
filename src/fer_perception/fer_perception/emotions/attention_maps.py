"""Where a network looks: the attention map of each face, from a bundle's ``attention.onnx``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from fer_perception.engines.onnx_runtime import OnnxRuntimeEngine
from fer_perception.errors import BundleError
from fer_perception.faces.face import Face
from fer_perception.models.bundle import Bundle
from fer_perception.preprocessing.alignment import similarity_transform
from fer_perception.preprocessing.normalization import to_batch
from fer_perception.types import Float32Array, UInt8Image


class AttentionMap(NamedTuple):
    """The attention map of one face.

    ``values``: uint8, (h, w), 0 to 255 for weights of 0 to 1. ``to_image``: float64, (2, 3), brings x and y of the
    map's places to the image's pixels; centres lie at whole numbers in both.
    """

    values: UInt8Image
    to_image: npt.NDArray[np.float64]


class AttentionMaps:
    """The network's own weights of places, by ONNX Runtime on the CPU: the first layers of the bundle in FP32.

    :param bundle: a bundle or its folder.
    :param threads: see :class:`OnnxRuntimeEngine`; 0: one.
    :raises BundleError: the bundle has no attention maps, or its file cannot be used.
    """

    def __init__(self, bundle: Bundle | str | Path, threads: int = 1) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        file = self.bundle.attention_file()
        spec = self.bundle.manifest.input
        self._engine = OnnxRuntimeEngine(file, threads or 1)
        self.map_id = f"{self.bundle.manifest.name}-attention-{self._engine.sha256[:8]}"
        try:
            _, *size = self._engine.infer(np.zeros((1, spec.channels, spec.height, spec.width), np.float32)).shape
            self.height, self.width = size
        except Exception as error:  # what engines raise has no common base
            self.close()
            raise BundleError(f"{file}: gives no maps of the manifest's input ({error}). Export them again") from error

    def infer(self, crops: Sequence[UInt8Image]) -> Float32Array:
        """The maps of face crops.

        :param crops: N crops, uint8, (H, W) grey or (H, W, 3) RGB, of any size.
        :return: float32, (N, h, w), 0 to 1: how much the network weighs each place of the crop.
        """
        if not crops:
            return np.empty((0, self.height, self.width), np.float32)
        return self._engine.infer(to_batch(crops, self.bundle.manifest.input))

    def of_faces(self, faces: Sequence[Face], crops: Sequence[UInt8Image]) -> list[AttentionMap]:
        """The maps of faces and where they lie in the image, in the faces' order."""
        # The map lies over the crop, so eyes and mouth lie in it at the template's fractions of its size.
        target = self.bundle.manifest.alignment.points(self.width, self.height)
        return [
            AttentionMap(
                np.rint(values * 255).astype(np.uint8),
                cv2.invertAffineTransform(similarity_transform(face.eyes_and_mouth, target)),
            )
            for face, values in zip(faces, self.infer(crops), strict=True)
        ]

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
