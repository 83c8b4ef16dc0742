import math
import threading
import time

import pytest

from fer_perception.commands.demo.summary import SessionSummary
from fer_perception.nodes.base.latest_slot import LatestSlot
from fer_perception.telemetry.timing import FrameStatistics, RateLimit, Stopwatch, percentiles


def test_laps_add_up_to_the_total() -> None:
    watch = Stopwatch()
    for stage in ("detect", "infer"):
        time.sleep(0.01)
        watch.lap(stage)
    assert watch.stages_ms["detect"] >= 9
    assert watch.total_ms == pytest.approx(sum(watch.stages_ms.values()))


def test_percentiles_leave_out_what_is_not_measured() -> None:
    assert percentiles([*range(1, 101), float("nan")]) == pytest.approx((50.5, 95.05, 99.01))
    assert all(math.isnan(value) for value in percentiles([]))


def allowed(rate_hz: float, stamps: list[float]) -> list[float]:
    limit = RateLimit()
    return [stamp for stamp in stamps if limit.allows(stamp, rate_hz)]


def test_a_rate_is_kept_on_average() -> None:
    seconds = [number / 30 for number in range(301)]
    assert len(allowed(5, seconds)) == pytest.approx(51, abs=1)
    assert len(allowed(7, seconds)) == pytest.approx(71, abs=1)  # not a fraction of 30
    assert allowed(30.5, seconds) == allowed(0, seconds) == seconds
    assert allowed(5, [0, 10, 10.1, 10.2001, 10.3]) == [0, 10, 10.2001]  # nothing is made up for after a pause
    assert allowed(1, [100, 100.5, 3, 3.5, 4]) == [100, 3, 4]  # time that runs backwards


def test_windows_count_each_frame_once() -> None:
    statistics = FrameStatistics()
    for duration in (10.0, 20.0, 30.0):
        statistics.count("received")
        statistics.processed({"detect": duration})
    statistics.count("received")
    statistics.count("dropped")
    window = statistics.take_window()
    assert (window.received, window.processed, window.dropped, window.rejected) == (4, 3, 1, 0)
    assert window.stages["detect"].p50 == 20
    assert window.fps_out == pytest.approx(3 / window.window_s)
    empty = statistics.take_window()
    assert (empty.received, empty.processed, empty.stages) == (0, 0, {})
    assert statistics.total("received") == 4


def test_the_newest_item_wins() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert [slot.put(item) for item in (1, 2, 3)] == [False, True, True]
    assert slot.take() == 3
    assert slot.put(4) is False


def test_a_waiting_consumer_gets_items_and_the_end() -> None:
    slot: LatestSlot[int] = LatestSlot()
    taken: list[int | None] = []

    def consume() -> None:
        while (item := slot.take()) is not None:
            taken.append(item)
        taken.append(None)

    thread = threading.Thread(target=consume)
    thread.start()
    slot.put(7)
    deadline = time.monotonic() + 5
    while not taken and time.monotonic() < deadline:
        time.sleep(0.01)
    slot.close()
    thread.join(5)
    assert taken == [7, None]


def test_session_summary() -> None:
    summary = SessionSummary()
    summary.frames_sent, summary.model = 4, "m"
    summary.add_predictions(["happy"], 10.0, 10.010)
    summary.add_predictions(["happy", "sad"], 10.5, 10.530)
    summary.add_predictions([], 11.0, 11.020)
    summary.add_stages({"detect": 2.0})
    result = summary.result()
    assert result["frames_processed"] == 3
    assert result["frames_with_faces"] == 2
    assert result["faces_per_frame"] == {"0": 1, "1": 1, "2": 1}
    assert result["emotions"] == {"happy": 2, "sad": 1}
    assert result["top_emotion"] == "happy"
    assert result["latency_ms"]["end_to_end"]["p50"] == pytest.approx(20)
    assert result["latency_ms"]["detect"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert "infer" not in result["latency_ms"]
    assert result["duration_s"] == pytest.approx(1.02)


def test_summary_of_nothing() -> None:
    result = SessionSummary().result()
    assert result["top_emotion"] is None
    assert result["latency_ms"] == {}
