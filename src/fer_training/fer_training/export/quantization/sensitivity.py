"""Which blocks lose most when they are quantized, found by measurement: those stay in floating point."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper
from scipy.special import log_softmax
from tqdm import tqdm

from fer_perception.errors import FerError
from fer_perception.types import Float32Array
from fer_training.export.quantization.placement import blocks_of, with_int8

BATCH_SIZE = 32
FEW = 500  # images to measure single blocks on

log = logging.getLogger(__name__)


def largest_values(model: ModelProto, images: Float32Array) -> dict[str, float]:
    """The largest absolute value of each tensor while a model runs on images, float32 (N, C, H, W)."""
    watched = ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    outputs = {value.name for value in graph.output}
    results = [name for node in graph.node if node.op_type != "Constant" for name in node.output]
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results if name not in outputs
    )
    session = _session(watched, optimized=False)
    names = [value.name for value in session.get_outputs()]
    largest = dict.fromkeys(names, 0.0) | {session.get_inputs()[0].name: float(np.abs(images).max())}
    for batch in tqdm(_batches(images), desc="calibration", unit="batch"):
        for name, tensor in zip(names, session.run(None, {session.get_inputs()[0].name: batch}), strict=True):
            largest[name] = max(largest[name], float(np.abs(tensor).max()))
    return largest


def predict_with(model: ModelProto, images: Float32Array) -> Float32Array:
    """A model's logits: float32, (N, labels)."""
    session = _session(model)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: batch})[0] for batch in _batches(images)])


def agreement(first: Float32Array, second: Float32Array) -> float:
    """The fraction of images to which both logits, (N, labels), give the same label."""
    return float((first.argmax(1) == second.argmax(1)).mean())


def divergence(expected: Float32Array, found: Float32Array) -> float:
    """The mean Kullback-Leibler divergence of the probabilities of found from those of expected logits, in nats."""
    wanted, given = (log_softmax(logits.astype(np.float64), axis=1) for logits in (expected, found))
    return float((np.exp(wanted) * (wanted - given)).sum(1).mean())


def quantize_insensitive(
    model: ModelProto, largest: dict[str, float], images: Float32Array, wanted: float
) -> tuple[ModelProto, dict[str, float], list[str]]:
    """Quantize as many blocks as the wanted agreement with the model in floating point allows.

    Each block is quantized alone, and its divergence measured. Then all are quantized but the most sensitive one, two,
    ... until the fraction of equal predictions is as wanted.

    :param images: float32, (N, C, H, W), to measure on.
    :return: the quantized model, each block's divergence, and the blocks that stay in floating point.
    :raises FerError: there are no blocks, or the wanted agreement is not reached.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise FerError("no convolution is named /features.N/... Export the model again")
    expected = predict_with(model, images)
    few = slice(None, None, max(1, len(images) // FEW))
    found = {
        block: divergence(expected[few], predict_with(with_int8(model, largest, [block]), images[few]))
        for block in tqdm(blocks, desc="sensitivity", unit="block")
    }
    order = sorted(blocks, key=lambda block: found[block], reverse=True)
    for count in range(len(order)):
        quantized = with_int8(model, largest, order[count:])
        fraction = agreement(expected, predict_with(quantized, images))
        log.info(
            "%d of %d blocks in int8: %.2f%% of the predictions agree", len(order) - count, len(order), fraction * 100
        )
        if fraction >= wanted:
            return quantized, found, order[:count]
    raise FerError(f"{wanted:.2%} agreement is not reached, whichever blocks are quantized. Lower --agreement")


def _session(model: ModelProto, optimized: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _batches(images: Float32Array) -> Sequence[Float32Array]:
    return [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
