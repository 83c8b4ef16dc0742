"""Stamps of drivers that set them wrongly, each image with the time of its arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from fer_perception.images.stamps import DISTRUST_NS, STEPS, ImageTime, StampCheck

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
PERIOD = SECOND // 30
LATE = SECOND // 20  # of each image
COUNT = 900


def judge(stamp: Callable[[int], int], arrival: Callable[[int], int] = lambda i: NOW + i * PERIOD) -> list[ImageTime]:
    check = StampCheck()
    return [check.judge(stamp(index), arrival(index)) for index in range(COUNT)]


def steps(times: list[ImageTime]) -> list[int]:
    return [after.time_ns - before.time_ns for before, after in pairwise(times)]


def test_stamps_that_advance_serve_as_they_are() -> None:
    stamps = [NOW + index * PERIOD - LATE for index in range(COUNT)]
    assert judge(stamps.__getitem__) == [ImageTime(stamp, "") for stamp in stamps]


@pytest.mark.parametrize("offset_s", [0, -3600, 3600 * 24 * 300])
def test_a_clock_that_is_off_by_less_than_a_year_serves(offset_s: int) -> None:
    times = judge(lambda i: NOW + i * PERIOD + offset_s * SECOND)
    assert {time.fault for time in times} == {""}
    assert set(steps(times)) == {PERIOD}


@pytest.mark.parametrize(
    ("stamp", "fault"),
    [
        (lambda i: NOW, "still"),
        (lambda i: NOW + i // 2 * 2 * PERIOD - LATE, "still"),
        (lambda i: (NOW + i * PERIOD) // SECOND * SECOND, "still"),  # whole seconds
        (lambda i: (NOW + i * PERIOD) // SECOND * SECOND + i * PERIOD % SECOND // 1000, "still"),  # microseconds
        (lambda i: NOW - i * PERIOD, "back"),
        (lambda i: 5 * SECOND + i * PERIOD, "far"),  # since the machine's start
        (lambda i: (NOW + i * PERIOD) // 1000, "far"),
        (lambda i: 2 * NOW, "far"),
        (lambda i: -NOW, "far"),
    ],
)
def test_where_stamps_are_wrong_the_arrivals_serve(stamp: Callable[[int], int], fault: str) -> None:
    times = judge(stamp)
    assert Counter(time.fault for time in times)[fault] >= COUNT - STEPS  # type: ignore[index]
    assert set(steps(times)[STEPS:]) == {PERIOD}
    assert min(steps(times)) >= 0


def test_images_in_the_wrong_order_do_not_turn_time_back() -> None:
    times = judge(lambda i: NOW + (i ^ 1) * PERIOD)
    assert {time.fault for time in times[STEPS:]} == {"still", "back"}
    assert set(steps(times)[1:]) == {PERIOD}


@pytest.mark.parametrize("offset", [0, 3600 * SECOND])
def test_after_one_repeated_stamp_they_are_believed_again(offset: int) -> None:
    times = judge(lambda i: NOW + offset + (i - (i == 100)) * PERIOD)
    distrusted = [index for index, time in enumerate(times) if time.fault]
    assert distrusted == list(range(100, 100 + DISTRUST_NS // PERIOD + 1))
    assert set(steps(times)) == {PERIOD}


def test_going_back_to_stamps_does_not_turn_time_back() -> None:
    """Images come later after the fault than before: the arrivals' time has run ahead of the stamps'."""
    late = [LATE if index < 200 else 4 * LATE for index in range(COUNT)]
    times = judge(lambda i: NOW + (i - (i == 100)) * PERIOD, lambda i: NOW + i * PERIOD + late[i])
    assert min(steps(times)) == 0
    assert times[-1] == (NOW + (COUNT - 1) * PERIOD, "")


def test_a_simulation_that_begins_anew_is_no_fault() -> None:
    begun = [SECOND + index % 450 * PERIOD for index in range(COUNT)]
    times = judge(begun.__getitem__, lambda i: begun[i] + LATE)
    assert times == [ImageTime(time_ns, "") for time_ns in begun]


def test_a_looped_recording_jumps_back_once() -> None:
    times = judge(lambda i: NOW + i % 450 * PERIOD)
    assert times[450] == (NOW + 450 * PERIOD, "back")
    assert [step for step in steps(times) if step != PERIOD] == [-450 * PERIOD + PERIOD]


def test_a_pause_of_the_recorder_is_no_fault_of_the_stamps() -> None:
    held = range(100, 250)
    times = judge(lambda i: NOW + i * PERIOD, lambda i: NOW + (held.stop if i in held else i) * PERIOD)
    assert {time.fault for time in times} == {""}


def test_without_a_stamp_the_arrival_serves_and_without_a_clock_the_stamp() -> None:
    assert judge(lambda i: 0)[7] == (NOW + 7 * PERIOD, "")
    assert judge(lambda i: NOW + i, lambda i: 0)[7] == (NOW + 7, "")
