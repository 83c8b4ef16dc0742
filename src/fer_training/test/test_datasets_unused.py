"""What lies in a dataset's folder and is not used is named, with counts; labels without an image are counted."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.labels import EMOTIONS_7
from fer_training.datasets import DatasetError, load_dataset
from fer_training.datasets.files.unused import name_unused


def image(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), np.full((48, 48), 100, np.uint8))


def text(file: Path, content: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def class_folders(root: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> None:
    image(
        *(root / split / emotion / f"{number}.png" for split in splits for emotion in EMOTIONS_7 for number in (0, 1))
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of unused files, without the end of the sentence."""
    messages = [record.message for record in caplog.records if "not used" in record.message]
    caplog.clear()
    return [message.partition(": ")[2].partition(". The layouts")[0] for message in messages]


@pytest.mark.parametrize("dataset", ["folder", "fer2013", "ferplus", "affectnet7"])
def test_class_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture, dataset: str) -> None:
    class_folders(tmp_path)
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "keypoints-0123abcd.csv",
        "__MACOSX/._a.png",
        "train/.ipynb_checkpoints/a.png",
    ):
        text(tmp_path / name)
    load_dataset(f"{dataset}:{tmp_path}", "train")
    assert said(caplog) == []
    class_folders(tmp_path, ("holdout",))
    image(tmp_path / "train" / "loose.png")
    text(tmp_path / "train" / "angry" / "notes.heic")
    text(tmp_path / "list.csv")
    for split in ("train", "val", "test"):
        assert len(load_dataset(f"{dataset}:{tmp_path}", split)) == 14  # type: ignore[arg-type]
    assert said(caplog) == [
        "17 file(s) not used: 14 in holdout/ (0.png, 1.png, ...); "
        f"1 in {tmp_path}/ (list.csv); 1 in train/ (loose.png); 1 in train/angry/ (notes.heic)"
    ]


def test_long_lists_are_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [tmp_path / str(number) / "a.png" for number in range(20)]
    image(*files)
    (tmp_path / "0" / "round").symlink_to(tmp_path)  # links that lead in a circle
    name_unused(tmp_path, files[:2])
    (message,) = said(caplog)
    assert message.startswith("18 file(s) not used: 1 in 10/ (a.png); 1 in 11/")
    assert message.endswith("; and in 12 more folders")


def test_fer2013_csv(fer2013: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("fer2013.csv", "fer2013new.csv", "train.csv"):
        (tmp_path / name).symlink_to(fer2013 / "fer2013.csv")
    load_dataset(f"fer2013:{tmp_path}", "val")
    assert said(caplog) == [f"1 file(s) not used: 1 in {tmp_path}/ (train.csv)"]
    load_dataset(f"fer2013:{tmp_path / 'fer2013.csv'}", "val")
    assert said(caplog) == []


def test_manifest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image(*(tmp_path / "images" / f"{name}.png" for name in "abc"), tmp_path / "more" / "d.png")
    text(tmp_path / "labels.csv", "image,emotion,split\na.png,fear,val\nimages/b.png,fear,test\n")
    load_dataset(f"manifest:{tmp_path}", "val")
    assert said(caplog) == ["2 file(s) not used: 1 in images/ (c.png); 1 in more/ (d.png)"]
    load_dataset(f"manifest:{tmp_path / 'labels.csv'}", "val")  # of a file, only what lies beside used images
    assert said(caplog) == [f"1 file(s) not used: 1 in {tmp_path / 'images'}/ (c.png)"]


def test_affectnet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name in ("train_set", "val_set"):
        image(*(tmp_path / name / "images" / f"{number}.jpg" for number in range(12)))
        (tmp_path / name / "annotations").mkdir()
        for number in range(10):
            np.save(tmp_path / name / "annotations" / f"{number}_exp.npy", np.array(str(number)))
            np.save(tmp_path / name / "annotations" / f"{number}_lnd.npy", np.zeros(4))
    load_dataset(f"affectnet8:{tmp_path}", "test")
    assert "affectnet8: 2 images that show none of the labels are left out" in caplog.messages
    images = "2 in {}_set/images/ (10.jpg, 11.jpg)"
    assert said(caplog) == [f"4 file(s) not used: {images.format('train')}; {images.format('val')}"]


def test_affectnet_lists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("training", "validation"):
        image(*(tmp_path / "Manually_Annotated_Images" / name / f"{number}.jpg" for number in range(4)))
        rows = [f"{name}/{number}.jpg,1,2,8,8,1.0;2.0,{number},-0.1,0.2" for number in range(3)]
        text(tmp_path / f"{name}.csv", "\n".join(rows))
    image(tmp_path / "Automatically_Annotated_Images" / "a.jpg")
    load_dataset(f"affectnet8:{tmp_path}", "test")
    (message,) = said(caplog)
    assert message.startswith("3 file(s) not used: 1 in Automatically_Annotated_Images/ (a.jpg); 1 in Man")


def test_rafdb(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stems = [f"{split}_{number:05}" for split in ("train", "test") for number in range(7)]
    for kind, ending in (("original", ""), ("aligned", "_aligned")):
        image(*(tmp_path / "basic" / "Image" / kind / f"{stem}{ending}.jpg" for stem in stems))
    rows = [f"{stem}.jpg {int(stem[-1]) + 1}" for stem in stems]
    text(tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt", "\n".join(rows))
    text(tmp_path / "basic" / "Annotation" / "auto" / "test_00000_auto_attri.txt")
    load_dataset(f"rafdb:{tmp_path}", "test")
    assert said(caplog) == []
    text(tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt", "\n".join(rows[:-2]))
    load_dataset(f"rafdb:{tmp_path}", "test")
    (message,) = said(caplog)
    assert message.startswith("4 file(s) not used: 2 in basic/Image/aligned/ (test_00005_aligned.jpg, ")


def test_ckplus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(3):
        for sequence in ("001", "002"):
            here, stem = f"S{10 + index:03}/{sequence}", f"S{10 + index:03}_{sequence}"
            image(*(tmp_path / "cohn-kanade-images" / here / f"{stem}_{frame:08}.png" for frame in range(1, 6)))
            if sequence == "001":
                text(tmp_path / "Emotion" / here / f"{stem}_00000005_emotion.txt", "3.0")
    load_dataset(f"ckplus@1:{tmp_path}", "test")
    (message,) = said(caplog)
    assert message.startswith("15 file(s) not used: 5 in cohn-kanade-images/S010/002/ (S010_002_00000001.png")


def test_labels_without_images_are_counted(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    text(tmp_path / "labels.csv", "image,emotion,split\n" + "".join(f"{name}.png,fear,test\n" for name in "abc"))
    with pytest.raises(DatasetError, match=r"line 3: .*b\.png is missing, and 1 more of 3 images are\. Unpack"):
        load_dataset(f"manifest:{tmp_path}", "test")
