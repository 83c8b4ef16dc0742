import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from fer_perception.preprocessing.normalization import InputSpec
from fer_training.export.onnx import count_macs, write_onnx
from fer_training.export.portability import OPSET, problems
from fer_training.networks import NETWORKS, DualAdaptiveNetwork

SMALL_INPUT = {"stem_stride": 1}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet_v2": ("mobilenet_v2", SMALL_INPUT),
    "efficientnet_lite0": ("efficientnet_lite0", SMALL_INPUT),
    "efficientnet_lite1": ("efficientnet_lite1", SMALL_INPUT),
    "efficientnet_lite2": ("efficientnet_lite2", SMALL_INPUT),
    "hybrid_attention": ("hybrid_attention", SMALL_INPUT),
    "hybrid_attention on efficientnet_lite0": ("hybrid_attention", {"backbone": "efficientnet_lite0", **SMALL_INPUT}),
    "hybrid_attention, dual direction": ("hybrid_attention", {"dual_direction_size": 3, **SMALL_INPUT}),
    "hybrid_attention, coordinate": ("hybrid_attention", {"block_attention": "coordinate", **SMALL_INPUT}),
    "hybrid_attention, efficient_channel": (
        "hybrid_attention",
        {"block_attention": "efficient_channel", **SMALL_INPUT},
    ),
    "hybrid_attention, squeeze_excite": ("hybrid_attention", {"block_attention": "squeeze_excite", **SMALL_INPUT}),
    "dual_adaptive": ("dual_adaptive", SMALL_INPUT),
    "ddamfn": ("ddamfn", {}),
    "egt": ("egt", {}),
    "mini_xception": ("mini_xception", {}),
    "xception": ("xception", SMALL_INPUT),
    "landmark_compressed": (
        "landmark_compressed",
        {
            "network": "mobilenet_v2",
            "widths": {
                "features.1.conv.1": [32, 8, 1],
                "features.1.conv.2": [8],
                "features.2.conv.0.0": [8, 96, 1],
                "features.18.0": [320, 640, 1],
                "features.18.1": [640],
                "classifier.1": [640, 7],
            },
            **SMALL_INPUT,
        },
    ),
}
# Published: Keras' summaries of Xception and mini-Xception (trainable parameters); EfficientNet-Lite0 with its 1000
# classes has 4,652,008, of which 1280 x 993 weights and 993 biases go with a head for seven. Lite1 and Lite2 are those
# of the packages of their weights; published are 5.417 M and 6.092 M.
PUBLISHED_PARAMETERS = {
    ("efficientnet_lite0", 1000, 3): 4_652_008,
    ("efficientnet_lite1", 1000, 3): 5_416_680,
    ("efficientnet_lite2", 1000, 3): 6_092_072,
    ("efficientnet_lite0", 7, 3): 3_379_975,
    ("xception", 1000, 3): 22_855_952,
    ("mini_xception", 7, 1): 56_951,
}
# Parameters, and MACs at 48 and 64 pixels, of networks for seven labels and grey images, as docs/training.md has them.
SIZES: dict[str, tuple[int, int, int]] = {
    "mobilenet_v2": (2_232_263, 53_691_008, 95_443_712),
    "efficientnet_lite0": (3_379_399, 69_195_488, 123_007_232),
    "mini_xception": (56_951, 5_520_448, 10_163_392),
    "xception": (20_820_719, 798_212_952, 1_437_980_760),
    "ddamfn": (1_160_199, 49_428_224, 87_301_632),
    "egt": (1_980_535, 30_292_146, 53_624_672),
}
SIZE_OPTIONS: dict[str, dict[int, dict[str, Any]]] = {
    "ddamfn": {48: {"size": 6}, 64: {"size": 8}},
    "egt": {48: {"size": 3}, 64: {"size": 4}},
}
OPERATORS = {"Conv", "Clip", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm", "Constant", "Identity"}
VARIANT_OPERATORS = {
    "efficientnet_lite0": {"Pad"},
    "efficientnet_lite1": {"Pad"},
    "efficientnet_lite2": {"Pad"},
    "hybrid_attention": {"Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat"},
    "hybrid_attention on efficientnet_lite0": {"Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat", "Pad"},
    "hybrid_attention, coordinate": {"Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat", "HardSigmoid"},
    "hybrid_attention, efficient_channel": {
        *("Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat", "Pad", "Split"),
    },
    "hybrid_attention, squeeze_excite": {"Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat"},
    "hybrid_attention, dual direction": {
        *("Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat", "HardSigmoid", "Max"),
    },
    "dual_adaptive": {
        *("Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat"),
        *("ReduceSum", "Div", "Split"),
    },
    "ddamfn": {"Mul", "Sigmoid", "ReduceMean", "Concat", "HardSigmoid", "Max", "Split"},
    "egt": {
        *("Mul", "Sigmoid", "ReduceMean", "ReduceMax", "Concat", "Split"),
        *("MatMul", "Softmax", "Reshape", "Transpose", "Div", "Pow", "Sqrt", "Sub"),
    },
    "mini_xception": {"MaxPool"},
    "xception": {"MaxPool"},
}


def build(variant: str, in_channels: int = 1) -> nn.Module:
    name, options = VARIANTS[variant]
    torch.manual_seed(0)
    network = NETWORKS[name](num_classes=7, in_channels=in_channels, **options)
    if isinstance(network, DualAdaptiveNetwork):  # whose local branch starts without a say
        nn.init.normal_(network.local_classifier.weight)
    return network


def settle(network: nn.Module, *shape: int) -> nn.Module:
    """Give batch normalisation statistics of its own activations, so that outputs are of ordinary size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean
    with torch.no_grad():
        network.train()(torch.randn(4, *shape, generator=torch.Generator().manual_seed(1)))
    return network.eval()


def test_registry_has_every_variant() -> None:
    assert set(NETWORKS) == {name for name, _ in VARIANTS.values()} | {"baseline"}
    assert NETWORKS["baseline"] is NETWORKS["mobilenet_v2"]


@pytest.mark.parametrize(("key", "count"), PUBLISHED_PARAMETERS.items(), ids=str)
def test_parameters_are_the_published(key: tuple[str, int, int], count: int) -> None:
    name, num_classes, in_channels = key
    with torch.device("meta"):
        network = NETWORKS[name](num_classes=num_classes, in_channels=in_channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_documented(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    (row,) = re.findall(
        rf"^\| `{name}`(?:, stem stride \d)? \| ([\d,]+) \| ([\d.]+) M / ([\d.]+) M \|$", page, re.MULTILINE
    )
    parameters, *macs = SIZES[name]
    assert row == (f"{parameters:,}", *(f"{count / 1e6:.1f}" for count in macs))
    for side, count in zip((48, 64), macs, strict=True):
        options = SIZE_OPTIONS.get(name, {}).get(side, VARIANTS[name][1])
        network = NETWORKS[name](7, 1, **options).eval()
        if side == 48:
            assert sum(parameter.numel() for parameter in network.parameters()) == parameters
        spec = InputSpec(width=side, height=side, color="grey", mean=[0.5], std=[0.25])
        assert count_macs(network, spec) == count


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_every_parameter(variant: str) -> None:
    network = build(variant).train()
    for module in network.modules():  # a residual block that starts as the identity: as after the first step
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
    logits = network(torch.randn(2, 1, 48, 48, generator=torch.Generator().manual_seed(2)))
    assert logits.shape == (2, 7)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3])).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_grouped_channels_are_multiples_of_eight(variant: str) -> None:
    with torch.device("meta"):
        convolutions = [module for module in build(variant).modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.in_channels % 8 == 0 == conv.out_channels % 8 for conv in convolutions if conv.groups > 1)


@pytest.mark.parametrize(
    ("variant", "side"),
    [(name, 48) for name in VARIANTS if name != "xception"] + [("efficientnet_lite0", 64), ("mini_xception", 64)],
)
def test_in_evaluation_a_picture_answers_for_itself(variant: str, side: int) -> None:
    network = settle(build(variant, in_channels=3), 3, side, side)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        together, again, alone = network(images), network(images), network(images[1:2])
    assert torch.equal(together, again)
    # Other batch sizes have other kernels; their rounding is far below what images differ by.
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-3 * float(together.std()))
    assert together.std() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_onnx_answers_as_torch_with_known_operators(variant: str, tmp_path: Path) -> None:
    network = settle(build(variant), 1, 48, 48)
    file = tmp_path / "network.onnx"
    write_onnx(network, InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25]), file)
    model = onnx.load(file)
    assert {entry.version for entry in model.opset_import} == {OPSET}
    assert problems(model) == []
    assert {node.op_type for node in model.graph.node} <= OPERATORS | VARIANT_OPERATORS.get(variant, set())
    images = torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        expected = network(images).numpy()
    (output,) = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"crops": images.numpy()})
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(output, expected, rtol=0, atol=2e-3 * expected.std())
