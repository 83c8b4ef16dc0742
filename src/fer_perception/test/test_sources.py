import re
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_perception.errors import FerError
from fer_perception.images.sources import open_source

RNG = np.random.default_rng(0)


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
    assert source.own_times
    assert not source.live
    assert len(frames) == 20
    assert frames[0].shape == (48, 64, 3)
    assert frames[0][..., 2].mean() > 200 > 50 > frames[0][..., 0].mean()
    assert len(list(source.frames())) == 20  # begins again


def test_the_images_of_a_video_have_its_times(video: Path, tmp_path: Path) -> None:
    times = [time_s for _, time_s in open_source(str(video)).timed()]
    assert times == pytest.approx([index / 12.5 for index in range(20)], abs=1e-3)
    assert [time_s for _, time_s in open_source(str(video), fps=2).timed()] == [index / 2 for index in range(20)]


def test_a_film_of_varying_rate_has_its_own_times(tmp_path: Path) -> None:
    """Matroska's blocks each state their time: those of a film of constant rate are moved."""
    file = tmp_path / "film.mkv"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for index in range(8):
        writer.write(np.full((48, 64, 3), index * 30, np.uint8))
    writer.release()
    content = bytearray(file.read_bytes())
    moved = {}
    for offset in range(len(content) - 4):
        # A simple block of track 1 begins so; then come 16 bits of milliseconds.
        if content[offset] == 0x81 and content[offset + 3] & 0x7F == 0:
            time_ms = int.from_bytes(content[offset + 1 : offset + 3], "big")
            if time_ms == 100 * len(moved) and len(moved) < 8:
                moved[offset] = time_ms
                content[offset + 1 : offset + 3] = (len(moved) ** 2 * 100 - 100).to_bytes(2, "big")
    file.write_bytes(content)
    assert len(moved) == 8
    times = [time_s for _, time_s in open_source(str(file)).timed()]
    assert times == pytest.approx([((index + 1) ** 2 - 1) / 10 for index in range(8)], abs=2e-3)


def test_time_advances_where_a_video_states_none_for_an_image(tmp_path: Path) -> None:
    file = tmp_path / "film.m1v"  # MPEG-1 without a container
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"PIM1"), 25.0, (64, 48))
    for index in range(8):
        writer.write(np.full((48, 64, 3), index * 30, np.uint8))
    writer.release()
    times = [time_s for _, time_s in open_source(str(file)).timed()]
    assert len(times) == 8
    assert all(before < after for before, after in pairwise(times))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_an_animated_image_gives_all_its_pictures(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.fromarray(np.full((10, 20, 3), 50 * n, np.uint8)) for n in range(1, 4)]
    file = tmp_path / f"b.{suffix}"
    pictures[0].save(file, save_all=True, append_images=pictures[1:], duration=[400, 0, 800], loop=0)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((10, 20, 3), np.uint8))
    shown = list(open_source(str(tmp_path), fps=0, still_s=0.1).timed())
    assert [round(float(image.mean()) / 50) for image, _ in shown] == [0, 0, 0, 1, 2, 3]
    own = [0.1, 0.2, 0.3] if suffix == "tiff" else [0.1, 0.5, 0.6]
    assert [time_s for _, time_s in shown] == pytest.approx([0, 1 / 30, 2 / 30, *own])
    assert len(list(open_source(str(file), max_side=10).timed())) == 3


def test_a_photograph_with_a_preview_is_one_image(tmp_path: Path) -> None:
    picture = Image.fromarray(np.full((10, 20, 3), 50, np.uint8))
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture])
    assert len(list(open_source(str(tmp_path / "a.jpg"), still_s=0.0).timed())) == 1


def test_a_broken_animation_is_named(tmp_path: Path) -> None:
    pictures = [Image.fromarray(RNG.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(4)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=100)
    content = (tmp_path / "a.webp").read_bytes()
    (tmp_path / "a.webp").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(FerError, match=r"a.webp: not a readable image"):
        list(open_source(str(tmp_path / "a.webp")).timed())


def test_the_picture_for_programs_without_animations_is_none_of_the_film(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.full((10, 20, 3), 50 * n, np.uint8)) for n in range(4)]
    file = tmp_path / "a.png"
    pictures[0].save(file, save_all=True, append_images=pictures[1:], duration=100, default_image=True)
    shown = open_source(str(file))
    assert shown.own_times
    assert [round(float(image.mean()) / 50) for image in shown.frames()] == [1, 2, 3]


def test_unreadable_images_of_a_folder_are_named_once_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        cv2.imwrite(str(tmp_path / name), RNG.integers(0, 256, (40, 60, 3), np.uint8))
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])  # OpenCV would fill it up in grey
    source = open_source(str(tmp_path), fps=10, still_s=0.1)
    for _ in range(2):
        assert [time_s for _, time_s in source.timed()] == [0, 0.1]
    (warning,) = caplog.messages
    assert warning.startswith(f"left out, 1 of 3 images until now: {tmp_path}/a.jpg: not a readable image (")
    for name in ("b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(FerError, match=r"c\.jpg: not a readable image"):
        list(source.timed())
    with pytest.raises(FerError, match=r"a\.jpg: not a readable image .*truncated"):
        open_source(str(tmp_path / "a.jpg"))


def test_rate_can_be_replaced(video: Path) -> None:
    source = open_source(str(video), fps=5)
    assert (source.fps, source.own_times) == (5, False)


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
    with pytest.raises(FerError, match=message) as caught:
        open_source(source)
    assert source in str(caught.value)


def test_a_picture_that_claims_to_be_huge_is_refused_by_its_header(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
    data = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    file = tmp_path / "bomb.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(FerError, match=r"bomb\.png: too large an image .*3600000000 pixels"):
        next(open_source(str(file)).frames())


def test_truncated_video_is_unreadable(video: Path) -> None:
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(FerError, match="no image can be decoded"):
        open_source(str(video))


def _write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def test_a_damaged_place_does_not_end_a_film(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for index in range(40):
        writer.write(np.full((48, 64, 3), index * 6, np.uint8))
    writer.release()
    content = file.read_bytes()
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", content)]
    assert len(starts) == 40
    for start, end in pairwise(starts[10:14]):  # no JPEG any more; what is between them are 8 bytes
        content = content[:start] + bytes(end - start - 8) + content[end - 8 :]
    file.write_bytes(content)
    images = list(open_source(str(file)).timed())
    assert [round(image.mean() / 6) for image, _ in images] == [*range(10), *range(13, 40)]
    assert "3 images are damaged and left out; 37 could be read" in caplog.text


def test_a_film_that_is_cut_off_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for _ in range(50):
        writer.write(RNG.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert 10 < len(list(open_source(str(file)).timed())) < 30
    assert "says that it lasts 5.0 s. Is it whole?" in caplog.text


def test_numbers_in_names_count_as_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (0, 1, 2, 10, 11, 100):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((4, 4, 3), number, np.uint8))
    (tmp_path / "._frame1.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    images = open_source(str(tmp_path), fps=1.0, still_s=1.0).frames()
    assert [int(image[0, 0, 0]) for image in images] == [0, 1, 2, 10, 11, 100]
    assert caplog.messages == [f"{tmp_path}: left out, as they are no images: notes.txt"]
