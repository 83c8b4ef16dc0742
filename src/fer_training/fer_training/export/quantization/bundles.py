"""The verb ``quantize``: a bundle's ``fp16.onnx`` and ``int8.onnx``, made from its ``fp32.onnx``.

ONNX Runtime's quantizer and NVIDIA's Model Optimizer were tried on the baseline (docs/training.md has the figures).
With the zero points of 0 that TensorRT wants, ONNX Runtime runs what they make more slowly than float32. So Q/DQ is
placed by :mod:`fer_training.export.quantization.placement`.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from fer_perception.errors import FerError
from fer_perception.files import sha256_of, written_atomically
from fer_perception.models.bundle import Bundle, ModelFile, Precision, write_manifest
from fer_perception.preprocessing.normalization import to_batch
from fer_perception.types import Float32Array
from fer_training.datasets import Alignment, Samples, balanced, load_dataset
from fer_training.export.portability import require_portable
from fer_training.export.quantization.sensitivity import agreement, largest_values, predict_with, quantize_insensitive

MEASURED = 2000  # validation images

log = logging.getLogger(__name__)


def quantize(
    bundle: Path, data: str, images: int = 1024, wanted: float = 0.99, out: Path | None = None
) -> dict[str, Any]:
    """Write ``fp16.onnx`` and ``int8.onnx`` into a bundle, with their hashes in its manifest.

    Activations' ranges are those on images of the training split, as many of each label as there are. Sensitive blocks
    are found on the validation split; the test split is not read.

    :param data: ``NAME:PATH``.
    :param images: of the training split.
    :param wanted: the fraction of validation images to which int8 must give the same label as float32.
    :param out: instead, the folder of a new bundle that has these two files alone.
    :return: what is now in the manifest under ``training.quantization``.
    :raises FerError: bundle or data cannot be used, or the agreement is out of reach.
    """
    opened = Bundle(bundle)
    manifest = opened.manifest
    source = opened.onnx_file("fp32")
    require_portable(source)
    model = onnx.load(source)
    alignment = Alignment(manifest.alignment, manifest.input)
    samples, val_samples = (load_dataset(data, split, alignment) for split in ("train", "val"))
    if not set(samples.labels) & set(manifest.labels):
        raise FerError(f"{data}: has none of the labels of {bundle}. Give the data that it was trained on")
    calibration = _batch(samples, balanced(samples.targets, images), opened)
    spread = np.linspace(0, len(val_samples) - 1, min(MEASURED, len(val_samples))).astype(np.int64)
    measured = _batch(val_samples, spread, opened)

    half = with_float16(model)
    quantized, divergences, in_float = quantize_insensitive(model, largest_values(model, calibration), measured, wanted)
    expected = predict_with(model, measured)
    facts: dict[str, Any] = {
        "measured_on": {"dataset": samples.dataset, "split": "val", "images": len(measured)},
        "fp16": {"agreement": agreement(expected, predict_with(half, measured))},
        "int8": {
            "agreement": agreement(expected, predict_with(quantized, measured)),
            "calibration_images": len(calibration),
            "blocks_in_float": in_float,
            "divergence_of_single_blocks": {block: round(value, 6) for block, value in divergences.items()},
        },
    }
    folder = out or bundle
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[Precision, ModelProto] = {"fp16": half, "int8": quantized}
    changed: dict[str, Any] = {
        "files": {precision: _write(version, folder, precision) for precision, version in made.items()},
        "training": {**manifest.training, "quantization": facts},
        "metrics": {},
    }
    if out:
        changed["name"] = out.name
        if manifest.attention:
            shutil.copyfile(bundle / manifest.attention.name, out / manifest.attention.name)
    else:
        changed["files"] = {**manifest.files, **changed["files"]}
        # What was measured on files that were replaced is gone with them.
        changed["metrics"] = {k: value for k, value in manifest.metrics.items() if not k.endswith(("/fp16", "/int8"))}
    write_manifest(folder, manifest.model_copy(update=changed))
    return facts


def with_float16(model: ModelProto) -> ModelProto:
    """A model that computes in float16, with float32 input and output. All its types are explicit."""
    half = ModelProto()
    half.CopyFrom(model)
    half = convert_float_to_float16(half, keep_io_types=True)
    ONNXModel(half).topological_sort()  # the converter appends its casts
    return half


def _batch(samples: Samples, picked: np.ndarray[Any, np.dtype[np.int64]], bundle: Bundle) -> Float32Array:
    return to_batch([samples.images[index] for index in picked], bundle.manifest.input)


def _write(model: ModelProto, bundle: Path, precision: Precision) -> ModelFile:
    """Write a precision's file, whole or not at all."""
    file = bundle / f"{precision}.onnx"
    with written_atomically(file) as temporary:
        onnx.save(model, temporary)
        require_portable(temporary)
    log.info("%s: %.2f MB", file, file.stat().st_size / 1e6)
    return ModelFile(name=file.name, sha256=sha256_of(file))
