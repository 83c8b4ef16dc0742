"""Engines that are really built, by TensorRT-RTX, which needs no GPU for it. They are not run here: see test_gpu.py."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_perception.commands.build_engine import build_detector_engine, build_engine
from fer_perception.engines.cache import EngineCache
from fer_perception.engines.network import Network, Shapes, bundle_network
from fer_perception.engines.onnx_runtime import OnnxRuntimeEngine
from fer_perception.engines.tensorrt.cuda import Gpu
from fer_perception.errors import BundleError, EngineError
from fer_perception.models.bundle import Bundle, Precision
from fer_perception.models.shipped import resolve_detector_model, share_folder
from fer_perception.settings import PrecisionChoice

GPU = Gpu("a test's GPU with 20 multiprocessors", "8.6")
SHIPPED = [
    (manifest.parent.name, precision)
    for manifest in sorted((share_folder() / "models").glob("*/manifest.yaml"))
    for precision in Bundle(manifest.parent).manifest.files
]


@pytest.fixture(autouse=True)
def _own_cache(tensorrt: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_network(file: Path, precision: Precision, classes: int = 7) -> Path:
    """A small convolutional network, typed as bundles are: inputs and outputs in float32, int8 by Q/DQ nodes with
    symmetric weights of one scale a channel, the last layer not quantized.
    """
    random = np.random.default_rng(0)
    kind = np.float16 if precision == "fp16" else np.float32
    kernel = random.normal(size=(8, 1, 3, 3)).astype(kind)
    constants = {"bias": np.zeros(8, kind), "head": random.normal(size=(classes, 8)).astype(kind)}
    nodes = [helper.make_node("Cast", ["crops"], ["x"], to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))]
    if precision == "int8":
        scales = (np.abs(kernel).max(axis=(1, 2, 3)) / 127).astype(np.float32)
        constants |= {
            "quantized": np.round(kernel / scales[:, None, None, None]).astype(np.int8),
            "scales": scales,
            "zeros": np.zeros(8, np.int8),
            "scale": np.asarray(0.02, np.float32),
            "zero": np.asarray(0, np.int8),
        }
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x8"]),
            helper.make_node("DequantizeLinear", ["x8", "scale", "zero"], ["xq"]),
            helper.make_node("DequantizeLinear", ["quantized", "scales", "zeros"], ["kernel"], axis=0),
        ]
    else:
        constants["kernel"] = kernel
    nodes += [
        helper.make_node("Conv", ["xq" if precision == "int8" else "x", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "head"], ["y"], transB=1),
        helper.make_node("Cast", ["y"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        precision,
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def network(file: Path, precision: Precision = "fp32", smallest: int = 1, largest: int = 16) -> Network:
    """What a file is, which may be no network at all: then one of 48 x 48 pixels and seven labels."""
    shape: tuple[int, ...] = (1, 48, 48)
    outputs: tuple[tuple[int, ...], ...] = ((-1, 7),)
    with suppress(Exception):
        graph = onnx.load(file).graph
        shape, label = (
            tuple(side.dim_value for side in value.type.tensor_type.shape.dim[1:])
            for value in (graph.input[0], graph.output[0])
        )
        outputs = ((-1, *label),)
    small, large = ((count, *shape) for count in (smallest, largest))
    return Network("network", file, precision, Shapes(small, small, large), outputs)


def assert_builds(file: Path, precision: Precision, smallest: int, largest: int) -> None:
    from fer_perception.engines.tensorrt.builder import BuildOptions, build

    options = BuildOptions(GPU.compute_capability)
    engine = build(network(file, precision, smallest, largest), file.read_bytes(), options)
    assert len(engine.data) > 1000
    batch = smallest if smallest == largest else -1
    assert [(tensor.is_input, tensor.shape[0], tensor.dtype) for tensor in engine.tensors] == [
        (True, batch, "FLOAT"),
        (False, batch, "FLOAT"),
    ]


BATCHES = pytest.mark.parametrize(("smallest", "largest"), [(1, 16), (1, 1), (8, 8)], ids=["dynamic", "one", "eight"])


@BATCHES
@pytest.mark.parametrize(("name", "precision"), SHIPPED)
def test_every_shipped_network_becomes_an_engine(name: str, precision: Precision, smallest: int, largest: int) -> None:
    assert_builds(Bundle(share_folder() / "models" / name).onnx_file(precision), precision, smallest, largest)


@BATCHES
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_typing_becomes_an_engine(tmp_path: Path, precision: Precision, smallest: int, largest: int) -> None:
    file = write_network(tmp_path / "network.onnx", precision)
    assert OnnxRuntimeEngine(file).infer(np.zeros((3, 1, 48, 48), np.float32)).shape == (3, 7)
    assert_builds(file, precision, smallest, largest)


def test_the_detector_becomes_an_engine_for_images_of_any_shape(detector_model: Path) -> None:
    file = build_detector_engine(detector_model, compute_capability="8.6")
    tensors = json.loads(file.with_suffix(".json").read_text())["details"]["tensors"]
    assert [tensor[1] for tensor in tensors] == [True] + [False] * 12
    assert tensors[0][2] == [1, 3, -1, -1]
    assert [tensor[2][-1] for tensor in tensors[1:]] == [1] * 6 + [4] * 3 + [10] * 3


def test_the_precision_is_the_files(tmp_path: Path) -> None:
    """The engine of FP16 weights is smaller by the bytes that they save."""
    from fer_perception.engines.tensorrt.builder import BuildOptions, build

    sizes = {}
    for precision in ("fp32", "fp16"):
        file = write_network(tmp_path / f"{precision}.onnx", precision, classes=50_000)
        typed = network(file, precision, largest=1)
        sizes[precision] = len(build(typed, file.read_bytes(), BuildOptions("8.6")).data)
    assert sizes["fp32"] - sizes["fp16"] == pytest.approx(50_000 * 8 * 2, rel=0.1)


def test_the_log_tells_of_the_build(tiny_bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    from fer_perception.engines.tensorrt import builder as tensorrt_builder

    monkeypatch.setattr(tensorrt_builder, "PROGRESS_S", 0.001)
    with caplog.at_level(logging.INFO):
        assert_builds(Bundle(share_folder() / "models" / "baseline").onnx_file(), "fp32", 1, 16)
    assert "this can take minutes" in caplog.text
    assert "building for 0 s: " in caplog.text
    assert "MB built in" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_capability": "8.7"}, "builds for the compute capabilities 7.5, .* not 8.7: use backend onnxruntime"),
        ({"dla_core": 0}, "dla_core is 0, this machine has 0 such cores: use -1"),
    ],
)
def test_what_this_machine_cannot_build_is_said(tiny_bundle: Path, options: dict[str, Any], message: str) -> None:
    from fer_perception.engines.tensorrt.builder import BuildOptions, build

    file = tiny_bundle / "fp32.onnx"
    with pytest.raises(EngineError, match=message):
        build(network(file), file.read_bytes(), BuildOptions("8.6")._replace(**options))


def test_a_file_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    from fer_perception.engines.tensorrt.builder import BuildOptions, build

    with pytest.raises(EngineError, match=r"broken\.onnx: TensorRT-RTX .* cannot parse it"):
        build(network(tmp_path / "broken.onnx"), b"not ONNX", BuildOptions("8.6"))


def prepare(bundle: Path, gpu: Gpu = GPU, cache: EngineCache | None = None) -> Any:
    from fer_perception.engines.tensorrt.preparation import Preparation, Target

    return Preparation(bundle_network(Bundle(bundle), "fp32"), Target(gpu), cache).engine()


def test_an_engine_is_built_once(tiny_bundle: Path) -> None:
    first, second = prepare(tiny_bundle), prepare(tiny_bundle)
    assert (first.built, second.built) == (True, False)
    assert (first.data, first.tensors, first.file) == (second.data, second.tensors, second.file)
    assert prepare(tiny_bundle, GPU._replace(compute_capability="8.9")).built
    assert not prepare(tiny_bundle, GPU._replace(name="another GPU of that kind")).built  # RTX engines fit both


def test_a_damaged_engine_is_built_again(tiny_bundle: Path) -> None:
    file = prepare(tiny_bundle).file
    file.write_bytes(file.read_bytes()[:-1])
    assert prepare(tiny_bundle).built
    description = file.with_suffix(".json")
    description.write_text(description.read_text().replace("tensors", "other"))
    assert prepare(tiny_bundle).built
    assert not prepare(tiny_bundle).built


def test_another_tensorrt_builds_its_own(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_perception.engines.tensorrt import preparation as tensorrt_prepare

    file = prepare(tiny_bundle).file
    monkeypatch.setattr(tensorrt_prepare, "VERSION", "TensorRT-RTX 1.8")
    assert prepare(tiny_bundle).file != file


def test_without_a_cache_the_engine_is_used_all_the_same(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = prepare(tiny_bundle, cache=EngineCache(tmp_path / "file" / "engines"))
    assert engine.file is None
    assert len(engine.data) > 1000


def test_a_network_that_does_not_fit_its_manifest_is_refused(write_tiny_bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"logits \(-1, 5\) FLOAT; expected are .* outputs \[\(-1, 7\)\]"):
        prepare(write_tiny_bundle(tmp_path / "five", outputs=5))


def test_of_two_commands_at_once_one_builds_and_both_say_where(tiny_bundle: Path) -> None:
    arguments = ["build_engine", "--model", str(tiny_bundle), "--compute-capability", "8.6"]
    command = [sys.executable, "-m", "fer_perception", *arguments]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs, logs = zip(*(process.communicate(timeout=60) for process in processes), strict=True)
    assert [process.returncode for process in processes] == [0, 0], logs
    files = [str(build_engine(Bundle(tiny_bundle), compute_capability="8.6"))]
    if detector := resolve_detector_model(""):
        files.append(str(build_detector_engine(detector, compute_capability="8.6")))
    for output in outputs:
        assert [line.rpartition(":")[0] for line in output.splitlines()] == files
    assert sum(log.count("MB built in") for log in logs) == len(files)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_the_command_needs_to_know_the_gpu(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, precision: PrecisionChoice
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(EngineError, match="pycuda cannot be imported"):
        build_engine(Bundle(tiny_bundle), precision)


class OldTensorRT:
    """What the builder touches of TensorRT 8.2 and 10, which have no packages to be installed here; keeps what it was
    told.
    """

    OnnxParser = staticmethod(lambda network, logger: SimpleNamespace(parse=lambda content: True))
    Dims = staticmethod(tuple)
    DeviceType = SimpleNamespace(DLA="DLA")
    MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    BuilderFlag = SimpleNamespace(FP16="FP16", INT8="INT8", GPU_FALLBACK="GPU_FALLBACK")

    def __init__(self, version: int) -> None:
        self.flags: list[str] = []
        self.network_flags = -1
        self.shapes: tuple[Any, ...] = ()
        self.timing_cache = b""
        known = {"EXPLICIT_BATCH": 0} if version == 8 else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**known)
        self.config = SimpleNamespace(
            set_flag=self.flags.append,
            create_timing_cache=lambda data: None if data == b"damaged" else data,
            set_timing_cache=lambda cache, ignore_mismatch: setattr(self, "timing_cache", cache),
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: self.timing_cache + b"timings"),
            add_optimization_profile=lambda profile: 0,
        )
        if version == 10:
            self.config.set_memory_pool_limit = lambda pool, size: setattr(self.config, "workspace", size)
        self.crops = SimpleNamespace(name="crops", shape=(-1, 1, 48, 48), dtype=SimpleNamespace(name="FLOAT"))
        self.logits = SimpleNamespace(name="logits", shape=(-1, 7), dtype=SimpleNamespace(name="FLOAT"))

    def Builder(self, logger: object) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(
            num_DLA_cores=2,
            create_network=self._create_network,
            create_builder_config=lambda: self.config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self._set_shape),
            build_serialized_network=lambda network, config: b"engine",
        )

    def _create_network(self, flags: int) -> SimpleNamespace:
        self.network_flags = flags
        return SimpleNamespace(
            num_inputs=1, num_outputs=1, get_input=lambda index: self.crops, get_output=lambda index: self.logits
        )

    def _set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes = (name, *shapes)


@pytest.mark.parametrize(
    ("version", "precision", "dla_core", "network_flags", "flags"),
    [
        (8, "fp32", -1, 1, []),
        (8, "fp16", -1, 1, ["FP16"]),
        (8, "int8", -1, 1, ["FP16", "INT8"]),
        (8, "fp16", 1, 1, ["FP16", "GPU_FALLBACK"]),
        (10, "fp32", -1, 2, []),
        (10, "int8", -1, 2, []),  # the file decides
        (10, "fp16", 1, 1, ["FP16", "GPU_FALLBACK"]),
    ],
)
def test_older_versions_are_told_in_their_own_words(
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    precision: Precision,
    dla_core: int,
    network_flags: int,
    flags: list[str],
) -> None:
    from fer_perception.engines.tensorrt import builder as tensorrt_builder
    from fer_perception.engines.tensorrt.builder import BuildOptions

    old = OldTensorRT(version)
    monkeypatch.setattr(tensorrt_builder, "trt", old)
    monkeypatch.setattr(tensorrt_builder, "RTX", False)
    typed = network(Path("network.onnx"), precision, largest=16 if dla_core < 0 else 1)
    options = BuildOptions("8.7", dla_core, workspace_mb=64)
    built = tensorrt_builder.build(typed, b"ONNX", options, b"earlier ")
    assert (built.data, built.timing_cache) == (b"engine", b"earlier timings")
    assert (old.network_flags, old.flags) == (network_flags, flags)
    assert (old.config.max_workspace_size if version == 8 else old.config.workspace) == 64 << 20
    if dla_core < 0:
        assert old.shapes == ("crops", (1, 1, 48, 48), (1, 1, 48, 48), (16, 1, 48, 48))
    else:
        assert old.crops.shape == (1, 1, 48, 48)
        assert (old.config.default_device_type, old.config.DLA_core) == ("DLA", 1)


def test_a_timing_cache_that_tensorrt_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_perception.engines.tensorrt import builder as tensorrt_builder
    from fer_perception.engines.tensorrt.builder import BuildOptions

    monkeypatch.setattr(tensorrt_builder, "trt", OldTensorRT(8))
    monkeypatch.setattr(tensorrt_builder, "RTX", False)
    typed = network(Path("network.onnx"), "fp16")
    assert tensorrt_builder.build(typed, b"ONNX", BuildOptions("5.3"), b"damaged").timing_cache == b"timings"
