"""Whether an ONNX file is within what TensorRT 8.2, 8.5, 10 and 11 parse, as ONNX Runtime does.

From the tables of operators of TensorRT's ONNX parser (docs/operators.md of onnx-tensorrt, by release) and its source:

| TensorRT | opsets |
|---|---|
| 8.2 (JetPack 4.6) | up to 13 |
| 8.5 (JetPack 5.1) | up to 17 |
| 10 (JetPack 6) | 9 to 20 and more |
| 11 | 9 to 25 |

All of them take the operators below. Quantization must be to int8 with zero points that are initializers and zero (8.5
rejects uint8, later parsers read it as int8); 8.2 wants three inputs of (De)QuantizeLinear, and the bias of a
convolution whose weights are dequantized in floating point.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from fer_perception.errors import FerError

OPSET = 13
OPERATORS = {
    *("Add", "AveragePool", "Cast", "Clip", "Concat", "Constant", "Conv", "DequantizeLinear", "Div", "Flatten", "Gemm"),
    *("GlobalAveragePool", "HardSigmoid", "Identity", "LeakyRelu", "MatMul", "Max", "MaxPool", "Mul", "Pad", "Pow"),
    *("QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Sigmoid", "Softmax", "Split"),
    *("Sqrt", "Sub", "Transpose"),
}
# Inputs that must be known when the file is parsed, by their number.
CONSTANT_INPUTS = {
    "Clip": (1, 2),
    "Gemm": (1, 2),
    "Pad": (1, 2),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Split": (1,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
}


def require_portable(file: Path) -> None:
    """Check a file.

    :raises FerError: it cannot be read, or TensorRT would not take it.
    """
    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise FerError(f"{file}: is no valid ONNX file ({error}). Export the model again") from error
    found = problems(model)
    if found:
        raise FerError(f"{file}: TensorRT does not take it: {'; '.join(found)}. Change the network, or the export")


def problems(model: onnx.ModelProto) -> list[str]:
    """What keeps a model from being parsed by every version above; empty if nothing does."""
    graph = model.graph
    found = [f"opset {entry.version} of domain '{entry.domain}'" for entry in model.opset_import if not _fits(entry)]
    found += [f"operator {name}" for name in sorted({node.op_type for node in graph.node} - OPERATORS)]
    for value in (*graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if not sizes or not sizes[0].dim_param or any(size.dim_value < 1 for size in sizes[1:]):
            found.append(f"'{value.name}' has no dynamic batch, or another dynamic size")
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            found.append(f"'{value.name}' is not float32")
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in constants:  # for parameters that are alike
            constants[node.output[0]] = constants[node.input[0]]
    dequantized = {
        node.output[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    for node in graph.node:
        for number in CONSTANT_INPUTS.get(node.op_type, ()):
            if number < len(node.input) and node.input[number] and node.input[number] not in constants:
                found.append(f"{node.name}: input {number} of {node.op_type} is not constant")
        if node.op_type == "Conv" and node.input[1] not in constants | dict.fromkeys(dequantized):
            found.append(f"{node.name}: its weights are not constant")
        if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] not in constants:
            found.append(f"{node.name}: its bias is not a floating-point constant")
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants.get(node.input[2]) if len(node.input) > 2 else None
            if zero is None or zero.data_type != TensorProto.INT8 or np.any(numpy_helper.to_array(zero)):
                found.append(f"{node.name}: quantizes not to int8 with a zero point of 0")
    return found


def _fits(entry: onnx.OperatorSetIdProto) -> bool:
    return entry.domain in ("", "ai.onnx") and 9 <= entry.version <= OPSET
