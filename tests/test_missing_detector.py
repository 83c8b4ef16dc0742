"""Nodes on machines where the detector's file was not fetched, or is not where a parameter says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fer_msgs.msg import FaceArray

import fer_perception
from fer_perception.faces.finder import WITHOUT_DETECTOR
from fer_perception.models.shipped import DETECTOR_MODEL, resolve_face_model, share_folder


@pytest.fixture
def without_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that a test starts run an installed package whose detector was never fetched."""
    code, share = tmp_path / "lib" / "python" / "fer_perception", tmp_path / "share" / "fer_perception"
    shutil.copytree(Path(fer_perception.__file__).parent, code, ignore=shutil.ignore_patterns("__pycache__"))
    (share / "models").mkdir(parents=True)
    shutil.copy(share_folder() / "package.xml", share)
    for file in (share_folder() / "models").iterdir():
        if file.name != DETECTOR_MODEL:
            (share / "models" / file.name).symlink_to(file.resolve())
    for name, first in {"PYTHONPATH": code.parent, "AMENT_PREFIX_PATH": tmp_path}.items():
        monkeypatch.setenv(name, os.pathsep.join([str(first), os.environ[name]]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def diagnosed(graph: Any, node: str) -> tuple[bytes, str]:
    graph.until(lambda: (status := graph.status_of(node)) is not None and status.message != "starting")
    status = graph.status_of(node)
    return status.level, status.message


@pytest.mark.usefixtures("without_detector")
@pytest.mark.parametrize("node", ["fer_node", "face_node"])
def test_without_the_detector_near_faces_are_found_and_all_are_told(
    graph: Any, portrait: np.ndarray, node: str
) -> None:
    graph.collect(FaceArray, "faces")
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start(node, face_model=resolve_face_model(""))
    (faces,) = graph.ask(portrait, "faces")
    (face,) = faces.faces
    np.testing.assert_allclose(face.keypoints[:4], [201, 104, 245, 108], atol=8)
    assert diagnosed(graph, node) == (DiagnosticStatus.WARN, WITHOUT_DETECTOR)
    assert process.output.count(WITHOUT_DETECTOR) == 1


@pytest.mark.usefixtures("without_detector")
def test_who_asks_for_blazeface_is_not_warned(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(FaceArray, "faces")
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start("fer_node", face_model=resolve_face_model(""), detector_model="blazeface")
    assert len(graph.ask(portrait, "faces")[0].faces) == 1
    level, _ = diagnosed(graph, "fer_node")
    assert level == DiagnosticStatus.OK
    assert "YuNet" not in process.output


def test_a_detector_that_is_not_there_is_an_error(graph: Any, tmp_path: Path) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start("fer_node", detector_model=tmp_path / "yunet.onnx")
    level, message = diagnosed(graph, "fer_node")
    assert level == DiagnosticStatus.ERROR
    assert f"{tmp_path / 'yunet.onnx'}: cannot be read (No such file or directory)" in message
    assert "ros2 run fer_perception fetch_face_model" in message
    assert "Traceback" not in process.output
    assert process.running()
