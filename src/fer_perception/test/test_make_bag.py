"""Bags of videos, images and labelled images."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_perception.commands.make_bag import main
from fer_perception.errors import FerError, LabelsError, SourceError
from fer_perception.images.manifest import labelled_images
from fer_perception.replay.bags import Bag, Selection, deserialize, read_frames
from fer_perception.replay.ground_truth import LABEL_TOPIC
from fer_perception.replay.storage.new_bag import START_NS, TOPIC

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


def times_of(folder: Path, topic: str = TOPIC) -> list[float]:
    with Bag(folder) as bag:
        return [round((time_ns - START_NS) * 1e-9, 6) for _, time_ns, _ in bag.messages([topic])]


def animation(file: Path, durations_ms: list[int]) -> Path:
    pictures = [Image.fromarray(np.full((24, 32, 3), 30 + 60 * n, np.uint8)) for n in range(len(durations_ms))]
    pictures[0].save(file, save_all=True, append_images=pictures[1:], duration=durations_ms, loop=0)
    return file


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_labels_meet_the_pictures_of_an_animation_at_their_own_times(tmp_path: Path, name: str) -> None:
    source = animation(tmp_path / name, [500, 100, 2000, 30])
    table = tmp_path / "a.csv"
    table.write_text("start_s,end_s,label\n0.5,0.6,neutral\n0.6,9,happy\n")
    main([str(source), "--labels", str(table), "--out", str(tmp_path / "bag")])
    assert times_of(tmp_path / "bag") == [0, 0.5, 0.6, 2.6]
    assert labels_of(tmp_path / "bag") == [(0.5, "neutral"), (0.6, "happy")]
    assert [round((image.mean() - 30) / 60) for image in images_of(tmp_path / "bag")] == [0, 1, 2, 3]
    main([str(source), "--fps", "4", "--out", str(tmp_path / "at_a_rate")])
    assert times_of(tmp_path / "at_a_rate") == [0, 0.25, 0.5, 0.75]


def test_labels_of_single_images_and_intervals_that_hold_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        write_image(tmp_path / "set" / f"{number}.png", number)
    table = tmp_path / "set.csv"
    table.write_text("frame,label\n1,happy\n2,bored\n")
    main([str(tmp_path / "set"), "--fps", "1", "--labels", str(table), "--out", str(tmp_path / "bag")])
    assert labels_of(tmp_path / "bag") == [(1, "happy"), (2, "")]
    assert "1 cannot be used and are left out: line 3: 'bored' is no label" in caplog.text
    table.write_text("start_s,end_s,label\n0,2,happy\n2000,4000,sad\n")
    main([str(tmp_path / "set"), "--fps", "1", "--labels", str(table), "--out", str(tmp_path / "late")])
    assert "1 of 2 labelled intervals hold no image" in caplog.text


def test_rows_without_an_emotion_do_not_end_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        write_image(tmp_path / f"{number}.png", number)
    table = tmp_path / "labels.csv"
    table.write_bytes("Image; Label ;Größe\r\n0.png;Joy;1\r\n1.png; ;2\r\n1.png;glad;3\r\n".encode("cp1252"))
    main([str(table), "--out", str(tmp_path / "bag")])
    assert labels_of(tmp_path / "bag") == [(0, "happy")]
    assert "2 rows cannot be used: '' is no emotion (1), 'glad' is no emotion (1). Emotions are angry," in caplog.text


def test_images_that_are_missing_or_damaged_do_not_end_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        write_image(tmp_path / f"{number}.jpg", number)
    content = (tmp_path / "0.jpg").read_bytes()
    (tmp_path / "0.jpg").write_bytes(content[: len(content) // 2])
    table = tmp_path / "labels.csv"
    table.write_text("image,emotion\n0.jpg,sad\n1.jpg,happy\n2.jpg,fear\n")
    main([str(table), "--out", str(tmp_path / "bag")])
    assert labels_of(tmp_path / "bag") == [(0, "happy")]
    assert "labels.csv: left out: 1 rows cannot be used: 2.jpg is missing (1)" in caplog.text
    assert f"left out: {tmp_path}/0.jpg: not a readable image" in caplog.text


@pytest.mark.parametrize(
    ("split", "images"), [("test", [0, 1]), ("Test", [0, 1]), ("val", [2]), ("fold 1", [3]), ("", [0, 1, 2, 3])]
)
def test_splits_have_the_names_that_training_takes(tmp_path: Path, split: str, images: list[int]) -> None:
    for number in range(4):
        write_image(tmp_path / f"{number}.png", number)
    table = tmp_path / "labels.csv"
    rows = [f"{n}.png,happy,{word}" for n, word in enumerate(("TEST", "PrivateTest", "PublicTest", "Fold 1"))]
    table.write_text("\n".join(["image,emotion,split", *rows]))
    assert [int(file.stem) for file, _ in labelled_images(table, split)] == images


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
            r"labels.csv: lists no image of the split 'test' that .* 1 rows cannot be used: 'glad' is no .* \(1\)",
        ),
        ("file,split\na.png,test\n", r"labels.csv: needs the columns image and emotion. It has file, split"),
        ("image,emotion,split\na.png,happy,train\n", r"lists no image of the split 'test'"),
        ("image,emotion,split\na.png,happy,test\n", r"lists no image .* 1 rows cannot be used: a.png is missing"),
    ):
        table.write_text(text)
        with pytest.raises(FerError, match=message):
            main([str(table), "--split", "test", *out])
        assert not (tmp_path / "bag").exists()
    with pytest.raises(LabelsError, match=r"has labels of its own"):
        main([str(tmp_path / "set"), "--labels", str(table), *out])
    for number in ("1", "2"):
        write_image(tmp_path / "numbered" / number / "a.png", 1)
    with pytest.raises(SourceError, match=r"numbered: its folders are called 1, 2, and what numbers mean differs"):
        main([str(tmp_path / "numbered"), *out])
    (tmp_path / "there").mkdir()
    with pytest.raises(FerError, match=r"a.png/bag: cannot be written \(Not a directory\). Choose another --out"):
        main([str(tmp_path / "set"), "--out", str(tmp_path / "set" / "happy" / "a.png" / "bag")])
    with pytest.raises(SourceError, match=r"there: exists already"):
        main([str(tmp_path / "set"), "--out", str(tmp_path / "there")])


def test_what_is_in_no_folder_of_an_emotion_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, name in enumerate(("0_fear/a.png", "happy/deep/b.png", "angr/c.png", "loose.png", "happy/._b.png")):
        write_image(tmp_path / "set" / name, number)
    (tmp_path / "set" / "happy" / "d.heic").write_bytes(b"x")
    (tmp_path / "set" / "Thumbs.db").write_bytes(b"x")
    main([str(tmp_path / "set"), "--out", str(tmp_path / "bag")])
    assert [label for _, label in labels_of(tmp_path / "bag")] == ["fear", "happy"]
    assert caplog.messages == [
        f"{tmp_path}/set: left out, as they are no images in folders called like emotions: angr, loose.png, d.heic"
    ]


@pytest.mark.parametrize(
    ("folders", "message"),
    [(("train", "test"), "holds the splits test, train. Give one"), (("0", "1"), "folders are called 0, 1, and what")],
)
def test_folders_that_are_no_emotions(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    for folder in folders:
        write_image(tmp_path / "set" / folder / "happy" / "a.png", 1)
    (tmp_path / "set" / "Thumbs.db").write_bytes(b"x")
    with pytest.raises(SourceError, match=message):
        main([str(tmp_path / "set"), "--out", str(tmp_path / "bag")])


def test_labels_that_are_not_of_the_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        write_image(tmp_path / "set" / f"{number}.png", number)
    table, arguments = tmp_path / "set.csv", [str(tmp_path / "set"), "--labels", str(tmp_path / "set.csv")]
    table.write_text("frame,label\n2,happy\n7,sad\n8,sad\n")
    main([*arguments, "--out", str(tmp_path / "bag")])
    assert "2 of 3 labelled frames are not there" in caplog.text
    table.write_text("frame,label\n7,sad\n")
    with pytest.raises(LabelsError, match=r"its frames begin with 7, and there are 3"):
        main([*arguments, "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


def test_a_bag_that_is_not_finished_is_removed(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 1)
    out = tmp_path / "bag"
    arguments = ["make_bag", str(tmp_path / "a.png"), "--hold", "100000000", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "fer_perception", *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(120) == 128 + signal.SIGTERM
    assert not out.exists()
