"""JPEG and PNG files to pixels: what cameras and ROS's compressed transport send, and what must be refused."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fer_perception.errors import ImageError
from fer_perception.images.decoding import decode, read_image
from fer_perception.images.visibility import SensorRange

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 40, 56


def gradient() -> np.ndarray:
    """A smooth image whose colours and directions differ: rows and columns, red and blue cannot be confused."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.dstack([rows * 6, columns * 4, 255 - rows * 3 - columns]).astype(np.uint8)


ORIGINAL = gradient()
GREY = ORIGINAL[..., 1]


def encoded(original: Image.Image | np.ndarray, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(original) if isinstance(original, np.ndarray) else original).save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, color_type: int = 2) -> bytes:
    """A PNG of 8 bits with these chunks between its header and its end."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def squeezed(length: int) -> bytes:
    """So many zeros, compressed."""
    compressor, piece = zlib.compressobj(1), bytes(1_000_000)
    pieces = [compressor.compress(piece[: length - start]) for start in range(0, length, len(piece))]
    return b"".join(pieces) + compressor.flush()


def jpeg(width: int, height: int) -> bytes:
    """A JPEG that claims a size that it does not have."""
    data = bytearray(encoded(ORIGINAL, "JPEG"))
    start_of_frame = data.index(b"\xff\xc0")
    data[start_of_frame + 5 : start_of_frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("progressive", [False, True])
def test_colour_jpeg(progressive: bool) -> None:
    image = decode(encoded(ORIGINAL, "JPEG", quality=95, progressive=progressive))
    assert image.dtype == np.uint8
    assert image.shape == ORIGINAL.shape
    np.testing.assert_allclose(image.astype(int), ORIGINAL, atol=6)


def test_grey_jpeg_has_three_equal_channels() -> None:
    image = decode(encoded(GREY, "JPEG", quality=95))
    np.testing.assert_allclose(image[..., 0].astype(int), GREY, atol=3)
    assert (image == image[..., :1]).all()


def test_cmyk_jpeg() -> None:
    image = decode(encoded(Image.fromarray(ORIGINAL).convert("CMYK"), "JPEG", quality=95))
    np.testing.assert_allclose(image.astype(int), ORIGINAL, atol=6)


def test_orientation_in_the_metadata_is_ignored() -> None:
    # Camera drivers do not set it, and boxes have to lie where they lie in the transmitted image.
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode(encoded(ORIGINAL, "JPEG", quality=95, exif=exif))
    np.testing.assert_allclose(image.astype(int), ORIGINAL, atol=6)


ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
SIXTEEN_BITS = RNG.integers(0, 2**16, (HEIGHT, WIDTH), np.uint16)


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (ORIGINAL, ORIGINAL),
        (np.dstack([ORIGINAL, ALPHA]), ORIGINAL),
        (GREY, np.dstack([GREY] * 3)),
        (Image.fromarray(np.dstack([GREY, ALPHA])), np.dstack([GREY] * 3)),
        (Image.fromarray(GREY > 100), np.dstack([(GREY > 100) * np.uint8(255)] * 3)),
        (SIXTEEN_BITS, np.dstack([SIXTEEN_BITS // 256] * 3)),  # as ROS's compressed transport makes it of mono16
    ],
    ids=["rgb", "rgba", "grey", "grey_alpha", "black_white", "grey_16_bits"],
)
def test_png_comes_back_exactly(original: Image.Image | np.ndarray, expected: np.ndarray) -> None:
    image = decode(encoded(original, "PNG"))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("shift", [0, 4, 6])
def test_png_of_16_bits_is_read_by_the_bits_that_it_uses(shift: int) -> None:
    """In colour and in grey, as of sensors with 16, 12 and 10 bits."""
    wide = (ORIGINAL.astype(np.uint16) << 8) >> shift
    _, colour = cv2.imencode(".png", wide[..., ::-1])
    _, grey = cv2.imencode(".png", wide[..., 1])
    np.testing.assert_array_equal(decode(colour.tobytes()), ORIGINAL)
    np.testing.assert_array_equal(decode(grey), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(decode(grey, SensorRange(16)), np.dstack([GREY >> shift] * 3))


@pytest.mark.parametrize("lossless", [False, True])
def test_webp(lossless: bool) -> None:
    image = decode(encoded(ORIGINAL, "WEBP", lossless=lossless, quality=95))
    np.testing.assert_allclose(image.astype(int), ORIGINAL, atol=0 if lossless else 10)


@pytest.mark.parametrize("options", [{}, {"transparency": 2}, {"transparency": bytes(range(8))}])
def test_palette_png(options: dict[str, Any]) -> None:
    indices = RNG.integers(0, 8, (HEIGHT, WIDTH), np.uint8)
    colors = RNG.integers(0, 256, (8, 3), np.uint8)
    original = Image.fromarray(indices, "L").convert("P")
    original.putdata(indices.ravel().tolist())
    original.putpalette(colors.tobytes())
    np.testing.assert_array_equal(decode(encoded(original, "PNG", **options)), colors[indices])


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_any_buffer_is_read(file_format: str) -> None:
    data = encoded(ORIGINAL, file_format)
    expected = decode(data)
    for buffer in (np.frombuffer(data, np.uint8), bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(decode(buffer), expected)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_truncated_files_are_refused(file_format: str) -> None:
    noise = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    data = encoded(noise, file_format)
    lengths = [0, 1, 2, 3, 8, 20, 33, 100, len(data) // 4, len(data) // 2, len(data) * 3 // 4, len(data) - 50]
    for length in lengths:
        with pytest.raises(ImageError, match=f"^{length} bytes are no (readable )?JPEG, PNG or WebP"):
            decode(data[:length])


@pytest.mark.parametrize("file_format", ["BMP", "GIF", "TIFF", "PPM", "JPEG2000"])
def test_other_formats_are_refused(file_format: str) -> None:
    with pytest.raises(ImageError, match="bytes are no JPEG, PNG or WebP"):
        decode(encoded(ORIGINAL, file_format))


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n", bytes(10_000)])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"bytes are no (readable )?JPEG, PNG or WebP"):
        decode(data)


def peak_memory_kb() -> int:
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


@pytest.mark.parametrize(
    "data",
    [
        png(100_000, 100_000, chunk(b"IDAT", zlib.compress(bytes(1000)))),
        png(2**31 - 1, 1, chunk(b"IDAT", zlib.compress(bytes(1000)))),
        png(8193, 1, chunk(b"IDAT", zlib.compress(bytes(8193 * 3 + 1)))),
        jpeg(65_535, 65_535),
        jpeg(56, 8193),
        png(8192, 8192, chunk(b"IDAT", zlib.compress(bytes(1000)))),  # within the limits, but the pixels are not there
        png(0, 40, chunk(b"IDAT", zlib.compress(bytes(1000)))),
        png(8, 8, chunk(b"zTXt", b"key\0\0" + squeezed(500_000_000))),
    ],
    ids=["huge", "widest", "one_pixel_too_wide", "jpeg", "jpeg_too_high", "truncated", "empty", "text"],
)
def test_a_bomb_is_refused_without_memory(data: bytes) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    peak_kb = peak_memory_kb()
    with pytest.raises(ImageError):
        decode(data)
    # Whole, they would take gigabytes; other threads of this process may take some meanwhile.
    assert peak_memory_kb() - peak_kb < 200_000


def test_the_largest_side_is_read() -> None:
    assert decode(encoded(np.zeros((1, 8192, 3), np.uint8), "PNG")).shape == (1, 8192, 3)
    assert decode(encoded(np.zeros((8192, 1, 3), np.uint8), "JPEG")).shape == (8192, 1, 3)


@pytest.mark.parametrize(
    "data",
    [
        # Transparency of a palette that is not there: an AssertionError in Pillow 13.
        png(8, 8, chunk(b"tRNS", b"\xff\xff\xff\0"), chunk(b"IDAT", zlib.compress(bytes(72))), color_type=3),
        # An empty colour profile behind the pixels: an IndexError.
        png(8, 8, chunk(b"IDAT", zlib.compress(bytes(200))), chunk(b"iCCP", b"")),
    ],
    ids=["palette", "profile"],
)
def test_whatever_the_parser_raises_is_a_refusal(data: bytes) -> None:
    with pytest.raises(ImageError, match="bytes are no readable JPEG, PNG or WebP"):
        decode(data)


def originals() -> list[bytes]:
    """Files with all that metadata that Pillow reads."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    metadata = {"exif": exif, "icc_profile": bytes(200), "dpi": (72, 72)}
    text = PngInfo()
    text.add_text("key", "value" * 20, zip=True)
    text.add_itxt("other", "value" * 20, zip=True)
    rgb = Image.fromarray(ORIGINAL)
    return [
        encoded(rgb, "JPEG", comment=b"comment", **metadata),
        encoded(rgb, "JPEG", progressive=True),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(rgb, "MPO", save_all=True, append_images=[rgb]),
        encoded(rgb.convert("RGBA"), "PNG", pnginfo=text, **metadata),
        encoded(rgb.convert("P"), "PNG", transparency=3),
        encoded(SIXTEEN_BITS, "PNG"),
        encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
    ]


def damage(rng: np.random.Generator, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 8)):
        limit = len(damaged) if rng.random() < 0.3 else min(len(damaged), 700)
        position, length = int(rng.integers(limit)), int(rng.integers(1, 40))
        kind = rng.integers(4)
        if kind == 0:
            damaged[position] = int(rng.integers(256))
        elif kind == 1:
            damaged[position : position + 4] = b"\xff\xff\xff\xff"
        elif kind == 2:
            del damaged[position : position + length]
        else:
            damaged[position:position] = rng.bytes(length)
        if not damaged:
            break
    return bytes(damaged)


def damage_a_chunk(rng: np.random.Generator, data: bytes) -> bytes:
    """Damage within one PNG chunk whose checksum is right."""
    position, chunks = 8, []
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    index = int(rng.integers(len(chunks)))
    kind, content = chunks[index]
    chunks[index] = (kind, damage(rng, content) if content and rng.random() < 0.8 else b"")
    return data[:8] + b"".join(chunk(*parts) for parts in chunks)


def test_a_damaged_file_is_an_image_or_refused_and_never_anything_else() -> None:
    rng = np.random.default_rng(1)
    files, refused = originals(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor is anything written to the log
        for number in range(4000):
            data = files[number % len(files)]
            chunked = data.startswith(b"\x89PNG") and rng.random() < 0.5
            data = damage_a_chunk(rng, data) if chunked else damage(rng, data)
            try:
                image = decode(data)
            except ImageError:
                refused += 1
            else:
                assert image.dtype == np.uint8
                assert image.shape[2:] == (3,)
    assert 1000 < refused < 4000


@pytest.mark.parametrize("suffix", ["bmp", "gif", "jpg", "png", "tiff", "webp"])
def test_files_of_all_formats_are_read_whole_or_refused_by_name(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    noise = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for original in (ORIGINAL, noise):
        Image.fromarray(original).save(file)
        assert read_image(file).shape == (HEIGHT, WIDTH, 3)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=rf"a\.{suffix}: not a readable image"):
        read_image(file)
    file.unlink()
    with pytest.raises(ImageError, match=rf"a\.{suffix}: is missing"):
        read_image(file)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_files_of_16_bits_are_read_by_the_bits_that_they_use(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    wide = GREY.astype(np.uint16) << 4
    cv2.imwrite(str(file), wide)
    np.testing.assert_array_equal(read_image(file), np.dstack([GREY] * 3))
    if suffix != "pgm":
        cv2.imwrite(str(file), (ORIGINAL.astype(np.uint16) << 4)[..., ::-1])
        np.testing.assert_array_equal(read_image(file), ORIGINAL)


def test_a_file_is_turned_as_its_metadata_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ORIGINAL).save(tmp_path / "a.jpg", quality=95, exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (WIDTH, HEIGHT, 3)
