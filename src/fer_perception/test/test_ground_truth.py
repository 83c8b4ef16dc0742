"""Labels from tables, ELAN and topics, and what is said about those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from fer_perception.errors import LabelsError
from fer_perception.replay.bags import Bag
from fer_perception.replay.ground_truth import Interval, file_for, read_file, read_truth
from fer_perception.replay.message_types import typestore

S = 1_000_000_000
FRAMES = pd.DataFrame({"frame": range(6), "time_ns": [10 * S + n * S for n in range(6)]})
FRAMES["stamp_ns"] = FRAMES["time_ns"] - 5


def csv(folder: Path, text: str) -> Path:
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_intervals_of_a_csv(tmp_path: Path) -> None:
    file = csv(tmp_path, "start_s,end_s,label\n1.5,2,Happiness\n0,1.5,neutral\n")
    assert read_file(file, 10 * S, FRAMES) == [
        Interval(10 * S, 10 * S + 3 * S // 2, "neutral"),
        Interval(10 * S + 3 * S // 2, 12 * S, "happy"),
    ]


def test_single_frames_of_a_csv_become_intervals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = csv(tmp_path, "frame,label\n0,neutral\n1,neutral\n2,happy\n4,happy\n99,sad\n")
    assert read_file(file, 10 * S, FRAMES) == [
        Interval(10 * S, 12 * S, "neutral"),
        Interval(12 * S, 13 * S, "happy"),
        Interval(14 * S, 15 * S, "happy"),
    ]
    assert "1 labelled frames are not among those replayed" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start_s,label\n0,happy\n", "lacks columns. It needs start_s, end_s and label, or frame and label"),
        ("start_s,end_s,label\n0,1,joyous\n", "line 2: label is 'joyous'. Write one of angry"),
        ("start_s,end_s,label\n0,one,happy\n", "line 2: 'one' is no number"),
        ("start_s,end_s,label\n0,1\n", "line 2: label is 'None'"),
        ("start_s,end_s,label\n2,1,happy\n", "line 2: ends at 1 s and begins at 2 s"),
        ("start_s,end_s,label\n0,2,happy\n1,3,sad\n", "intervals overlap at 1.000 s (happy, sad)"),
        ("start_s,end_s,label\n", "holds no label"),
        ("frame,label\n1.5,happy\n", "line 2: '1.5' is no number of a frame"),
        ("start_s,end_s,label\n0,nan,happy\n", "line 2: 'nan' is no number"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabelsError) as caught:
        read_file(csv(tmp_path, text), 0, FRAMES)
    assert str(tmp_path / "labels.csv") in str(caught.value)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"labels.txt: labels are read from .csv and from ELAN's .eaf"):
        read_file(tmp_path / "labels.txt", 0, FRAMES)
    with pytest.raises(LabelsError, match=r"gone.csv: cannot be read"):
        read_file(tmp_path / "gone.csv", 0, FRAMES)
    (tmp_path / "odd.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelsError, match=r"odd.csv: cannot be read"):
        read_file(tmp_path / "odd.csv", 0, FRAMES)
    (tmp_path / "odd.eaf").write_text("<no xml")
    with pytest.raises(LabelsError, match=r"odd.eaf: is no readable ELAN file"):
        read_file(tmp_path / "odd.eaf", 0, FRAMES)


def test_elan(tmp_path: Path) -> None:
    from pympi.Elan import Eaf

    document = Eaf()
    document.remove_tier("default")
    document.add_tier("face")
    document.add_annotation("face", 0, 1500, "neutral")
    document.add_annotation("face", 1500, 2400, "happiness")
    document.to_file(str(tmp_path / "film.eaf"))
    expected = [Interval(S, S + 3 * S // 2, "neutral"), Interval(S + 3 * S // 2, S + 24 * S // 10, "happy")]
    assert read_file(tmp_path / "film.eaf", S, None) == expected
    document.add_tier("remarks")
    document.to_file(str(tmp_path / "two.eaf"))
    with pytest.raises(
        LabelsError, match=r"two.eaf: has the tiers face, remarks. Call the one with the labels 'emotion'"
    ):
        read_file(tmp_path / "two.eaf", S, None)


def test_the_topic_of_make_bag(portrait_bag: Path) -> None:
    with Bag(portrait_bag) as bag:
        start = bag.start_ns
        intervals = read_truth(bag, FRAMES, None)
        assert read_truth(bag, FRAMES, None, "/elsewhere") == []
        with pytest.raises(LabelsError, match=r"/camera/image_raw is of sensor_msgs/msg/Image. Labels are"):
            read_truth(bag, FRAMES, None, "/camera/image_raw")
    assert intervals == [
        Interval(start, start + 12 * S // 10, "neutral"),
        Interval(start + 12 * S // 10, start + 23 * S // 10 + 1, "happy"),
    ]


def test_an_emotion_array_labels_the_image_with_its_stamp(tmp_path: Path) -> None:
    store = typestore()
    types = store.types
    kind = "fer_msgs/msg/EmotionArray"

    def emotion(label: str, size: int) -> object:
        region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, size, size, False)
        nothing = np.zeros(0, np.float32)
        return types["fer_msgs/msg/Emotion"]("a", region, label, 1.0, nothing, label, 1.0, nothing, 0)

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/ground_truth", kind, typestore=store)
        for frame, faces in ((1, [emotion("sad", 5), emotion("happy", 9)]), (2, [emotion("sad", 5)]), (3, [])):
            stamp = int(FRAMES["stamp_ns"][frame])
            time = types["builtin_interfaces/msg/Time"](stamp // S, stamp % S)
            message = types[kind](types["std_msgs/msg/Header"](time, ""), [], "", faces)
            writer.write(connection, stamp + 77, store.serialize_cdr(message, kind))
    with Bag(tmp_path / "bag") as bag:
        assert read_truth(bag, FRAMES, None) == [Interval(11 * S, 12 * S, "happy"), Interval(12 * S, 13 * S, "sad")]


def test_files_belong_to_the_bags_of_their_name() -> None:
    bags = [Path("a/kitchen"), Path("b/hall")]
    files = [Path("x/hall.csv")]
    assert file_for(bags[0], bags, files) is None
    assert file_for(bags[1], bags, files) == files[0]
    assert file_for(bags[0], bags[:1], files) == files[0]  # one bag, one file: whatever its name
    with pytest.raises(LabelsError, match=r"x/cellar.csv: .*call it like one of kitchen, hall"):
        file_for(bags[0], bags, [Path("x/cellar.csv")])
