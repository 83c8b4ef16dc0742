"""TensorRT on a GPU. Everything here is skipped, with the reason, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fer_msgs.msg import EmotionArray

from fer_perception.engines.onnx_runtime import OnnxRuntimeEngine
from fer_perception.engines.selection import load_engine, load_network
from fer_perception.engines.tensorrt.cuda import CudaSession, Gpu, find_gpu
from fer_perception.errors import EngineError
from fer_perception.faces.yunet import YuNet, yunet_network
from fer_perception.models.bundle import Bundle, Precision
from fer_perception.models.shipped import resolve_detector_model, share_folder

BUNDLES = [
    (manifest.parent, precision)
    for manifest in sorted((share_folder() / "models").glob("*/manifest.yaml"))
    for precision in Bundle(manifest.parent).manifest.files
]


@pytest.fixture(scope="module", autouse=True)
def gpu() -> Gpu:
    try:
        return find_gpu()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def tensorrt(gpu: Gpu) -> str:
    try:
        from fer_perception.engines.tensorrt import bindings as tensorrt_api
    except EngineError as error:
        pytest.skip(str(error))
    if tensorrt_api.RTX:
        rtx: Any = tensorrt_api.trt
        if f"SM{gpu.compute_capability.replace('.', '')}" not in rtx.ComputeCapability.__members__:
            pytest.skip(f"{tensorrt_api.VERSION} does not know the {gpu.name}")
    return tensorrt_api.VERSION


def test_a_session_copies_to_the_gpu_and_back_from_several_threads() -> None:
    session = CudaSession()
    with session.active():
        buffer = session.buffer((64, 1000), np.float32)

    def there_and_back(number: int) -> bool:
        rows = 1 + number % 64
        with session.active():
            buffer.host[:rows] = number
            session.upload(buffer, rows)
            session.synchronize()
            buffer.host[:] = -1
            session.download(buffer, rows)
            session.synchronize()
            return bool((buffer.host[:rows] == number).all() and (buffer.host[rows:] == -1).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(500)))
        pool.submit(session.close).result()
    with pytest.raises(EngineError, match="closed"), session.active():
        pass


def test_sessions_come_and_go_without_a_trace() -> None:
    import pycuda.driver as driver

    def free_bytes() -> int:
        keeper = CudaSession()
        with keeper.active():
            free, _ = driver.mem_get_info()
        keeper.close()
        return int(free)

    before = free_bytes()
    for _ in range(20):
        session = CudaSession()
        with session.active():
            session.buffer((256, 1024), np.float32)
        session.close()
    assert free_bytes() >= before - (8 << 20)


@pytest.mark.usefixtures("tensorrt", "cache")
@pytest.mark.parametrize(("folder", "precision"), BUNDLES, ids=lambda value: getattr(value, "name", value))
def test_tensorrt_answers_as_onnx_runtime_does(folder: Path, precision: Precision) -> None:
    bundle = Bundle(folder)
    spec = bundle.manifest.input
    shape = (37, spec.channels, spec.height, spec.width)
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = OnnxRuntimeEngine(bundle.onnx_file(precision)).infer(batch)
    engine = load_engine(bundle, precision, backend="tensorrt").engine
    try:
        answers = {count: engine.infer(batch[:count]) for count in (37, 1, 16)}
        with ThreadPoolExecutor(4) as pool:
            again = list(pool.map(engine.infer, [batch[:5]] * 20))
    finally:
        engine.close()
    tolerance = {"fp32": 0.01, "fp16": 0.03, "int8": 0.1}[precision] * float(np.abs(expected).max())
    for count, answer in answers.items():
        np.testing.assert_allclose(answer, expected[:count], atol=tolerance)
    for answer in again:
        np.testing.assert_allclose(answer, expected[:5], atol=tolerance)


@pytest.mark.usefixtures("tensorrt", "cache")
def test_the_detector_sees_what_it_sees_on_the_cpu(portrait: np.ndarray) -> None:
    model = resolve_detector_model("")
    if model is None:
        pytest.skip("YuNet was not fetched: set FER_MODELS to a folder that has it, and make setup")
    engines = [load_network(yunet_network(model), backend) for backend in ("tensorrt", "onnxruntime")]
    try:
        for height, width in ((480, 640), (256, 320), (96, 288), (640, 512), (32, 32)):
            image = np.ascontiguousarray(portrait[:height, :width])
            gpu, cpu = (YuNet(engine).detect(image, 0.3) for engine in engines)
            for seen, expected in zip(gpu, cpu, strict=True):
                np.testing.assert_allclose(seen, expected, atol=0.02 * max(1.0, float(np.abs(expected).max(initial=0))))
    finally:
        for engine in engines:
            engine.close()


@pytest.mark.usefixtures("tensorrt", "cache")
def test_a_node_runs_it(graph: Any, portrait: np.ndarray, gpu: Gpu) -> None:
    graph.collect(EmotionArray, "emotions")
    process = graph.start("fer_node", backend="tensorrt")

    def answered() -> bool:
        graph.publish(graph.image(portrait))
        graph.spin(0.2)
        return bool(graph.received["emotions"])

    graph.until(answered, 600)
    assert [face.label for face in graph.received["emotions"][-1].emotions] == ["happy"]
    assert gpu.name in process.output
    assert process.stop() == 0
    assert "Traceback" not in process.output
