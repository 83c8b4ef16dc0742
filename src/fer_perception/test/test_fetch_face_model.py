import hashlib
from pathlib import Path

import pytest

from fer_perception.commands import fetch_face_model
from fer_perception.errors import FaceModelError

CONTENT = b"the model"


@pytest.fixture
def origins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two origins, of which the first fails; the list tells which were asked."""
    asked: list[str] = []

    def broken(target: Path) -> None:
        asked.append("broken")
        raise OSError("no network")

    def working(target: Path) -> None:
        asked.append("working")
        target.write_bytes(CONTENT)

    monkeypatch.setattr(fetch_face_model, "ORIGINS", (("first", broken), ("second", working)))
    monkeypatch.setattr(fetch_face_model, "FACE_MODEL_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return asked


def test_second_origin_is_tried_and_the_file_verified(tmp_path: Path, origins: list[str]) -> None:
    assert fetch_face_model.fetch(tmp_path / "models").read_bytes() == CONTENT
    assert origins == ["broken", "working"]
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["face_landmarker.task"]


def test_existing_file_is_respected(tmp_path: Path, origins: list[str]) -> None:
    (tmp_path / "face_landmarker.task").write_bytes(CONTENT)
    fetch_face_model.fetch(tmp_path)
    assert origins == []


def test_existing_wrong_file_is_neither_used_nor_overwritten(tmp_path: Path, origins: list[str]) -> None:
    (tmp_path / "face_landmarker.task").write_bytes(b"another")
    with pytest.raises(FaceModelError, match="Delete it"):
        fetch_face_model.fetch(tmp_path)
    assert (tmp_path / "face_landmarker.task").read_bytes() == b"another"


def test_wrong_download_is_never_kept(tmp_path: Path, origins: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_face_model, "FACE_MODEL_SHA256", "0" * 64)
    with pytest.raises(FaceModelError, match=r"could not be fetched.*by hand"):
        fetch_face_model.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []
