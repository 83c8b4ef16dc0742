"""Labels from tables, ELAN and topics, and what is said about those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from fer_perception.errors import LabelsError
from fer_perception.replay.bags import Bag
from fer_perception.replay.ground_truth import Interval, check_labels, file_for, read_labels, read_truth
from fer_perception.replay.message_types import typestore

S = 1_000_000_000
FRAMES = pd.DataFrame({"frame": range(6), "time_ns": [10 * S + n * S for n in range(6)]})
FRAMES["stamp_ns"] = FRAMES["time_ns"] - 5


def csv(folder: Path, text: str) -> Path:
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_intervals_of_a_csv(tmp_path: Path) -> None:
    labels = read_labels(csv(tmp_path, "start_s,end_s,label\n1.5,2,Happiness\n0,1.5,neutral\n"))
    assert labels == ([Interval(0, 3 * S // 2, "neutral"), Interval(3 * S // 2, 2 * S, "happy")], {}, [], True)


def test_intervals_begin_with_the_bag_and_those_without_an_image_are_told_of(
    tmp_path: Path, portrait_bag: Path
) -> None:
    file = csv(tmp_path, "start_s,end_s,label\n0,2,sad\n500,2000,happy\n")
    with Bag(portrait_bag) as bag:
        frames = FRAMES.assign(time_ns=FRAMES["time_ns"] - 10 * S + bag.start_ns)
        intervals, notes = read_truth(bag, frames, file)
        assert intervals[0] == Interval(bag.start_ns, bag.start_ns + 2 * S, "sad")
    assert notes == ["1 of 2 labelled intervals hold no image"]


def test_single_frames_of_a_csv_become_intervals(tmp_path: Path, portrait_bag: Path) -> None:
    file = csv(tmp_path, "frame,label\n0,neutral\n1,neutral\n2,happy\n4,happy\n99,sad\n")
    with Bag(portrait_bag) as bag:
        intervals, notes = read_truth(bag, FRAMES, file)
    assert intervals == [
        Interval(10 * S, 12 * S, "neutral"),
        Interval(12 * S, 13 * S, "happy"),
        Interval(14 * S, 15 * S, "happy"),
    ]
    assert notes == [f"{file}: 1 labelled frames are not among those replayed"]


TWO = [Interval(S // 2, 3 * S // 2, "happy"), Interval(3 * S // 2, 2 * S, "neutral")]


@pytest.mark.parametrize(
    "text",
    [
        "start_s;end_s;label\n0,5;1,5;happy\n1,5;2;neutral\n",
        "start_s\tend_s\tlabel\n0.5\t1.5\thappy\n1.5\t2\tneutral\n",
        "start_s|end_s|label\n0.5|1.5|happy\n1.5|2|neutral\n",
        'start_s,end_s,label\n"0,5","1,5",happy\n"1,5",2,neutral\n',
        " Start_S , END_S,Label \n 0.5 , 1.5 , HAPPY \n1.5,2, neutral\n",
        "\ufeffstart_s,end_s,label,\n0.5,1.5,happy,\n1.5,2,neutral,,\n,,,\n",
        "# by Anna, 3 May\n\nstart_s,end_s,label\n# first\n0.5,1.5,happy\n\n1.5,2,neutral\n",
        "# start_s,end_s,label\n0.5,1.5,happy\n1.5,2,neutral\n",
        "Kitchen\nStart [s];End [s];Emotion\n0.5;1.5;Joy\n1.5;2;neutral\n",
        "start_ms,end_ms,emotion\n500,1500,happy\n1500,2000,neutral\n",
        "onset\tduration\tlabel\n0.5\t1\thappy\n1.5\t0.5\tneutral\n",
        "Begin Time - ss.msec\tEnd Time - ss.msec\temotion\n0.500\t1.500\thappy\n1.500\t2.000\tneutral\n",
        "Begin Time - hh:mm:ss.ms\tEnd Time - hh:mm:ss.ms\temotion\n00:00:00.500\t00:00:01.500\thappy\n"
        "00:00:01.500\t00:00:02.000\tneutral\n",
        'label,start_s,end_s,remark\nhappy,0.5,1.5,\nneutral,1.5,2,"smiles, a bit"\n',
        "start_s,end_s,label\r\n0.5,1.0,happy\r\n0.9,1.5,happy\r\n1.5,2,neutral\r\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_tables_as_people_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    file = tmp_path / "labels.tsv"
    file.write_bytes((text + "# für Größe\n").encode(encoding, errors="ignore"))
    labels = read_labels(file)
    shown = [(i.start_ns, i.label) for i in labels.intervals if i.start_ns in (S // 2, 3 * S // 2)]
    assert shown == [(i.start_ns, i.label) for i in TWO]
    assert labels.intervals[-1] == TWO[-1]
    assert labels.notes == []


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ("0,1,", "1 without a label are left out"),
        ("0,1", "1 without a label are left out"),
        ("0,1,Unknown", "1 without a label are left out"),
        ("0,1,n/a", "1 without a label are left out"),
        ("0,1,bored", "line 3: 'bored' is no label. Labels are angry"),
        ("0,one,happy", "line 3: 'one' is no number"),
        ("0,nan,happy", "line 3: 'nan' is no time in a recording"),
        ("0,1e300,happy", "line 3: '1e300' is no time in a recording"),
        ("0,1700000000000000000,happy", "line 3: '1700000000000000000' is no time in a recording"),
        ("0,9000000000:00:00,happy", "line 3: '9000000000:00:00' is no time in a recording"),
        ("0,5000000000,happy", "line 3: '5000000000' is no time in a recording"),
        ("0,00:00:10:00,happy", "line 3: '00:00:10:00' is no time such as 1:02:03.5"),
        ("0,0:90,happy", "line 3: '0:90' is no time such as"),
        ("2,1,happy", "line 3: it ends at 1 s and begins at 2 s"),
    ],
)
def test_a_row_that_cannot_be_used_does_not_end_the_others(tmp_path: Path, row: str, note: str) -> None:
    file = csv(tmp_path, f"start_s,end_s,label\n5,6,sad\n{row}\n7,8,scared\n")
    labels = read_labels(file)
    assert labels.intervals == [Interval(5 * S, 6 * S, "sad"), Interval(7 * S, 8 * S, "fear")]
    (found,) = labels.notes
    assert str(file) in found
    assert note in found
    with pytest.raises(LabelsError) as caught:
        read_labels(csv(tmp_path, f"start_s,end_s,label\n# none\n{row}\n"))
    assert "holds no label" in str(caught.value)
    assert note in str(caught.value)


def test_a_frame_with_two_labels_that_differ_has_none(tmp_path: Path) -> None:
    labels = read_labels(csv(tmp_path, "frame,label\n0,happy\n1,sad\n1,angry\n2,fear\n0,happiness\n1,sad\n"))
    assert labels.frames == {0: "happy", 2: "fear"}
    (note,) = labels.notes
    assert (
        "1 cannot be used and are left out: line 4: frame 1 is angry here and sad before, and counts as neither" in note
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start_s,label\n0,happy\n", "lacks columns. It needs start_s, end_s and label, or frame and label. It has"),
        ("", "It is empty"),
        ("start_s,end_s,label\n0,2,happy\n1,3,sad\n", "intervals overlap at 1.000 s (happy, sad)"),
        ("start_s,end_s,label\n", "holds no label"),
        ("frame,label\n1.5,happy\n", "line 2: '1.5' is no number of a frame"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabelsError) as caught:
        read_labels(csv(tmp_path, text))
    assert str(tmp_path / "labels.csv") in str(caught.value)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"labels.xlsx: labels are read from .csv, .tsv, .txt and from ELAN's .eaf"):
        read_labels(tmp_path / "labels.xlsx")
    with pytest.raises(LabelsError, match=r"gone.csv: cannot be read"):
        read_labels(tmp_path / "gone.csv")
    (tmp_path / "odd.csv").write_bytes(b"\x89PNG\x00\x00")
    with pytest.raises(LabelsError, match=r"odd.csv: cannot be read"):
        read_labels(tmp_path / "odd.csv")
    (tmp_path / "odd.eaf").write_text("<no xml")
    with pytest.raises(LabelsError, match=r"odd.eaf: is no readable ELAN file"):
        read_labels(tmp_path / "odd.eaf")


def test_elan(tmp_path: Path) -> None:
    from pympi.Elan import Eaf

    document = Eaf()
    document.remove_tier("default")
    document.add_tier("face")
    document.add_annotation("face", 0, 1500, "neutral")
    document.add_annotation("face", 1500, 2400, "happiness")
    document.add_annotation("face", 2400, 3000, "unknown")
    document.add_annotation("face", 3000, 4000, "grin")
    document.to_file(str(tmp_path / "film.eaf"))
    labels = read_labels(tmp_path / "film.eaf")
    assert labels.intervals == [Interval(0, 3 * S // 2, "neutral"), Interval(3 * S // 2, 24 * S // 10, "happy")]
    assert "1 without a label are left out" in labels.notes[0]
    assert "at 3000 ms: 'grin' is no label" in labels.notes[1]
    document.add_tier("remarks")
    document.to_file(str(tmp_path / "two.eaf"))
    with pytest.raises(
        LabelsError, match=r"two.eaf: has the tiers face, remarks. Call the one with the labels 'emotion'"
    ):
        read_labels(tmp_path / "two.eaf")
    document.add_tier("Emotion")
    document.add_annotation("Emotion", 0, 500, "sad")
    document.to_file(str(tmp_path / "three.eaf"))
    assert read_labels(tmp_path / "three.eaf").intervals == [Interval(0, S // 2, "sad")]


def test_the_topic_of_make_bag(portrait_bag: Path) -> None:
    with Bag(portrait_bag) as bag:
        start = bag.start_ns
        frames = FRAMES.assign(time_ns=[start + n * S // 2 for n in range(6)])
        intervals, notes = read_truth(bag, frames, None)
        assert notes == []
        assert read_truth(bag, frames, None, "/elsewhere") == (
            [],
            ["there is no topic /elsewhere: no labels are read"],
        )
        intervals_of_images, (note,) = read_truth(bag, frames, None, "/camera/image_raw")
        assert intervals_of_images == []
        assert note.startswith("/camera/image_raw is of sensor_msgs/msg/Image: no labels are read. They are std_msgs")
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
        intervals, notes = read_truth(bag, FRAMES, None)
    assert intervals == [Interval(11 * S, 12 * S, "happy"), Interval(12 * S, 13 * S, "sad")]
    assert notes == []


def test_words_of_a_topic_that_are_no_labels_end_the_one_before(tmp_path: Path) -> None:
    store, kind = typestore(), "std_msgs/msg/String"
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/ground_truth", kind, typestore=store)
        for second, word in enumerate(("happy", "grin", "sad", "unknown", "")):
            raw = store.serialize_cdr(store.types[kind](word), kind)
            writer.write(connection, (10 + second) * S, raw)
    with Bag(tmp_path / "bag") as bag:
        intervals, notes = read_truth(bag, FRAMES, None)
    assert intervals == [Interval(10 * S, 11 * S, "happy"), Interval(12 * S, 13 * S, "sad")]
    assert notes[0] == "/ground_truth: 1 without a label are left out"
    assert "at 1.00 s: 'grin' is no label" in notes[1]


def test_files_belong_to_the_bags_of_their_name() -> None:
    bags = [Path("a/kitchen"), Path("b/hall")]
    files = [Path("x/hall.csv")]
    assert file_for(bags[0], bags, files) is None
    assert file_for(bags[1], bags, files) == files[0]
    assert file_for(bags[0], bags[:1], files) == files[0]  # one bag, one file: whatever its name
    with pytest.raises(LabelsError, match=r"x/cellar.csv: .*call it like one of kitchen, hall"):
        file_for(bags[0], bags, [Path("x/cellar.csv")])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("0,30,happy\n2,3,happy", [(0, 30, "happy")]),
        ("0,2,happy\n1,3,happy\n3,4,happy", [(0, 3, "happy"), (3, 4, "happy")]),
        ("5,6,sad\n0,4,happy\n1,2,happy", [(0, 4, "happy"), (5, 6, "sad")]),
    ],
)
def test_overlapping_intervals_of_one_label_are_one(
    tmp_path: Path, rows: str, expected: list[tuple[int, int, str]]
) -> None:
    labels = read_labels(csv(tmp_path, f"start_s,end_s,label\n{rows}\n"))
    assert labels.intervals == [Interval(start * S, end * S, label) for start, end, label in expected]


def test_an_overlap_behind_a_short_interval_is_seen(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"overlap at 10\.000 s \(happy, neutral\)"):
        read_labels(csv(tmp_path, "start_s,end_s,label\n0,20,happy\n1,2,happy\n10,20,neutral\n"))


@pytest.mark.parametrize(
    ("header", "row", "seconds"),
    [
        ("start_ms,end,label", "1000,5000,happy", (1, 5)),
        ("start,end_ms,label", "1000,5000,happy", (1, 5)),
        ("start_ms,duration,label", "1000,4000,happy", (1, 5)),
        ("start_s,duration_ms,label", "1,4000,happy", (1, 5)),
        ("start,end,label", "0:01,0:05,happy", (1, 5)),
        ("start,end,label", "1:00:01,1:00:05.5,happy", (3601, 3605.5)),
    ],
)
def test_a_column_without_a_unit_has_the_other_ones(
    tmp_path: Path, header: str, row: str, seconds: tuple[float, float]
) -> None:
    (interval,) = read_labels(csv(tmp_path, f"{header}\n{row}\n")).intervals
    assert (interval.start_ns / S, interval.end_ns / S) == seconds


def test_milliseconds_with_a_separator_may_be_either(tmp_path: Path) -> None:
    labels = read_labels(csv(tmp_path, "start_ms;end_ms;label\n0;5.000;happy\n6000;7000.5;sad\n"))
    assert labels.intervals == [Interval(6 * S, 7 * S + S // 2000, "sad")]
    assert "'5.000' is either thousands or a fraction" in labels.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start_s,end_s,label\n1700000000,1700000005,sad\n", r"is from 1700000000 to .* Times count from its first"),
        ("start,end,label\n0,15000,happy\n", r"labels end at 15000 s, and the recording lasts 15.0 s. Say the unit"),
        ("frame,label\n450,sad\n", r"its frames begin with 450, and there are 450, counted from 0"),
    ],
)
def test_labels_of_another_recording_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = csv(tmp_path, text)
    with pytest.raises(LabelsError, match=message):
        check_labels(read_labels(file), file, 15.0, 450)


def test_labels_that_reach_beyond_a_recording_are_of_it(tmp_path: Path) -> None:
    for text in ("start_s,end_s,label\n0,15000,happy\n", "start,end,label\n0,400,happy\n", "frame,label\n449,sad\n"):
        file = csv(tmp_path, text)
        check_labels(read_labels(file), file, 15.0, 450)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("start_s,end_s,label,emotion", "labels in the columns label and emotion. Keep one"),
        ("start_s,end_s,label,label", "several columns label; keep one"),
    ],
)
def test_two_columns_of_labels_are_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        read_labels(csv(tmp_path, f"{header}\n0,1,happy,sad\n"))
