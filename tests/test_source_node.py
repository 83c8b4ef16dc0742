"""What source_node does with images that cannot be read, and what it says of its pace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images; the first one is cut off in the middle."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        cv2.imwrite(str(images / name), RNG.integers(0, 256, (48, 64, 3), np.uint8))
    whole = (images / "a.jpg").read_bytes()
    (images / "a.jpg").write_bytes(whole[: len(whole) // 2])
    return images


def test_an_unreadable_image_is_named_and_the_others_are_shown(graph: Any, folder: Path) -> None:
    process = graph.start_source(source=folder, still_s=0.1)
    graph.until(lambda: not process.running())
    assert process.status == 0, process.output
    graph.until(lambda: graph.received["image"])
    assert f"left out, 1 of 3 images until now: {folder}/a.jpg: not a readable image" in process.output
    assert "end, 6 images sent" in process.output


def test_where_no_image_can_be_read_the_node_ends_with_an_error(graph: Any, folder: Path) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    for name in ("b.jpg", "c.jpg"):
        (folder / name).write_bytes(b"no image")
    process = graph.start("source_node", source=folder, loop=True)
    graph.until(lambda: not process.running())
    assert process.status == 1, process.output
    assert "c.jpg: not a readable image" in process.output
    assert "Traceback" not in process.output


def test_a_film_plays_at_its_own_times(graph: Any, tmp_path: Path) -> None:
    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for index in range(3):
        writer.write(np.full((48, 64, 3), index * 10, np.uint8))
    writer.release()
    process = graph.start("source_node", source=file)
    graph.until(lambda: not process.running())
    assert "at its own times, about 12.5 Hz" in process.output
