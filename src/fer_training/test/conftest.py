"""Small real data in FER2013's official layout: faces drawn with a mouth that tells the emotion, and runs on them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_training.export.onnx import export
from fer_training.runs.config import load_config
from fer_training.training.supervised import train

USAGES = {"Training": 70, "PublicTest": 35, "PrivateTest": 35}
LEARNING = ("epochs=5", "batch_size=7", "learning_rate=0.03")


def draw_face(emotion: int, rng: np.random.Generator) -> np.ndarray:
    """A 48 x 48 grey image in which the emotion is a bright bar at one of seven heights."""
    image = rng.integers(0, 60, (48, 48)).astype(np.uint8)
    cv2.rectangle(image, (6, 3 + emotion * 6), (42, 6 + emotion * 6), int(rng.integers(180, 255)), -1)
    return image


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


def write_votes(fer2013: Path, folder: Path, votes: Callable[[int, int], list[int]]) -> None:
    """The same images with FER+'s votes.

    :param votes: of a row's number and emotion the votes for FER+'s ten columns.
    """
    rows = (fer2013 / "fer2013.csv").read_text().splitlines()
    (folder / "fer2013.csv").write_text("\n".join(rows))
    columns = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt", "unknown", "NF")
    with open(folder / "fer2013new.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Usage", "Image name", *columns])
        for index, row in enumerate(rows[1:]):
            writer.writerow([row.rsplit(",", 1)[1], "x.png", *votes(index, int(row.split(",")[0]))])


@pytest.fixture(scope="session")
def voted(fer2013: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images with FER+'s votes: contempt for every second neutral face, no face for every tenth image."""

    def votes(index: int, emotion: int) -> list[int]:
        seen = 9 if index % 10 == 5 else 7 if index % 14 == 13 else emotion
        return [10 if vote == seen else 0 for vote in range(10)]

    folder = tmp_path_factory.mktemp("voted")
    write_votes(fer2013, folder, votes)
    return folder


@pytest.fixture(scope="session")
def with_votes() -> Callable[[Path, Path, Callable[[int, int], list[int]]], None]:
    """See :func:`write_votes`."""
    return write_votes


@pytest.fixture
def wildfaces(tmp_path: Path) -> Path:
    """The labelled photographs of FER_DATA, behind links, so that nothing is written beside them."""
    folder = Path(os.environ.get("FER_DATA", "../shared/data")).resolve() / "wildfaces"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine (set FER_DATA)")
    for name in ("labels.csv", "images"):
        (tmp_path / name).symlink_to(folder / name)
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in the same order, so that runs can be compared to the bit; and no threads that wait for a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_config(folder: Path, data: Path) -> Path:
    """A configuration of a training that takes less than a second."""
    file = folder / "tiny.yaml"
    # Without bfloat16, which processors without it compute ten times as slowly.
    file.write_text(
        f"""
name: tiny
data: fer2013:{data}
out: {folder / "runs"}
network:
  options: {{stem_stride: 2, width: 0.25, dropout: 0.0}}
augmentation: {{flip: false, rotation_deg: 3.0, translation: 0.02, scale: 0.02, erasing_probability: 0.0}}
epochs: 1
batch_size: 35
learning_rate: 0.1
ema_decay: 0.9
mixed_precision: false
"""
    )
    return file


@pytest.fixture
def config_file(tmp_path: Path, fer2013: Path) -> Path:
    """See :func:`write_config`."""
    return write_config(tmp_path, fer2013)


@pytest.fixture(scope="session")
def session_config(tmp_path_factory: pytest.TempPathFactory, fer2013: Path) -> Path:
    """The same, of the runs that tests share."""
    return write_config(tmp_path_factory.mktemp("shared"), fer2013)


@pytest.fixture(scope="session")
def trained(session_config: Path) -> Path:
    """A run that has learnt something. It is shared: copy it to change it."""
    return train(load_config(session_config, LEARNING))


@pytest.fixture(scope="session")
def attentive(session_config: Path) -> Path:
    """The same of a network with attention."""
    return train(load_config(session_config, [*LEARNING, "name=attentive", "network.name=hybrid_attention"]))


@pytest.fixture(scope="session")
def trained_bundle(trained: Path) -> Path:
    """The bundle of ``trained``."""
    return export(trained, trained.parents[1] / "models")


@pytest.fixture(scope="session")
def attentive_bundle(attentive: Path) -> Path:
    """The bundle of ``attentive``."""
    return export(attentive, attentive.parents[1] / "models")


@pytest.fixture(scope="session")
def joint(session_config: Path, voted: Path) -> Path:
    """A run that has learnt the labels of FER+ and FER2013 together, with attention inside blocks."""
    network = ["network.name=hybrid_attention", "network.options.block_attention=coordinate"]
    return train(load_config(session_config, [*LEARNING, "name=joint", f"data=ferplus+fer2013:{voted}", *network]))


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that computes in bfloat16; others emulate it, slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
