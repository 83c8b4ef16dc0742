"""Stamps that cannot be believed: the nodes say so, and the time of arrival serves instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fer_msgs.msg import EmotionArray

BLACK = np.zeros((480, 640, 3), np.uint8)
YEAR_S = 365 * 24 * 3600


def publish(graph: Any, pixels: np.ndarray, stamp_s: float) -> None:
    graph.publish(graph.image(pixels, stamp_s))
    graph.spin(0.1)


def now_s(graph: Any) -> float:
    return graph.node.get_clock().now().nanoseconds * 1e-9


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("still", "their stamps repeat or hardly advance"),
        ("pairs", "their stamps repeat or hardly advance"),
        ("back", "their stamps jump back"),
        ("boot", "more than a year away from the clock"),
        ("future", "more than a year away from the clock"),
        ("none", "they have no stamp"),
    ],
)
def test_what_is_wrong_is_said(graph: Any, fault: str, message: str) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start("fer_node")
    begin_s, number = now_s(graph), 0
    stamps = {
        "still": lambda: begin_s,
        "pairs": lambda: begin_s + number // 2 * 0.2,
        "back": lambda: begin_s - number,
        "boot": lambda: 100 + number * 0.1,
        "future": lambda: begin_s + 2 * YEAR_S + number * 0.1,
        "none": lambda: 0.0,
    }

    def said() -> bool:
        nonlocal number
        publish(graph, BLACK, stamps[fault]())
        number += 1
        status = graph.status_of("fer_node")
        return status is not None and message in status.message

    graph.until(said)
    status = graph.status_of("fer_node")
    assert status.level == DiagnosticStatus.WARN
    assert "The time of their arrival serves instead. Have the camera's driver stamp each image" in status.message
    assert message in process.output


@pytest.mark.parametrize("nodes", [("fer_node",), ("face_node", "emotion_node")])
def test_smoothing_and_tracks_go_on_with_stamps_that_stand_still(
    graph: Any, portrait: np.ndarray, nodes: tuple[str, ...]
) -> None:
    """A face that changes, then is gone, then is there again: its smoothed emotion follows, and its id is another."""
    graph.collect(EmotionArray, "emotions")
    for name in nodes:
        graph.start(
            name,
            **({"privacy": "off"} if name == "face_node" else {}),
        )
    answers = graph.received["emotions"]
    stamp_s = now_s(graph)

    def faces(pixels: np.ndarray, count: int) -> list[Any]:
        """Of an answer to such an image, and of one that has that many faces."""
        answers.clear()

        def answered() -> bool:
            publish(graph, pixels, stamp_s)
            return bool(answers) and len(answers[-1].emotions) == count

        graph.until(answered)
        return answers[-1].emotions

    (first,) = faces(portrait, 1)
    other = portrait.copy()
    other[135:185, 190:260] = other[135:136, 190:260]  # without its mouth

    def follows() -> bool:
        (emotion,) = faces(other, 1)
        changed = np.abs(np.subtract(emotion.probabilities, first.probabilities)).max()
        assert changed > 0.2
        return np.abs(np.subtract(emotion.smoothed_probabilities, emotion.probabilities)).max() < 0.1 * changed

    graph.until(follows)
    faces(BLACK, 0)
    begun_s = now_s(graph)
    while now_s(graph) - begun_s < 2.0:  # longer than max_lost_s
        publish(graph, BLACK, stamp_s)
    (again,) = faces(portrait, 1)
    assert again.track_id != first.track_id


def test_stamps_without_a_clock_to_compare_with_are_believed(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.collect(EmotionArray, "emotions")
    process = graph.start("fer_node", use_sim_time=True)
    for number in range(20):
        graph.ask(portrait, "emotions", stamp_s=5.0 + number * 0.1)
    assert "serves instead" not in process.output
