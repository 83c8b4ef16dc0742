"""Other systems on the same images. Speed is not judged here: the machine is not ours alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_perception.commands.benchmark.command import main
from fer_perception.commands.benchmark.peers.measure import format_peers, measure_peers, to_screen
from fer_perception.commands.benchmark.peers.packages import REMEDY
from fer_perception.commands.benchmark.peers.systems import (
    FER_MARGIN,
    SYSTEMS,
    Detector,
    cut_out,
    haar_detector,
    open_systems,
    yunet_detector,
)
from fer_perception.errors import FerError
from fer_perception.evaluation.peers import PeersResult
from fer_perception.models.shipped import resolve_detector_model

FACE = 224, 118  # the nose in scikit-image's portrait: x, y


@pytest.fixture
def manifest(tmp_path: Path, portrait: np.ndarray) -> Path:
    """Two smiling faces, one of which is called sad, an image without a face, and a label that not all have."""
    Image.fromarray(portrait).save(tmp_path / "portrait.png")
    Image.fromarray(np.ascontiguousarray(portrait[:, ::-1])).save(tmp_path / "mirrored.png")
    Image.fromarray(np.full((300, 200, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    rows = ("portrait.png,happy", "mirrored.png,sad", "wall.png,happy", "portrait.png,contempt")
    file = tmp_path / "labels.csv"
    file.write_text("image,emotion\n" + "\n".join(rows) + "\n")
    return file


def test_what_is_found_and_right(manifest: Path) -> None:
    result = measure_peers(manifest, names=["this suite", "this suite, compressed"])
    assert result.photographs == 3
    for row in result.systems:
        assert row.found == pytest.approx(2 / 3, abs=1e-4)
        assert row.found_and_right == pytest.approx(1 / 3, abs=1e-4)  # the wall's and the sad face are not
        assert row.mean_recall == pytest.approx(1 / 4, abs=1e-4)  # half of happy, nobody sad
        assert row.images_per_s == pytest.approx(1000 / row.p50_ms, rel=0.01)
    assert result.systems[0].speed_ratio == 1
    assert not result.missing


def test_the_command_line(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every system has a row, or a reason and a remedy."""
    file = tmp_path / "peers.json"
    assert main(["peers", str(manifest), "--photographs", "2", "--json", str(file)]) == 0
    result = PeersResult.read(file)
    measured = [row.name for row in result.systems]
    assert set(measured) | set(result.missing) == set(SYSTEMS)
    assert not set(measured) & set(result.missing)
    assert measured[:4] == [name for name in SYSTEMS if name in measured][:4]
    assert {"this suite", "this suite, compressed", "MediaPipe and our network"} <= set(measured)
    assert all(REMEDY in reason or "fetch_face_model" in reason for reason in result.missing.values())
    printed = capsys.readouterr().out
    assert format_peers(result) in printed
    assert all(name in printed for name in SYSTEMS)


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / "a.png")
    file = tmp_path / "labels.csv"
    file.write_text("image,emotion\na.png,contempt\n")
    with pytest.raises(FerError, match="no photograph has one of the labels angry"):
        measure_peers(file)


def test_the_suite_itself_must_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise FerError("no model")

    monkeypatch.setitem(SYSTEMS, "this suite", ("", fail))
    with pytest.raises(FerError, match="no model"):
        open_systems()


@pytest.mark.parametrize("size", [(100, 100), (480, 640), (1200, 300), (40, 3000)])
def test_photographs_fill_the_image(size: tuple[int, int]) -> None:
    image = to_screen(np.full((*size, 3), 200, np.uint8))
    assert image.shape == (480, 640, 3)
    rows, columns = np.nonzero(image.any(2))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height == 480 or width == 640
    assert width / height == pytest.approx(size[1] / size[0], rel=0.15)
    assert abs(rows.min() - (479 - rows.max())) <= 1
    assert abs(columns.min() - (639 - columns.max())) <= 1


def test_a_face_is_cut_out_as_the_package_does_it() -> None:
    rows, columns = np.mgrid[:100, :120]
    grey = (rows + columns).astype(np.uint8)
    assert (cut_out(grey, (30, 20, 40, 50), None) == grey[20:70, 30:70]).all()
    assert (cut_out(grey, (30, 20, 40, 50), 10) == grey[10:80, 15:85]).all()  # 5 to each side make it a square
    corner = cut_out(grey, (0, 60, 40, 40), 10)
    assert corner.shape == (60, 60)
    assert (corner[:50, 10:] == grey[50:, :50]).all()
    assert len(np.unique(corner[:, :10])) == len(np.unique(corner[50:])) == 1


@pytest.mark.parametrize(
    "make", [yunet_detector, lambda: haar_detector(5, 50), lambda: haar_detector(4)], ids=["yunet", "fer", "facex"]
)
def test_detectors_find_the_face(make: Callable[[], Detector], portrait: np.ndarray) -> None:
    if make is yunet_detector and resolve_detector_model("") is None:
        pytest.skip("YuNet was not fetched: set FER_MODELS to a folder that has it, and make setup")
    detect = make()
    grey = portrait.mean(2).astype(np.uint8)
    boxes = detect(portrait, grey)
    x, y, width, height = max(boxes, key=lambda box: box[2] * box[3])
    assert x < FACE[0] < x + width
    assert y < FACE[1] < y + height
    assert not len(detect(np.zeros_like(portrait), np.zeros_like(grey)))
    assert cut_out(grey, (x, y, width, height), FER_MARGIN).size
