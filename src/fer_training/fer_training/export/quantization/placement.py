"""Where a network is quantized to int8: Q/DQ pairs that ONNX Runtime on a CPU and TensorRT both turn into int8.

TensorRT wants zero points of 0, and ONNX Runtime runs a convolution in int8 only where a Q follows it at once, or after
a clipping that the Q does by itself. With a zero point of 0 that is not so behind a ReLU, as half of the range is
negative. Hence, of what follows an int8 convolution:

- a ReLU or ReLU6 before an int8 convolution without padding is *centred*: half of its upper bound is taken from the
  bias, it clips symmetrically, and the next convolution's bias gets back what its weights make of that half. All 256
  values are in use, and the Q does the clipping.
- before one with padding, zeros must stay zeros: there the result is quantized before and after a ReLU, which as a
  LeakyRelu of slope 0 is a table look-up in ONNX Runtime. The upper bound is the end of the range.
- a result without activation is quantized at once. What else than int8 convolutions takes it, such as a residual
  addition, takes it dequantized, and the sum stays in floating point: Q/DQ is on one branch of an addition.

ONNX Runtime on x86 computes with uint8, into which it turns every Q that has one DQ with one consumer. So every int8
convolution has a pair of its own, and where several nodes take a DQ's result, a Clip that changes nothing lies between.

A Pad before a convolution becomes the convolution's own padding: as a node it would be computed in floating point.

Weights have a scale for each output. Biases stay in floating point, as TensorRT wants them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

# Attention, pooling and the head stay in floating point: they are too small to gain, and sensitive.
QUANTIZED = re.compile(r"/(?:features/)?(features\.\d+)/")  # start of a name
SMALLEST = 1e-6  # range

Array = npt.NDArray[Any]


def blocks_of(model: ModelProto) -> list[str]:
    """The names of the blocks whose convolutions can be quantized, first to last."""
    return list(dict.fromkeys(block for node in model.graph.node if (block := block_of(node))))


def block_of(node: NodeProto) -> str:
    """The block of a convolution that can be quantized, such as ``features.3``; empty for other nodes."""
    found = QUANTIZED.match(node.name) if node.op_type == "Conv" else None
    return found[1] if found else ""


def with_int8(model: ModelProto, largest: dict[str, float], blocks: Collection[str]) -> ModelProto:
    """A model whose convolutions in these blocks are quantized.

    :param model: in float32, see :func:`fer_training.export.onnx.write_onnx`.
    :param largest: the largest absolute value of each tensor.
    """
    return _Placement(model, largest, blocks).placed()


class _Placement:
    """Goes through a model's nodes in their order and writes those of the quantized one."""

    def __init__(self, model: ModelProto, largest: dict[str, float], blocks: Collection[str]) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.largest = largest
        graph = self.model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.constants |= {
            node.output[0]: numpy_helper.to_array(node.attribute[0].t)
            for node in graph.node
            if node.op_type == "Constant"
        }
        for node in graph.node:
            if node.op_type == "Identity" and node.input[0] in self.constants:  # for parameters that are alike
                self.constants[node.output[0]] = self.constants[node.input[0]]
        source = [node for node in graph.node if node.output[0] not in self.constants]
        self.source = _with_own_padding(source, self.constants)
        self.takers: dict[str, list[NodeProto]] = {}
        for node in self.source:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)
        self.quantized = {node.name for node in self.source if block_of(node) in blocks}
        self.weights: dict[str, tuple[Array, Array]] = {}  # of each int8 convolution the integers, and their scales
        self.biases: dict[str, Array] = {}
        for node in self.source:
            if node.name in self.quantized:
                weights = self.constants[node.input[1]]
                scales = np.maximum(np.abs(weights).max((1, 2, 3)), SMALLEST).astype(np.float32) / 127
                integers = np.round(weights / scales[:, None, None, None]).astype(np.int8)
                self.weights[node.name] = integers, scales
                bias = self.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(scales), np.float32)
                self.biases[node.name] = bias.copy()
        self.nodes: list[NodeProto] = []
        self.replaced: dict[str, str] = {}  # tensors by what carries their values now
        self.ready: set[str] = set()  # results of a DQ for the one int8 convolution that takes them
        self.done: set[str] = set()  # activations, by name

    def placed(self) -> ModelProto:
        """The quantized model."""
        for node in self.source:
            if node.name in self.done:
                continue
            if node.name in self.quantized:
                self._convolve(node)
            else:
                self._add(node.op_type, [self.replaced.get(name, name) for name in node.input], node)
        graph = self.model.graph
        for field in (graph.node, graph.initializer, graph.value_info):
            del field[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items() if name in used
        )
        onnx.checker.check_model(self.model)
        return self.model

    def _convolve(self, node: NodeProto) -> None:
        activation = self._activation(node)
        taker = self._only_int8_taker(activation.output[0] if activation else node.output[0])
        upper = self._upper(activation) if activation else np.float32(0)
        is_centred = activation is not None and taker is not None and not _is_padded(taker)
        if is_centred and taker is not None:
            integers, scales = self.weights[taker.name]
            self.biases[node.name] -= upper / 2
            self.biases[taker.name] += upper / 2 * integers.astype(np.float32).sum((1, 2, 3)) * scales

        integers, scales = self.weights[node.name]
        weights = [
            self._constant(f"{node.name}/{what}", value)
            for what, value in (("integers", integers), ("scales", scales), ("zeros", np.zeros(len(scales), np.int8)))
        ]
        self._add("DequantizeLinear", weights, f"{node.name}/weights", axis=0)
        source = self.replaced.get(node.input[0], node.input[0])
        if source not in self.ready:
            source = self._pair(source, f"{node.name}/input", self.largest[node.input[0]] / 127)
        bias = self._constant(f"{node.name}/bias", self.biases[node.name])
        self._add("Conv", [source, f"{node.name}/weights", bias], node)

        output = node.output[0]
        if activation is None:
            result = self._pair(output, output, self.largest[output] / 127)
            if len(self.takers[output]) > 1:
                bounds = self._bounds(output, np.float32(2 * self.largest[output]))
                result = self._add("Clip", [result, *bounds], f"{output}/unchanged")
        elif is_centred:
            self._add("Clip", [output, *self._bounds(output, upper / 2)], activation)
            output = activation.output[0]
            result = self._pair(output, output, upper / 256)
        else:
            result = self._pair(output, output, upper / 127)
            output = activation.output[0]
            if taker is None:
                self._add(activation.op_type, [result, *activation.input[1:]], activation)
                result = output
            else:
                self._add("LeakyRelu", [result], output, alpha=0.0)
                result = self._pair(output, output, upper / 127)
        self.replaced[output] = result
        if taker is not None:
            self.ready.add(result)

    def _activation(self, node: NodeProto) -> NodeProto | None:
        """The ReLU or ReLU6 that alone takes a convolution's result."""
        takers = self.takers[node.output[0]]
        if len(takers) > 1 or takers[0].op_type not in ("Relu", "Clip"):
            return None
        if takers[0].op_type == "Clip" and float(self.constants[takers[0].input[1]]) != 0:
            return None
        self.done.add(takers[0].name)
        return takers[0]

    def _upper(self, activation: NodeProto) -> Any:
        """The end of an activation's range: float32, so that halves of it are exact."""
        return np.float32(max(self.largest[activation.output[0]], SMALLEST))

    def _only_int8_taker(self, tensor: str) -> NodeProto | None:
        takers = self.takers.get(tensor, [])
        return takers[0] if len(takers) == 1 and takers[0].name in self.quantized else None

    def _pair(self, tensor: str, name: str, scale: Any) -> str:
        """Q and DQ of a tensor; returns the DQ's result."""
        inputs = [
            self._constant(f"{name}/scale", np.float32(max(scale, SMALLEST))),
            self._constant(f"{name}/zero", np.int8(0)),
        ]
        integers = self._add("QuantizeLinear", [tensor, *inputs], f"{name}/quantized")
        return self._add("DequantizeLinear", [integers, *inputs], f"{name}/dequantized")

    def _bounds(self, name: str, bound: Any) -> list[str]:
        return [self._constant(f"{name}/{side}", value) for side, value in (("lower", -bound), ("upper", bound))]

    def _constant(self, name: str, value: Any) -> str:
        self.constants[name] = value
        return name

    def _add(self, operator: str, inputs: list[str], result: str | NodeProto, **attributes: Any) -> str:
        """Append a node; returns its (first) result. It replaces ``result`` where that is a node."""
        if isinstance(result, str):
            node = helper.make_node(operator, inputs, [result], name=result, **attributes)
        else:
            node = NodeProto()
            node.CopyFrom(result)
            node.op_type = operator
            del node.input[:]
            node.input.extend(inputs)
        self.nodes.append(node)
        return node.output[0]


def _with_own_padding(nodes: list[NodeProto], constants: dict[str, Array]) -> list[NodeProto]:
    """The nodes without those Pads whose zeros a convolution can add by itself."""
    pads = {node.output[0]: node for node in nodes if node.op_type == "Pad" and _adds_zeros_around(node, constants)}
    for node in nodes:
        if node.op_type == "Conv" and node.input[0] in pads:
            pad = pads[node.input[0]]
            # Rows and columns before, then those after.
            sizes = constants[pad.input[1]].reshape(2, 4)[:, 2:].ravel()
            own = next(attribute for attribute in node.attribute if attribute.name == "pads")
            own.ints[:] = [int(size + more) for size, more in zip(own.ints, sizes, strict=True)]
            node.input[0] = pad.input[0]
    taken = {name for node in nodes for name in node.input}
    return [node for node in nodes if node.output[0] not in pads or node.output[0] in taken]


def _adds_zeros_around(node: NodeProto, constants: dict[str, Array]) -> bool:
    """Whether a Pad changes rows and columns only, and by zeros."""
    mode = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"constant")
    value = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(())
    sizes = constants[node.input[1]]
    return mode == b"constant" and not value.any() and sizes.size == 8 and not sizes.reshape(2, 4)[:, :2].any()


def _is_padded(node: NodeProto) -> bool:
    return any(any(attribute.ints) for attribute in node.attribute if attribute.name == "pads")
