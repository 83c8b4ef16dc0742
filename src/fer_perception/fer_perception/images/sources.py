"""Where images come from: a camera, a video, an image, a folder of images, or a moved portrait."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fer_perception.errors import SourceError
from fer_perception.images.visibility import SensorRange
from fer_perception.types import UInt8Image

PORTRAIT = "astronaut"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
DEFAULT_FPS = 30.0
PORTRAIT_FRAMES = 300
PORTRAIT_SIZE = (640, 480)


class Pacer:
    """Tells when the next image is due, at a rate in Hz, from the first call on."""

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._due_s = time.monotonic()

    def wait_s(self) -> float:
        """Seconds until the next image is due; zero or negative when it is."""
        return self._due_s - time.monotonic()

    def advance(self) -> None:
        """The due image was sent. A pause of the machine is not caught up by a burst."""
        self._due_s = max(self._due_s + self._period_s, time.monotonic() - self._period_s)


@dataclass(frozen=True)
class Source:
    """A finite or endless series of RGB images.

    ``fps``: nominal rate in Hz. ``live``: the source sets the pace itself (a camera). ``frames``: begins from the
    start at each call; an iterator of uint8 (H, W, 3) RGB, which raises SourceError where reading fails.
    """

    name: str
    fps: float
    live: bool
    frames: Callable[[], Iterator[UInt8Image]]


def open_source(source: str, fps: float = 0.0, still_s: float = 2.0, max_side: int = 0) -> Source:
    """Open a source by what the text names.

    :param source: ``astronaut`` (scikit-image's portrait, moved about for 10 s), the index or device file of a
        camera, or the path of a video, an image or a folder of images.
    :param fps: replaces the rate of a video (its own) or of images (30 Hz).
    :param still_s: for how long each image is shown, in seconds.
    :param max_side: images whose longer side exceeds so many pixels are shrunk; 0: never.
    :raises SourceError: nothing there, or nothing readable.
    """
    if source == PORTRAIT:
        return Source(PORTRAIT, fps or DEFAULT_FPS, False, _portrait_frames)
    if source.isdecimal() or source.startswith("/dev/video"):
        return _open_camera(source, fps, max_side)
    path = Path(source).expanduser()
    rate = fps or DEFAULT_FPS
    repeats = max(1, round(still_s * rate))
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise SourceError(f"{path}: the folder holds no image ({', '.join(IMAGE_SUFFIXES)})")
        return Source(str(path), rate, False, lambda: _still_frames(files, repeats, max_side))
    if not path.is_file():
        raise SourceError(
            f"{path}: there is no such file or folder. Give a video, an image, a folder of images, a camera's "
            f"index, or '{PORTRAIT}'"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        read_image(path)
        return Source(str(path), rate, False, lambda: _still_frames([path], repeats, max_side))
    return _open_video(path, fps, max_side)


def read_image(file: Path, sensor: SensorRange | None = None) -> UInt8Image:
    """An image file as RGB.

    :param sensor: of the camera, for images of 16 bits; None: the image's own.
    :raises SourceError: it cannot be decoded, or has more than some 179 million pixels, Pillow's limit against bombs.
    """
    with warnings.catch_warnings(), suppress(OSError, SyntaxError, ValueError):  # what OpenCV cannot read either
        warnings.simplefilter("ignore")
        try:
            Image.open(file).close()  # reads the header only
        except Image.DecompressionBombError as error:
            raise SourceError(f"{file}: too large an image ({error}). Shrink it first") from error
    image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is not None and image.dtype == np.uint16:
        image = (sensor or SensorRange()).to_8_bits(image)
    elif image is not None and image.dtype != np.uint8:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{file}: not a readable image. Is it damaged, or of another format?")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _limited(image: UInt8Image, max_side: int) -> UInt8Image:
    scale = max_side / max(image.shape[:2])
    if not max_side or scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _open_camera(device: str, fps: float, max_side: int) -> Source:
    def capture() -> cv2.VideoCapture:
        camera = cv2.VideoCapture(int(device) if device.isdecimal() else device)
        if not camera.isOpened():
            camera.release()
            raise SourceError(f"camera {device}: cannot be opened. Is it connected, free, and may this user read it?")
        if fps:
            camera.set(cv2.CAP_PROP_FPS, fps)
        return camera

    # Only one process can hold a camera: it is let go until the first image is asked for.
    probe = capture()
    rate = fps or probe.get(cv2.CAP_PROP_FPS) or DEFAULT_FPS
    probe.release()

    def frames() -> Iterator[UInt8Image]:
        camera = capture()
        try:
            while True:
                read, image = camera.read()
                if not read:
                    raise SourceError(f"camera {device}: gives no more images. Was it unplugged?")
                yield cv2.cvtColor(_limited(image, max_side), cv2.COLOR_BGR2RGB)
        finally:
            camera.release()

    return Source(f"camera {device}", rate, True, frames)


def _open_video(path: Path, fps: float, max_side: int) -> Source:
    capture = cv2.VideoCapture(str(path))
    own_fps = capture.get(cv2.CAP_PROP_FPS)
    readable = capture.isOpened() and capture.read()[0]
    capture.release()
    if not readable:
        raise SourceError(f"{path}: no image can be decoded. Is it a video, whole, in a format that OpenCV reads?")

    def frames() -> Iterator[UInt8Image]:
        video = cv2.VideoCapture(str(path))
        try:
            while True:
                read, image = video.read()
                if not read:
                    return
                yield cv2.cvtColor(_limited(image, max_side), cv2.COLOR_BGR2RGB)
        finally:
            video.release()

    plausible = np.isfinite(own_fps) and 1 <= own_fps <= 1000
    return Source(str(path), fps or (own_fps if plausible else DEFAULT_FPS), False, frames)


def _still_frames(files: list[Path], repeats: int, max_side: int) -> Iterator[UInt8Image]:
    sensor = SensorRange()
    for file in files:
        image = _limited(read_image(file, sensor), max_side)
        for _ in range(repeats):
            yield image


def _portrait_frames() -> Iterator[UInt8Image]:
    """The portrait as a hand-held camera would see it: shifted, turned and scaled along smooth curves."""
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise SourceError(
            f"'{PORTRAIT}' needs scikit-image: pip install scikit-image, or name another source"
        ) from error
    portrait = astronaut()
    width, height = PORTRAIT_SIZE
    face = (224, 125)  # its middle in the portrait
    for index in range(PORTRAIT_FRAMES):
        phase = 2 * np.pi * index / PORTRAIT_FRAMES
        matrix = cv2.getRotationMatrix2D(face, 8 * np.sin(2 * phase), 1.5 + 0.25 * np.sin(phase))
        matrix[:, 2] += np.asarray([width * 0.5 - face[0], height * 0.4 - face[1]])
        matrix[:, 2] += np.asarray([90 * np.sin(phase), 30 * np.sin(2 * phase + 1)])
        frame = cv2.warpAffine(
            portrait, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        yield frame
