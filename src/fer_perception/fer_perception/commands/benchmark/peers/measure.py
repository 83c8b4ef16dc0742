"""``benchmark peers``: this suite and other systems on the same images, on one thread.

Each labelled photograph becomes an image of 640 x 480, which each system is shown some times, as a camera would at
30 Hz, before the next photograph. The systems take turns within a photograph: a shared machine's speed changes by the
minute, so ratios are taken within a photograph, and the median over the photographs counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_perception.commands.benchmark.peers.systems import SYSTEMS, ReadFace, System, open_systems
from fer_perception.errors import FerError
from fer_perception.evaluation.peers import PeerResult, PeersResult
from fer_perception.evaluation.results import rounded
from fer_perception.evaluation.speed import machine
from fer_perception.images.decoding import read_image
from fer_perception.images.manifest import labelled_images
from fer_perception.labels import EMOTIONS_7
from fer_perception.types import UInt8Image

SIZE = (640, 480)
SHOWN, HZ = 6, 30.0  # so often each photograph is shown, and the rate
APART_S = 60.0  # between two photographs: nobody is followed from one to the next
WARM_UP = 3

Reads = list[list[ReadFace]]


def measure_peers(
    manifest: Path, split: str = "", count: int = 300, names: Sequence[str] = tuple(SYSTEMS)
) -> PeersResult:
    """Speed, and what fraction of the faces is found and rightly read.

    :param manifest: see :func:`~fer_perception.images.manifest.labelled_images`. Labels that not all systems have are
        left out.
    :param count: at most so many photographs, drawn at random.
    :param names: of systems; that which ratios are to first.
    :raises FerError: the manifest or an image cannot be read, no label is known to all, or this suite cannot be used.
    """
    listed = [(file, label) for file, label in labelled_images(manifest, split) if label in EMOTIONS_7]
    if not listed:
        raise FerError(f"{manifest}: no photograph has one of the labels {', '.join(EMOTIONS_7)}")
    drawn = np.random.default_rng(0).permutation(len(listed))[:count]
    labels = [listed[index][1] for index in drawn]
    systems, missing = open_systems(names)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        ms, reads = _show(systems, [listed[index][0] for index in drawn])
    finally:
        cv2.setNumThreads(threads)
        for system in systems.values():
            system.close()
    return PeersResult(
        machine=machine(),
        manifest=manifest.name,
        split=split,
        photographs=len(labels),
        shown=SHOWN,
        systems=[_summarise(name, reads[name], labels, ms[:, index], ms[:, 0]) for index, name in enumerate(systems)],
        missing=missing,
    )


def _show(systems: dict[str, System], files: Sequence[Path]) -> tuple[npt.NDArray[np.float64], dict[str, Reads]]:
    """Mean milliseconds of an image, (photographs, systems), and by system what is read in each photograph at last."""
    ms = np.zeros((len(files), len(systems)))
    reads: dict[str, Reads] = {name: [] for name in systems}
    warm_up = files[:WARM_UP]
    for row, file in enumerate(tqdm([*warm_up, *files], desc="photographs", unit="photograph"), -len(warm_up)):
        image = to_screen(read_image(file))
        first_s = (row + WARM_UP) * APART_S
        for column, (name, system) in enumerate(systems.items()):
            found: list[ReadFace] = []
            begin_s = time.perf_counter()
            for shown in range(SHOWN):
                found = system.read(image, first_s + shown / HZ)
            took_s = time.perf_counter() - begin_s
            if row >= 0:
                ms[row, column] = took_s * 1000 / SHOWN
                reads[name].append(found)
    return ms, reads


def to_screen(photograph: UInt8Image) -> UInt8Image:
    """A photograph as large as fits into the middle of a black image of 640 x 480: uint8, (480, 640, 3), RGB."""
    height, width = photograph.shape[:2]
    scale = min(SIZE[0] / width, SIZE[1] / height)
    size = [max(1, round(side * scale)) for side in (width, height)]
    scaled = cv2.resize(photograph, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    image = np.zeros((*SIZE[::-1], 3), np.uint8)
    left, top = ((whole - side) // 2 for whole, side in zip(SIZE, size, strict=True))
    image[top : top + size[1], left : left + size[0]] = scaled
    return image


def _summarise(
    name: str, reads: Reads, labels: Sequence[str], ms: npt.NDArray[np.float64], first_ms: npt.NDArray[np.float64]
) -> PeerResult:
    """One system: of several faces in a photograph the largest counts."""
    largest = [max(faces, key=lambda face: face.box[2] * face.box[3], default=None) for faces in reads]
    found = np.asarray([face is not None for face in largest])
    right = np.asarray([face is not None and face.label == label for face, label in zip(largest, labels, strict=True)])
    recalls = [right[np.asarray(labels) == label].mean() for label in sorted(set(labels))]
    median_ms = float(np.median(ms))
    return PeerResult(
        name=name,
        parts=SYSTEMS[name][0],
        p50_ms=round(median_ms, 3),
        images_per_s=round(1000 / median_ms, 1),
        speed_ratio=round(float(np.median(first_ms / ms)), 4),
        found=rounded(float(found.mean()), 4),
        found_and_right=rounded(float(right.mean()), 4),
        mean_recall=rounded(float(np.mean(recalls)), 4),
    )


def format_peers(result: PeersResult) -> str:
    """The result for people."""
    split = f", split {result.split}" if result.split else ""
    lines = [
        "",
        f"{result.manifest}{split}: {result.photographs} photographs at {SIZE[0]}x{SIZE[1]}, each shown "
        f"{result.shown} times; one thread; {result.machine}",
        "",
        f"{'':26}{'ms':>8}{'images/s':>10}{'ratio':>7}{'found':>8}{'and right':>11}{'mean recall':>13}",
    ]
    for row in result.systems:
        lines.append(
            f"{row.name:26}{row.p50_ms:8.2f}{row.images_per_s:10.1f}{row.speed_ratio:7.2f}{row.found:8.1%}"
            f"{row.found_and_right:11.1%}{row.mean_recall:13.1%}   {row.parts}"
        )
    lines += [f"{name:26}not measured: {reason}" for name, reason in result.missing.items()]
    return "\n".join(lines)
