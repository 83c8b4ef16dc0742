"""Real quantizations of small networks."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from torch import nn

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.errors import FerError
from fer_perception.models.bundle import Bundle
from fer_perception.preprocessing.normalization import InputSpec, to_batch
from fer_perception.types import Float32Array
from fer_training.__main__ import main
from fer_training.datasets import load_dataset
from fer_training.export.onnx import write_onnx
from fer_training.export.portability import problems, require_portable
from fer_training.export.quantization import quantize, sensitivity
from fer_training.export.quantization.bundles import with_float16
from fer_training.export.quantization.placement import block_of, blocks_of, with_int8
from fer_training.export.quantization.sensitivity import (
    agreement,
    divergence,
    largest_values,
    predict_with,
    quantize_insensitive,
)
from fer_training.networks import NETWORKS

SPEC = InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25])
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet_v2": ("mobilenet_v2", {"stem_stride": 1, "width": 0.5}),
    "hybrid_attention on efficientnet_lite0": (
        "hybrid_attention",
        {"backbone": "efficientnet_lite0", "stem_stride": 2},
    ),
    "dual_adaptive": ("dual_adaptive", {"stem_stride": 1, "width": 0.5}),
    "mini_xception": ("mini_xception", {}),
    "xception": ("xception", {}),
    "ddamfn": ("ddamfn", {}),
    "egt": ("egt", {}),
}


def exported(variant: str, folder: Path) -> tuple[ModelProto, Float32Array]:
    """A network with random weights and settled statistics as ONNX, and images."""
    name, options = VARIANTS[variant]
    torch.manual_seed(0)
    network = NETWORKS[name](7, 1, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1)
    images = torch.randn(16, 1, 48, 48)
    with torch.no_grad():
        network.train()(images)
    write_onnx(network.eval(), SPEC, folder / "fp32.onnx")
    return onnx.load(folder / "fp32.onnx"), images.numpy()


@pytest.fixture
def bundle(attentive_bundle: Path, tmp_path: Path) -> Path:
    """A trained network's."""
    return shutil.copytree(attentive_bundle, tmp_path / "models" / "attentive")


def emulated(model: ModelProto, images: Float32Array) -> Float32Array:
    """Logits with every Q, DQ and convolution computed as it stands, in float32: the same on any processor.

    Optimised, the convolutions are of integers, and saturate where the processor lacks the instructions for them.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images})
    return np.asarray(found)


def correlation(expected: Float32Array, found: Float32Array) -> float:
    """Of the deviations from the mean logits."""
    return float(np.corrcoef(*((logits - expected.mean(0)).ravel() for logits in (expected, found)))[0, 1])


def test_from_bundle_to_lower_precisions(bundle: Path, fer2013: Path) -> None:
    data = f"fer2013:{fer2013}"
    arguments = ["quantize", "--bundle", str(bundle), "--data", data, "--images", "28", "--agreement", "0.5"]
    main(arguments)
    opened = Bundle(bundle)
    manifest = opened.manifest
    assert set(manifest.files) == {"fp32", "fp16", "int8"}
    samples = load_dataset(data, "val")
    images = to_batch(samples.images, manifest.input)
    expected = EmotionClassifier(bundle, "fp32").logits(samples.images)
    facts = manifest.training["quantization"]
    for precision in ("fp16", "int8"):
        classifier = EmotionClassifier(bundle, precision)  # type: ignore[arg-type]
        found = classifier.logits(samples.images)
        assert agreement(expected, found) == pytest.approx(facts[precision]["agreement"], abs=0.06)  # two images
        alone = classifier.logits(samples.images[:1])  # any number of faces
        assert divergence(found[:1], alone) < 0.05
        assert precision in classifier.model_id
        assert correlation(expected, emulated(onnx.load(bundle / f"{precision}.onnx"), images)) > 0.95
    sizes = {precision: (bundle / file.name).stat().st_size for precision, file in manifest.files.items()}
    assert sizes["int8"] < 0.5 * sizes["fp32"]
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert facts["int8"]["calibration_images"] == 28
    assert facts["int8"]["agreement"] >= 0.5
    assert facts["measured_on"] == {"dataset": "fer2013", "split": "val", "images": 35}
    blocks = blocks_of(onnx.load(bundle / "fp32.onnx"))
    assert list(facts["int8"]["divergence_of_single_blocks"]) == blocks
    kept = {block_of(node) for node in unquantized(onnx.load(bundle / "int8.onnx"))}
    assert kept - {""} == set(facts["int8"]["blocks_in_float"])

    main(["evaluate", "--model", str(bundle), "--dataset", data, "--split", "val", "--precision", "int8", "--record"])
    main(["evaluate", "--model", str(bundle), "--dataset", data, "--split", "val", "--record"])
    assert {"fer2013/val/int8", "fer2013/val/fp32"} <= set(Bundle(bundle).manifest.metrics)
    main(["report", "--bundles", str(bundle.parent), "--out", str(bundle.parent / "report")])
    main(arguments)  # again: the same files, without what was measured on their predecessors
    again = Bundle(bundle).manifest
    assert again.files == manifest.files
    assert "fer2013/val/int8" not in again.metrics
    assert "fer2013/val/fp32" in again.metrics

    main([*arguments, "--out", str(bundle.parent / "quantized")])  # the same files, as a bundle of their own
    alone = Bundle(bundle.parent / "quantized").manifest
    assert alone.name == "quantized"
    assert alone.files == {precision: again.files[precision] for precision in ("fp16", "int8")}  # type: ignore[index]
    assert alone.training == again.training
    assert alone.metrics == {}
    assert alone.attention == again.attention
    assert Bundle(bundle).manifest == again
    main(["report", "--bundles", str(bundle.parent), "--out", str(bundle.parent / "report")])
    logits = EmotionClassifier(bundle.parent / "quantized", "int8").logits(samples.images)
    np.testing.assert_array_equal(logits, EmotionClassifier(bundle, "int8").logits(samples.images))


def unquantized(model: ModelProto) -> list[onnx.NodeProto]:
    """The convolutions whose weights are in floating point."""
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] not in dequantized]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_quantized(variant: str, tmp_path: Path) -> None:
    model, images = exported(variant, tmp_path)
    largest, blocks = largest_values(model, images), blocks_of(model)
    quantized = with_int8(model, largest, blocks)
    assert problems(quantized) == []
    nodes = quantized.graph.node
    makers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type == "Conv":
            is_quantized = makers[node.input[0]].op_type == "DequantizeLinear" if node.input[0] in makers else False
            assert is_quantized == bool(block_of(node)), node.name
            assert is_quantized == (node.input[1] in makers)
        if node.op_type == "Gemm":
            assert not {makers[name].op_type for name in node.input if name in makers} & {"DequantizeLinear"}
        if node.op_type == "Add":  # Q/DQ on one branch
            assert [makers[name].op_type for name in node.input if name in makers].count("DequantizeLinear") <= 1
    assert any(node.name.startswith("/attention") for node in nodes) == any(
        name in variant for name in ("hybrid", "dual", "egt")
    )
    # A network of random weights amplifies rounding from layer to layer, so late blocks are looked at, one by one.
    expected = predict_with(model, images)
    for block in blocks[-8:]:
        assert correlation(expected, emulated(with_int8(model, largest, [block]), images)) > 0.95, block

    # ONNX Runtime computes every quantized convolution in int8.
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(quantized.SerializeToString(), options, providers=["CPUExecutionProvider"])
    counts = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert counts["QLinearConv"] == sum(bool(block_of(node)) for node in nodes)
    assert not counts["Pad"]  # which would be computed in floating point


def test_weights_are_rounded_to_the_nearest_step_of_their_output(tmp_path: Path) -> None:
    model, images = exported("mini_xception", tmp_path)
    quantized = with_int8(model, largest_values(model, images), blocks_of(model))
    before, after = (
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for graph in (model.graph, quantized.graph)
    )
    convolutions = [node for node in model.graph.node if block_of(node)]
    assert convolutions
    for node in convolutions:
        weights = before[node.input[1]]
        integers, scales = after[f"{node.name}/integers"], after[f"{node.name}/scales"]
        assert integers.dtype == np.int8
        np.testing.assert_array_equal(np.abs(integers).max((1, 2, 3)), 127)  # all of the range is in use
        steps = scales[:, None, None, None]
        assert (np.abs(integers * steps - weights) <= 0.5001 * steps).all()


@pytest.mark.parametrize("variant", ["dual_adaptive", "ddamfn", "egt"])
def test_float16_has_float32_ends(variant: str, tmp_path: Path) -> None:
    model, images = exported(variant, tmp_path)
    half = with_float16(model)
    onnx.checker.check_model(half)  # in order, too: what the converter keeps in float32 gets casts
    assert problems(half) == []
    assert all(tensor.data_type != TensorProto.FLOAT for tensor in half.graph.initializer)
    assert {value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)} == {
        TensorProto.FLOAT
    }
    assert correlation(predict_with(model, images), predict_with(half, images)) > 0.99


def test_sensitive_blocks_stay_in_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "predict_with", emulated)
    model, images = exported("mini_xception", tmp_path)
    largest, blocks = largest_values(model, images), blocks_of(model)
    spoiled_block = blocks[2]
    spoiled = {name: value * (1000 if f"/{spoiled_block}/" in name else 1) for name, value in largest.items()}
    expected, wanted = emulated(model, images), 14 / 16
    quantized, divergences, in_float = quantize_insensitive(model, spoiled, images, wanted)
    order = sorted(blocks, key=lambda block: divergences[block], reverse=True)
    assert order[0] == spoiled_block
    assert len(in_float) >= 1
    assert in_float == order[: len(in_float)]
    assert agreement(expected, emulated(quantized, images)) >= wanted
    one_more = with_int8(model, spoiled, order[len(in_float) - 1 :])
    assert agreement(expected, emulated(one_more, images)) < wanted
    assert {block_of(node) for node in unquantized(quantized)} - {""} == set(in_float)


def test_measures() -> None:
    logits = np.array([[0.0, 1.0], [2.0, 0.0]], np.float32)
    assert divergence(logits, logits + 5) == pytest.approx(0, abs=1e-6)
    assert divergence(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])) == pytest.approx(0.5 * np.log(4 / 3))
    assert agreement(logits, logits[:, ::-1]) == 0.0
    assert agreement(logits, np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)) == 0.5


def small(opset: int = 13, operator: str = "Relu", batch: str | int = "batch", zero: Any = None) -> ModelProto:
    """One operator, or Q and DQ with this zero point."""
    kind = TensorProto.FLOAT
    nodes = [helper.make_node(operator, ["x"], ["y"], "op")]
    constants = []
    if zero is not None:
        names = ["scale", "zero"]
        constants = [onnx.numpy_helper.from_array(np.float32(0.1), "scale"), onnx.numpy_helper.from_array(zero, "zero")]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", *names], ["q"], "Q"),
            helper.make_node("DequantizeLinear", ["q", *names], ["y"], "DQ"),
        ]
    ends = [helper.make_tensor_value_info(name, kind, [batch, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, ""),
        ({"zero": np.int8(0)}, ""),
        ({"opset": 14}, "opset 14"),
        ({"operator": "Softplus"}, "operator Softplus"),
        ({"batch": 1}, "no dynamic batch"),
        ({"zero": np.int8(3)}, "zero point of 0"),
        ({"zero": np.uint8(0)}, "zero point of 0"),
    ],
)
def test_what_tensorrt_takes(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    found = problems(small(**options))
    assert (message in " ".join(found)) if message else found == []
    onnx.save(small(**options), tmp_path / "x.onnx")
    if message:
        with pytest.raises(FerError, match=rf"x\.onnx: TensorRT does not take it: .*{message}"):
            require_portable(tmp_path / "x.onnx")


def test_errors(trained_bundle: Path, fer2013: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained_bundle, tmp_path / "tiny")
    before = (bundle / "manifest.yaml").read_text()
    for arguments, message in (
        (["--bundle", str(tmp_path), "--data", f"fer2013:{fer2013}"], "cannot be read"),
        (["--bundle", str(bundle), "--data", "fer2013:/nowhere"], "/nowhere"),
        (["--bundle", str(bundle), "--data", f"fer2013:{fer2013}", "--images", "0"], "--images: must be at least 1"),
        (["--bundle", str(bundle), "--data", f"fer2013:{fer2013}", "--agreement", "1.01"], "Lower --agreement"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["quantize", *arguments])
        assert message in str(caught.value)
    assert (bundle / "manifest.yaml").read_text() == before
    assert not list(bundle.glob("*.partial"))
    (bundle / "fp32.onnx").write_bytes(b"no model")
    with pytest.raises(FerError, match="SHA-256"):
        quantize(bundle, f"fer2013:{fer2013}")
    with pytest.raises(FerError, match="is no valid ONNX file"):
        require_portable(bundle / "fp32.onnx")
