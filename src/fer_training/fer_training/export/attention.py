"""A bundle's ``attention.onnx``: the first part of its network, up to the map of attention that robots can show."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, shape_inference

from fer_perception.errors import FerError
from fer_perception.files import sha256_of, written_atomically
from fer_perception.models.bundle import Bundle, ModelFile, write_manifest
from fer_training.export.portability import require_portable

ATTENTION_FILE, OUTPUT = "attention.onnx", "attention"
# How torch's exporter names the node that gives the map of a SpatialAttention.
MAP_NODE = "/spatial/Sigmoid"


def add_attention(bundle: Path) -> Path:
    """Write ``attention.onnx`` into a bundle, and its hash into the manifest, which keeps all else that it records.

    The file is cut out of ``fp32.onnx``, so the map is that of the very weights that predict. Input ``crops`` as there;
    output ``attention``, float32 (N, h, w) in 0..1: the first map of ``forward_with_attention``, which ``evaluate
    --attention`` calls ``attention_stage3``. It is the finest one, and what comes after it in the network is left out.

    :raises FerError: the bundle cannot be used, its network has no attention, or TensorRT would not take the file.
    """
    opened = Bundle(bundle)
    model = shape_inference.infer_shapes(onnx.load(opened.onnx_file("fp32")))
    found = next((node.output[0] for node in model.graph.node if node.name.endswith(MAP_NODE)), None)
    if found is None:
        raise FerError(f"{bundle}: its network has no attention maps. Take a bundle of hybrid_attention")
    # (N, 1, h, w) without the axis of the one channel, by an operator that all versions of TensorRT take.
    model.graph.node.append(helper.make_node("ReduceMax", [found], [OUTPUT], "/map/ReduceMax", axes=[1], keepdims=0))
    sizes = next(value for value in model.graph.value_info if value.name == found).type.tensor_type.shape.dim
    shape = [sizes[0].dim_param, sizes[2].dim_value, sizes[3].dim_value]
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    part = onnx.utils.Extractor(model).extract_model([model.graph.input[0].name], [OUTPUT])
    del part.graph.value_info[:]

    file = opened.path / ATTENTION_FILE
    with written_atomically(file) as temporary:
        onnx.save(part, temporary)
        require_portable(temporary)
    entry = ModelFile(name=file.name, sha256=sha256_of(file))
    write_manifest(opened.path, opened.manifest.model_copy(update={"attention": entry}))
    return file
