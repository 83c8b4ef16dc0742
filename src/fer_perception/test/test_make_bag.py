"""Bags of videos, images and labelled images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.commands.make_bag import LABEL_TOPIC, START_NS, TOPIC, main
from fer_perception.errors import FerError, LabelsError, SourceError
from fer_perception.replay.bags import Bag, Selection, deserialize, read_frames

RNG = np.random.default_rng(0)


def write_image(file: Path, value: int) -> np.ndarray:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((20, 30, 3), value, np.uint8)
    image[:10] = RNG.integers(0, 256, (10, 30, 3))
    cv2.imwrite(str(file), image)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def labels_of(folder: Path) -> list[tuple[float, str]]:
    with Bag(folder) as bag:
        return [
            (round((time_ns - START_NS) * 1e-9, 6), deserialize(raw, connection.msgtype).data)
            for connection, time_ns, raw in bag.messages([LABEL_TOPIC])
        ]


def images_of(folder: Path, topic: str = TOPIC) -> list[np.ndarray]:
    with Bag(folder) as bag:
        return [frame.image for frame in read_frames(bag, topic, Selection()) if frame.image is not None]


def test_a_csv_of_labelled_pictures(tmp_path: Path) -> None:
    written = [write_image(tmp_path / "images" / f"{n}.png", n) for n in range(3)]
    table = tmp_path / "labels.csv"
    table.write_text("image,emotion,split\n0.png,happiness,test\n1.png,Happy,test\n9.png,sad,train\n2.png,sad,test\n")
    assert main([str(table), "--split", "test", "--hold", "2", "--fps", "10", "--out", str(tmp_path / "bag")]) == 0
    images = images_of(tmp_path / "bag")
    assert len(images) == 6
    for image, expected in zip(images, np.repeat(written, 2, axis=0), strict=True):
        np.testing.assert_array_equal(image, expected)
    # An empty label between two images of one emotion, so that they are two intervals.
    assert labels_of(tmp_path / "bag") == [(0.0, "happy"), (0.2, ""), (0.2, "happy"), (0.4, "sad")]


def test_folders_called_like_emotions(tmp_path: Path) -> None:
    for name, value in (("happy/a.png", 1), ("sadness/b.png", 2), ("other/c.png", 3)):
        write_image(tmp_path / "set" / name, value)
    main([str(tmp_path / "set"), "--out", str(tmp_path / "bag")])
    assert [label for _, label in labels_of(tmp_path / "bag")] == ["happy", "sad"]


def test_a_folder_of_pictures_has_no_labels(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "set" / f"{number}.png", number)
    arguments = [str(tmp_path / "set"), "--hold", "3", "--limit", "7", "--encoding", "png", "--storage", "sqlite3"]
    main([*arguments, "--out", str(tmp_path / "bag")])
    assert len(images_of(tmp_path / "bag", f"{TOPIC}/compressed")) == 7
    assert labels_of(tmp_path / "bag") == []
    assert (tmp_path / "bag" / "bag.db3").is_file()


def test_a_video_with_intervals(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (32, 24))
    for number in range(10):
        video.write(np.full((24, 32, 3), number * 20, np.uint8))
    video.release()
    table = tmp_path / "film.csv"
    table.write_text("start_s,end_s,label\n0.2,0.5,neutral\n0.5,0.7,happy\n")
    main([str(tmp_path / "film.mp4"), "--labels", str(table), "--out", str(tmp_path / "bag")])
    assert len(images_of(tmp_path / "bag")) == 10
    assert labels_of(tmp_path / "bag") == [(0.2, "neutral"), (0.5, "happy"), (0.7, "")]


def test_the_same_source_gives_the_same_bag(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", 1)
    for name in ("one", "two"):
        main([str(tmp_path / "set"), "--out", str(tmp_path / name / "bag")])
    assert (tmp_path / "one/bag/bag.mcap").read_bytes() == (tmp_path / "two/bag/bag.mcap").read_bytes()


def test_what_cannot_be_used(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "bag")]
    with pytest.raises(SourceError, match=r"nothing: there is no such file or folder"):
        main([str(tmp_path / "nothing"), *out])
    write_image(tmp_path / "set" / "happy" / "a.png", 1)
    table = tmp_path / "labels.csv"
    for text, message in (
        (
            "image,emotion,split\na.png,glad,test\n",
            r"labels.csv, line 2: image is 'a.png' and emotion 'glad'.*one of angry",
        ),
        ("file,split\na.png,test\n", r"line 2: image is '' and emotion ''"),
        ("image,emotion,split\na.png,happy,train\n", r"lists no image of the split 'test'"),
        ("image,emotion,split\na.png,happy,test\n", r"a.png: not a readable image"),
    ):
        table.write_text(text)
        with pytest.raises(FerError, match=message):
            main([str(table), "--split", "test", *out])
        assert not (tmp_path / "bag").exists()
    with pytest.raises(LabelsError, match=r"has labels of its own"):
        main([str(tmp_path / "set"), "--labels", str(table), *out])
    (tmp_path / "there").mkdir()
    with pytest.raises(SourceError, match=r"there: exists already"):
        main([str(tmp_path / "set"), "--out", str(tmp_path / "there")])
