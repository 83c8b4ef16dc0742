from __future__ import annotations

import numpy as np
import pytest

from fer_perception.faces.tracker import Tracker

FPS = 30


def box(x: float, y: float = 240, size: int = 80) -> tuple[int, int, int, int]:
    return (round(x - size / 2), round(y - size / 2), size, size)


def test_ids_start_with_a_letter_and_are_unique() -> None:
    tracker = Tracker()
    ids = [track_id for second in range(2000) for track_id in tracker.update([box(100), box(400)], second * 2.0)]
    assert len(set(ids)) == 4000  # two seconds apart they are new faces each time
    assert all(track_id.isalpha() and len(track_id) == 5 for track_id in ids)


def test_ids_are_the_same_in_every_run_on_request() -> None:
    assert Tracker(seed=1).update([box(50), box(300)], 0.0) == Tracker(seed=1).update([box(50), box(300)], 0.0)
    assert Tracker().update([box(50)], 0.0) != Tracker().update([box(50)], 0.0)


def test_a_face_keeps_its_id_while_it_moves_shakes_and_grows() -> None:
    rng = np.random.default_rng(0)
    tracker = Tracker()
    ids = {
        tracker.update([box(100 + 6 * i + rng.normal(0, 3), 200 + rng.normal(0, 3), 80 + i // 3)], i / FPS)[0]
        for i in range(90)
    }
    assert len(ids) == 1


def test_two_faces_keep_their_ids_when_they_cross() -> None:
    tracker = Tracker()
    first, second = tracker.update([box(100, 230), box(500, 250)], 0.0)
    for i in range(1, 81):
        x = 100 + 5 * i
        left, right = box(x, 230), box(600 - x, 250)
        # The detector gives them in any order.
        ids = tracker.update([left, right], i / FPS) if i % 2 else tracker.update([right, left], i / FPS)[::-1]
        assert ids == [first, second], f"swapped at {i}"


def test_a_short_occlusion_keeps_the_id_and_a_long_absence_ends_it() -> None:
    tracker = Tracker(max_lost_s=1.0)
    for i in range(30):
        (first,) = tracker.update([box(100 + 3 * i)], i / FPS)
    for i in range(30, 45):
        assert tracker.update([], i / FPS) == []
    (again,) = tracker.update([box(100 + 3 * 40)], 45 / FPS)
    assert again == first
    (later,) = tracker.update([box(220)], 45 / FPS + 1.5)
    assert later != first


def test_far_or_much_larger_is_another_face() -> None:
    tracker = Tracker()
    (first,) = tracker.update([box(100)], 0.0)
    (far,) = tracker.update([box(400)], 0.03)
    (large,) = tracker.update([box(100, size=200)], 0.06)
    assert len({first, far, large}) == 3


def test_time_going_backwards_begins_anew() -> None:
    tracker = Tracker()
    (first,) = tracker.update([box(100)], 50.0)
    (second,) = tracker.update([box(100)], 1.0)
    (third,) = tracker.update([box(100)], 1.03)
    assert first != second == third


@pytest.mark.parametrize("unlinkable", [False, True])
def test_the_image_after_a_face_was_lost_is_looked_at_thoroughly(unlinkable: bool) -> None:
    tracker = Tracker(unlinkable=unlinkable)
    tracker.update([(10, 10, 40, 40)], 0.0)
    assert not tracker.outlook(0.03).lost
    tracker.update([], 0.03)
    assert tracker.outlook(0.06).lost
    tracker.update([], 0.06)
    assert not tracker.outlook(0.09).lost
