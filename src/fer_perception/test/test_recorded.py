"""Recorded predictions: which image each belongs to, what is missing, and when it was played."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from fer_perception.commands.replay import main
from fer_perception.errors import BagError, FerError
from fer_perception.replay.bags import Bag, read_frame, stamped
from fer_perception.replay.evaluate_bags import Options, evaluate_bags, evaluate_recording
from fer_perception.replay.message_types import typestore
from fer_perception.replay.pace import SLACK_S, Pace
from fer_perception.replay.storage.new_bag import START_NS, TOPIC, Item, write_bag
from fer_perception.replay.tables import KEYPOINT_COLUMNS, Predictions, read_predictions
from fer_perception.settings import ReplaySettings

EMOTIONS, LATENCY = f"/replay{TOPIC}/emotions", f"/replay{TOPIC}/latency"
QUIET = Options(write_bags=False, images=False, predictions_topic="/fer/emotions")
LATER_NS = 5_000_000_000
DELAY_NS = 30_000_000


@pytest.fixture
def recorded_run(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> tuple[Predictions, Path]:
    """The tables of the offline replay, and the bag with its predictions."""
    evaluate_bags(
        [portrait_bag], tmp_path / "offline", ReplaySettings(model=str(tiny_bundle)), options=Options(images=False)
    )
    return read_predictions(tmp_path / "offline"), tmp_path / "offline" / "bags" / "portrait"


def record(predictions: Path, out: Path, lost: tuple[int, ...] = (), model: str = "") -> Path:
    """A recording as of a live run: another time, half as fast, each EmotionArray 30 ms after its image; and a clock.

    :param lost: these messages are not in it.
    :param model: of the last message.
    """
    store = typestore()
    kinds = {"emotions": "fer_msgs/msg/EmotionArray", "latency": "fer_msgs/msg/Latency"}
    clock = "rosgraph_msgs/msg/Clock"
    with Bag(predictions) as bag, Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        outputs = {name: writer.add_connection(f"/fer/{name}", kind, typestore=store) for name, kind in kinds.items()}
        ticks = writer.add_connection("/clock", clock, typestore=store)
        for number in range(-1, 30):
            time_ns = START_NS + number * 100_000_000
            shown = store.types["builtin_interfaces/msg/Time"](*divmod(time_ns, 1_000_000_000))
            writer.write(ticks, played_ns(time_ns), store.serialize_cdr(store.types[clock](shown), clock))
        for name, topic in (("emotions", EMOTIONS), ("latency", LATENCY)):
            for number, (connection, time_ns, raw) in enumerate(bag.messages([topic])):
                if number in lost:
                    continue
                message = store.deserialize_cdr(raw, connection.msgtype)
                if model and number == 23 and name == "emotions":
                    message.model_id = model
                raw = store.serialize_cdr(message, connection.msgtype)
                writer.write(outputs[name], played_ns(time_ns) + DELAY_NS, raw)
    return out


def played_ns(time_ns: int) -> int:
    return START_NS + LATER_NS + 2 * (time_ns - START_NS)


def test_predictions_find_their_images(
    portrait_bag: Path, recorded_run: tuple[Predictions, Path], tmp_path: Path
) -> None:
    expected, bag = recorded_run
    recording = record(bag, tmp_path / "recording", lost=(3, 4, 20))
    report = evaluate_recording(portrait_bag, recording, tmp_path / "out", options=QUIET)
    found = read_predictions(tmp_path / "out")
    assert found.frames["frame"].tolist() == list(range(24))
    assert found.frames.index[found.frames["dropped"]].tolist() == [3, 4, 20]
    assert report.all.dropped == report.streams[0].dropped == 3
    assert report.all.truth.coverage == 21 / 24
    kept = expected.emotions[~expected.emotions["frame"].isin([3, 4, 20])].reset_index(drop=True)
    assert len(kept) == 21
    for column in kept.columns.drop(["bag", "face_confidence", *KEYPOINT_COLUMNS]):
        assert found.emotions[column].tolist() == kept[column].tolist(), column
    there = ~found.frames["dropped"]
    np.testing.assert_allclose(found.frames.loc[there, "end_to_end_ms"], 30.0, atol=1e-3)
    assert found.frames.loc[there, "detect_ms"].tolist() == expected.frames.loc[there, "detect_ms"].tolist()
    assert found.frames.loc[~there, "detect_ms"].isna().all()


def test_the_report_shows_what_was_dropped(
    portrait_bag: Path, recorded_run: tuple[Predictions, Path], tmp_path: Path
) -> None:
    recording = record(recorded_run[1], tmp_path / "recording", lost=(3, 4))
    arguments = [str(portrait_bag), "--predictions", str(recording), "--no-images", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "2 of 24 images were dropped" in page
    assert "dropped at" in page
    assert "end to end" in page
    with Bag(tmp_path / "out" / "bags" / "portrait") as bag:
        latencies = [typestore().deserialize_cdr(raw, kind.msgtype) for kind, _, raw in bag.messages([LATENCY])]
    assert [message.dropped_frames for message in latencies] == [0] * 3 + [2] * 19


def test_what_cannot_be_evaluated(portrait_bag: Path, recorded_run: tuple[Predictions, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        BagError, match=r"no predictions on /fer/emotions\. It has /replay.*: choose by --predictions-topic"
    ):
        evaluate_recording(portrait_bag, recorded_run[1], out, options=QUIET)
    with pytest.raises(BagError, match=r"has no predictions on /fer/emotions\. Record /fer/emotions, too"):
        evaluate_recording(portrait_bag, portrait_bag, out, options=QUIET)
    mixed = record(recorded_run[1], tmp_path / "mixed", model="other")
    with pytest.raises(BagError, match=r"holds predictions of tiny.* and other\. Record one model at a time"):
        evaluate_recording(portrait_bag, mixed, out, options=QUIET)
    none = record(recorded_run[1], tmp_path / "none", lost=tuple(range(24)))
    with pytest.raises(BagError, match="/fer/emotions holds no message"):
        evaluate_recording(portrait_bag, none, out, options=QUIET)
    other = tmp_path / "other"
    write_bag([Item(np.zeros((48, 64, 3), np.uint8))], other, 10.0)
    few = record(recorded_run[1], tmp_path / "few", lost=(0,))
    with pytest.raises(FerError, match="no image was processed: none of its predictions is in the recording"):
        evaluate_recording(other, few, out, options=QUIET)
    assert not (out / "report.json").exists()
    with pytest.raises(SystemExit):
        main([str(portrait_bag), "--predictions", str(mixed), "--max-faces", "3"])


def test_an_image_without_a_stamp_gets_its_time_of_recording(portrait_bag: Path) -> None:
    with Bag(portrait_bag) as bag:
        connection, time_ns, raw = next(iter(bag.messages([TOPIC])))
    assert stamped(raw, 5) == raw
    blank = bytes(raw[:4]) + bytes(8) + bytes(raw[12:])
    assert stamped(blank, time_ns) == raw
    big_endian = typestore().serialize_cdr(
        typestore().deserialize_cdr(blank, connection.msgtype), connection.msgtype, little_endian=False
    )
    frame = read_frame(0, 1, stamped(bytes(big_endian), time_ns), connection.msgtype)
    assert (frame.stamp_ns, frame.rejected) == (time_ns, "")
    assert stamped(b"\x00\x01", 5) == b"\x00\x01"


def test_pace_is_kept_and_a_pause_is_not_caught_up() -> None:
    pace = Pace(1_000_000_000, 2.0)
    assert pace.wait_s(1_400_000_000) == pytest.approx(0.2, abs=0.01)
    time.sleep(0.2)
    assert pace.now_ns() >= 1_400_000_000
    pace.played(1_000_000_000)  # 0.2 s late
    assert pace.wait_s(1_400_000_000) == pytest.approx(0.2, abs=0.01)
    pace.played(1_000_000_000 - round(SLACK_S * 1e9))  # so little is caught up
    assert pace.wait_s(1_400_000_000) == pytest.approx(0.2, abs=0.01)
