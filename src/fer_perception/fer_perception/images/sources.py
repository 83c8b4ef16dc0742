"""Where images come from: a camera, a video, an image, a folder of images, or a moved portrait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageSequence

from fer_perception.errors import FerError, SourceError
from fer_perception.files import some_names, visible_entries
from fer_perception.images.decoding import read_image
from fer_perception.images.visibility import SensorRange
from fer_perception.types import UInt8Image

PORTRAIT = "astronaut"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".apng", ".avif")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
UNSAID_S = 0.1  # a picture that is shown for no time, as browsers take it
DEFAULT_FPS = 30.0
PORTRAIT_FRAMES = 300
PORTRAIT_SIZE = (640, 480)
HIGHEST_FPS = 240.0
PROBED = 10  # images of a video that tell its rate
# So many images after one another that cannot be decoded are taken for damage in a video; more for its end.
MOST_DAMAGED = 300
LONGEST_S = 1e7  # some videos without an index state any number of images
CUT_OFF_S = 1.0  # by which a video may be shorter than it says

log = logging.getLogger(__name__)


class TimedImage(NamedTuple):
    """An image, uint8, (H, W, 3), RGB, and when it is shown, in seconds after the source's beginning."""

    image: UInt8Image
    time_s: float


@dataclass(frozen=True)
class Source:
    """A finite or endless series of RGB images.

    ``fps``: nominal rate in Hz; with ``own_times`` the images have times of their own, which may vary. ``live``: the
    source sets the pace itself (a camera). ``timed``: begins from the start at each call; its iterator raises FerError
    where reading fails. Times increase.
    """

    name: str
    fps: float
    live: bool
    timed: Callable[[], Iterator[TimedImage]]
    own_times: bool = False

    def frames(self) -> Iterator[UInt8Image]:
        """The images without their times: uint8, (H, W, 3), RGB."""
        return (image for image, _ in self.timed())


def open_source(source: str, fps: float = 0.0, still_s: float = 2.0, max_side: int = 0) -> Source:
    """Open a source by what the text names.

    :param source: ``astronaut`` (scikit-image's portrait, moved about for 10 s), the index or device file of a
        camera, or the path of a video, an image or a folder of images. Animated images are videos, too.
    :param fps: replaces the times of a video (its own) or the rate of images (30 Hz).
    :param still_s: for how long each image is shown, in seconds.
    :param max_side: images whose longer side exceeds so many pixels are shrunk; 0: never.
    :raises FerError: nothing there, or nothing readable. Of a folder, unreadable images are left out: the log names
        them, and only where all are does its iterator raise.
    """
    if source == PORTRAIT:
        rate = fps or DEFAULT_FPS
        return Source(PORTRAIT, rate, False, lambda: _at_rate(_portrait_frames(), rate))
    if source.isdecimal() or source.startswith("/dev/video"):
        return _open_camera(source, fps, max_side)
    path = Path(source).expanduser()
    rate = fps or DEFAULT_FPS
    stills = partial(_file_images, repeats=max(1, round(still_s * rate)), rate=rate, own_times=not fps)
    if path.is_dir():
        inside = visible_entries(path)
        files = [file for file in inside if file.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise SourceError(f"{path}: the folder holds no image ({', '.join(IMAGE_SUFFIXES)})")
        if others := [entry for entry in inside if entry not in files]:
            log.warning("%s: left out, as they are no images: %s", path, some_names(others))
        unreadable: set[Path] = set()
        return Source(str(path), rate, False, lambda: _limited_all(stills(files, unreadable), max_side))
    if not path.is_file():
        raise SourceError(
            f"{path}: there is no such file or folder. Give a video, an image, a folder of images, a camera's "
            f"index, or '{PORTRAIT}'"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        next(stills([path]))
        return Source(
            str(path), rate, False, lambda: _limited_all(stills([path]), max_side), not fps and _is_animated(path)
        )
    return _open_video(path, fps, max_side)


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

    def timed() -> Iterator[TimedImage]:
        camera = capture()
        begun_s = time.monotonic()
        try:
            while True:
                read, image = camera.read()
                if not read:
                    raise SourceError(f"camera {device}: gives no more images. Was it unplugged?")
                rgb = cv2.cvtColor(_limited(image, max_side), cv2.COLOR_BGR2RGB)
                yield TimedImage(rgb, time.monotonic() - begun_s)
        finally:
            camera.release()

    return Source(f"camera {device}", rate, True, timed)


def _open_video(path: Path, fps: float, max_side: int) -> Source:
    capture = cv2.VideoCapture(str(path))
    own_fps = capture.get(cv2.CAP_PROP_FPS)
    # The rate that a file states is no measure: of WebM it can be that of its clock, of others it is the mean.
    first_s = [found[0] for found in (_next_image(capture) for _ in range(PROBED)) if found is not None]
    capture.release()
    if not first_s:
        raise SourceError(f"{path}: no image can be decoded. Is it a video, whole, in a format that OpenCV reads?")
    steps_s = [after - before for before, after in pairwise(first_s) if after > before]
    nominal = len(steps_s) / sum(steps_s) if steps_s else DEFAULT_FPS
    assumed = own_fps if np.isfinite(own_fps) and 1 <= own_fps <= HIGHEST_FPS else nominal

    def timed() -> Iterator[TimedImage]:
        video = cv2.VideoCapture(str(path))
        last_s, count, untimed, damaged, begun_s = -1.0, 0, 0, 0, first_s[0]
        try:
            while (found := _next_image(video)) is not None:
                time_s, missed = found[0] - begun_s, found[1]
                damaged += missed
                if fps:
                    time_s = count / fps
                elif time_s <= last_s:
                    time_s, untimed = last_s + 1 / assumed, untimed + 1
                _, image = video.retrieve()
                yield TimedImage(cv2.cvtColor(_limited(image, max_side), cv2.COLOR_BGR2RGB), time_s)
                last_s, count = time_s, count + 1
            states_s = video.get(cv2.CAP_PROP_FRAME_COUNT) / (own_fps or np.inf)
        finally:
            video.release()
        if untimed:
            log.warning(
                "%s: %d of %d images have no time of their own: %g images a second are assumed. Give the rate, if it "
                "is another",
                *(path, untimed, count, assumed),
            )
        if damaged:
            log.warning("%s: %d images are damaged and left out; %d could be read", path, damaged, count)
        if not fps and 0 < last_s < states_s - CUT_OFF_S and states_s < LONGEST_S:
            log.warning("%s: ends after %.1f s, and says that it lasts %.1f s. Is it whole?", path, last_s, states_s)

    return Source(str(path), fps or (nominal if steps_s else assumed), False, timed, own_times=not fps)


def _next_image(video: cv2.VideoCapture) -> tuple[float, int] | None:
    """When the next image is shown, in seconds by the video's clock, and how many before it cannot be decoded.

    None where there is no more. The image is to be retrieved then.
    """
    for missed in range(MOST_DAMAGED):
        if video.grab():
            return float(video.get(cv2.CAP_PROP_POS_MSEC)) / 1000, missed
    return None


def _at_rate(images: Iterable[UInt8Image], rate: float) -> Iterator[TimedImage]:
    return (TimedImage(image, index / rate) for index, image in enumerate(images))


def _limited_all(images: Iterator[TimedImage], max_side: int) -> Iterator[TimedImage]:
    return (TimedImage(_limited(image, max_side), time_s) for image, time_s in images)


def _file_images(
    files: list[Path], unreadable: set[Path] | None = None, *, repeats: int, rate: float, own_times: bool
) -> Iterator[TimedImage]:
    """Images one after another, each so often at a rate; of animated ones each picture once, at its own time.

    :param unreadable: the files that the log named already; None: the first one is an error.
    """
    begun_s, count, sensor, failures = 0.0, 0, SensorRange(), 0
    for file in files:
        try:
            if not _is_animated(file):
                image = read_image(file, sensor)
                for _ in range(repeats):
                    yield TimedImage(image, begun_s + count / rate)
                    count += 1
                continue
            for image, duration_s in _pictures(file):
                yield TimedImage(image, begun_s + count / rate)
                if own_times:
                    begun_s += duration_s or repeats / rate
                else:
                    count += 1
        except FerError as error:
            failures += 1
            if unreadable is None or (failures == len(files) and not begun_s and not count):
                raise
            if file not in unreadable:
                log.warning("left out, %d of %d images until now: %s", failures, len(files), error)
                unreadable.add(file)


def _is_animated(file: Path) -> bool:
    """Whether an image file holds several pictures. A photograph with a preview (MPO) does not."""
    try:
        with Image.open(file) as image:
            return image.format in ANIMATED and getattr(image, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _pictures(file: Path) -> Iterator[tuple[UInt8Image, float]]:
    """The pictures of an animated image, and for how long each is shown, in seconds; 0: it does not say, as TIFF."""
    try:
        with Image.open(file) as animation:
            # What programs show that know no animated PNG may be another picture, and is none of the film.
            first = 1 if getattr(animation, "default_image", False) else 0
            for picture in islice(ImageSequence.Iterator(animation), first, None):
                picture.load()  # else WebP does not tell the duration
                duration_s = float(picture.info.get("duration", 0)) / 1000
                is_timed = animation.format != "TIFF"
                yield np.asarray(picture.convert("RGB")), (duration_s or UNSAID_S) if is_timed else 0.0
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise SourceError(f"{file}: not a readable image ({error}). Delete or replace it") from error


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
