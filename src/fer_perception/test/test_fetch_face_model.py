import hashlib
import sys
from pathlib import Path

import pytest

from fer_perception.commands import fetch_face_model
from fer_perception.errors import FaceModelError
from fer_perception.models import shipped

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


def test_an_install_that_lacks_it_is_left_as_it_is(
    tmp_path: Path, origins: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a deb, whose folder a user cannot write."""
    share = tmp_path / "share" / "fer_perception"
    share.mkdir(parents=True)
    monkeypatch.setattr(shipped, "share_folder", lambda: share)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["fetch_face_model"])
    fetch_face_model.main()
    fetched = tmp_path / "cache" / "fer_perception" / "models" / shipped.FACE_MODEL
    assert fetched.read_bytes() == CONTENT
    assert shipped.resolve_face_model("") == fetched
    assert not list(share.iterdir())

    (share / "models").mkdir()
    beside = share / "models" / shipped.FACE_MODEL
    beside.write_bytes(CONTENT)
    assert shipped.resolve_face_model("") == beside
    origins.clear()
    fetch_face_model.main()  # it is there
    assert not origins
