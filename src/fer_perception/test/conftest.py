"""Shared fixtures: real models on real images; a tiny real ONNX bundle where the weights do not matter."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_perception.files import sha256_of
from fer_perception.images.sources import open_source
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_perception.models.bundle import Manifest, ModelFile, write_manifest
from fer_perception.models.shipped import resolve_detector_model, resolve_face_model
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.preprocessing.normalization import InputSpec


@pytest.fixture(scope="session")
def face_model() -> Path:
    return resolve_face_model("")


@pytest.fixture(scope="session")
def detector_model() -> Path:
    model = resolve_detector_model("")
    if model is None:
        pytest.skip("YuNet was not fetched: set FER_MODELS to a folder that has it, and make setup")
    return model


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="session")
def tensorrt() -> ModuleType:
    """TensorRT-RTX; where there are wheels of it, it must be there."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("TensorRT-RTX has no wheels for this machine")
    from fer_perception.engines.tensorrt import bindings as tensorrt_api

    return tensorrt_api.trt


@pytest.fixture(scope="session")
def media() -> Path:
    folder = Path(os.environ.get("FER_DATA", "../shared/data")) / "media"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine (set FER_DATA)")
    return folder


def _write_tiny_bundle(folder: Path, outputs: int = 7) -> Path:
    """A network that averages the crop and scales it by a fixed row of weights: real ONNX, known predictions.

    :param outputs: with 8 the labels are eight, with others seven, whether they fit or not.
    """
    weights = numpy_helper.from_array(np.linspace(-1, 1, outputs, dtype=np.float32).reshape(outputs, 1), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["crops"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights"], ["logits"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", outputs])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "fp32.onnx")
    write_manifest(
        folder,
        Manifest(
            schema_version=1,
            name="tiny",
            labels=EMOTIONS_8 if outputs == 8 else EMOTIONS_7,
            input=InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25]),
            alignment=AlignmentTemplate(right_eye=(0.3, 0.4), left_eye=(0.7, 0.4), mouth=(0.5, 0.8)),
            files={"fp32": ModelFile(name="fp32.onnx", sha256=sha256_of(folder / "fp32.onnx"))},
            parameters=7,
            macs=7,
            training={"data": "none"},
            metrics={},
        ),
    )
    return folder


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    return _write_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def write_tiny_bundle() -> Callable[..., Path]:
    return _write_tiny_bundle


@pytest.fixture(scope="session")
def moving_portrait() -> list[np.ndarray]:
    """24 images of 640x480 in which one face moves."""
    return list(islice(open_source("astronaut").frames(), 24))


@pytest.fixture(scope="session")
def portrait_bag(moving_portrait: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """These images as a bag at 10 Hz: 12 labelled neutral, then 12 labelled happy."""
    from fer_perception.replay.storage.new_bag import Item, write_bag

    folder = tmp_path_factory.mktemp("bags") / "portrait"
    items = [Item(image, "neutral" if n < 12 else "happy") for n, image in enumerate(moving_portrait)]
    write_bag(items, folder, 10.0)
    return folder
