"""Small real data in FER2013's official layout: faces drawn with a mouth that tells the emotion."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

USAGES = {"Training": 210, "PublicTest": 35, "PrivateTest": 35}


def draw_face(emotion: int, rng: np.random.Generator) -> np.ndarray:
    """A 48 x 48 grey picture in which the emotion is a bright bar at one of seven heights."""
    picture = rng.integers(0, 60, (48, 48)).astype(np.uint8)
    cv2.rectangle(picture, (6, 3 + emotion * 6), (42, 6 + emotion * 6), int(rng.integers(180, 255)), -1)
    return picture


@pytest.fixture(scope="session")
def draw() -> Callable[[int, np.random.Generator], np.ndarray]:
    """See :func:`draw_face`."""
    return draw_face


@pytest.fixture(scope="session")
def fer2013(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small fer2013.csv."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("fer2013")
    with open(folder / "fer2013.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["emotion", "pixels", "Usage"])
        for usage, count in USAGES.items():
            for index in range(count):
                pixels = draw_face(index % 7, rng).ravel()
                writer.writerow([index % 7, " ".join(map(str, pixels)), usage])
    return folder


@pytest.fixture
def wildfaces(tmp_path: Path) -> Path:
    """The labelled photographs of FER_DATA, behind links, so that nothing is written beside them."""
    folder = Path(os.environ.get("FER_DATA", "../shared/data")).resolve() / "wildfaces"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine (set FER_DATA)")
    for name in ("labels.csv", "images"):
        (tmp_path / name).symlink_to(folder / name)
    return tmp_path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums in the same order, so that runs can be compared to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config_file(tmp_path: Path, fer2013: Path) -> Path:
    """A configuration that learns this data in seconds."""
    file = tmp_path / "tiny.yaml"
    file.write_text(
        f"""
name: tiny
data: fer2013:{fer2013}
out: {tmp_path / "runs"}
network:
  options: {{stem_stride: 2, width: 0.25, dropout: 0.0}}
augmentation: {{flip: false, rotation_deg: 3.0, translation: 0.02, scale: 0.02, erasing_probability: 0.0}}
epochs: 8
batch_size: 35
learning_rate: 0.1
ema_decay: 0.9
"""
    )
    return file
