import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.errors import SourceError
from fer_perception.images.sources import open_source


@pytest.fixture
def video(tmp_path: Path) -> Path:
    file = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (64, 48))
    for index in range(20):
        writer.write(np.full((48, 64, 3), (250, index * 10, 0), np.uint8))  # blue, in OpenCV's order
    writer.release()
    return file


def test_video_gives_all_frames_as_rgb_at_its_own_rate(video: Path) -> None:
    source = open_source(str(video))
    frames = list(source.frames())
    assert source.fps == pytest.approx(12.5)
    assert not source.live
    assert len(frames) == 20
    assert frames[0].shape == (48, 64, 3)
    assert frames[0][..., 2].mean() > 200 > 50 > frames[0][..., 0].mean()
    assert len(list(source.frames())) == 20  # begins again


def test_rate_can_be_replaced(video: Path) -> None:
    assert open_source(str(video), fps=5).fps == 5


def test_picture_is_held(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), np.full((10, 20, 3), (0, 0, 255), np.uint8))
    frames = list(open_source(str(file), fps=10, still_s=0.5).frames())
    assert len(frames) == 5
    assert frames[0][0, 0].tolist() == [255, 0, 0]


def test_folder_is_shown_in_the_order_of_names(tmp_path: Path) -> None:
    for name, value in (("b.png", 2), ("a.png", 1), ("c.jpg", 3)):
        cv2.imwrite(str(tmp_path / name), np.full((10, 10, 3), value * 50, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    means = [round(float(frame.mean()) / 50) for frame in open_source(str(tmp_path), fps=1, still_s=1).frames()]
    assert means == [1, 2, 3]


def test_portrait_moves_for_ten_seconds() -> None:
    source = open_source("astronaut")
    frames = list(source.frames())
    assert len(frames) / source.fps == 10
    assert frames[0].shape == (480, 640, 3)
    assert np.abs(frames[0].astype(int) - frames[75]).mean() > 10


@pytest.mark.parametrize(("max_side", "shape"), [(500, (300, 500, 3)), (1000, (600, 1000, 3)), (0, (600, 1000, 3))])
def test_large_pictures_are_shrunk(tmp_path: Path, max_side: int, shape: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((600, 1000, 3), np.uint8))
    assert next(open_source(str(tmp_path / "a.png"), max_side=max_side).frames()).shape == shape


def test_large_videos_are_shrunk(video: Path) -> None:
    assert {frame.shape for frame in open_source(str(video), max_side=32).frames()} == {(24, 32, 3)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing.mp4", "there is no such file or folder"),
        (lambda folder: folder, "holds no image"),
        (lambda folder: _write(folder / "broken.mp4", b"no video"), "no image can be decoded"),
        (lambda folder: _write(folder / "empty.mp4", b""), "no image can be decoded"),
        (lambda folder: _write(folder / "broken.jpg", b"no image"), "not a readable image"),
        (lambda folder: "99", "camera 99: cannot be opened"),
    ],
)
def test_unreadable_sources_are_named(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    source = str(make(tmp_path))
    with pytest.raises(SourceError, match=message) as caught:
        open_source(source)
    assert source in str(caught.value)


def test_a_picture_that_claims_to_be_huge_is_refused_by_its_header(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
    data = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    file = tmp_path / "bomb.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(SourceError, match=r"bomb\.png: too large an image .*3600000000 pixels"):
        next(open_source(str(file)).frames())


def test_truncated_video_is_unreadable(video: Path) -> None:
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(SourceError, match="no image can be decoded"):
        open_source(str(video))


def _write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file
