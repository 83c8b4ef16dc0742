"""Every dataset in its official layout, as small trees of real image files."""

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_perception.replay.bags import Bag, Selection, deserialize, read_frames
from fer_perception.replay.ground_truth import LABEL_TOPIC
from fer_perception.replay.storage.new_bag import START_NS, TOPIC
from fer_training.__main__ import main
from fer_training.datasets import DatasetError, Samples, Split, load_dataset


def image(file: Path, value: int = 100, side: int = 12) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.full((side, side, 3), value, np.uint8))


def text(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def load_all(dataset: str, splits: tuple[Split, ...] = ("train", "val", "test")) -> dict[Split, Samples]:
    return {split: load_dataset(dataset, split) for split in splits}


def named(samples: Samples) -> dict[str, str]:
    return {name: samples.labels[target] for name, target in zip(samples.names, samples.targets.tolist(), strict=True)}


# AffectNet

EXPRESSIONS = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"]
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"


def affectnet_2017(root: Path, lists: str = "Manually_Annotated_file_lists") -> None:
    for name, count, header in (("training", 44, HEADER), ("validation", 11, "")):
        rows = []
        for index in range(count):
            file = f"{index % 3}/{name}{index}.jpg"
            image(root / "Manually_Annotated" / "Manually_Annotated_Images" / file)
            box = "NULL,NULL,NULL,NULL" if index % 11 == 10 else "1,2,8,8"
            rows.append(f"{file},{box},1.0;2.0,{index % 11},-0.1,0.2\n")
        text(root / lists / f"{name}.csv", header + "".join(rows))


def affectnet_later(root: Path) -> None:
    for name, count in (("train_set", 40), ("val_set", 8)):
        (root / name / "annotations").mkdir(parents=True)
        for index in range(count):
            image(root / name / "images" / f"{index}.jpg")
            np.save(root / name / "annotations" / f"{index}_exp.npy", np.array(str(index % 8)))
            np.save(root / name / "annotations" / f"{index}_val.npy", np.array("0.5"))


@pytest.mark.parametrize("lists", ["Manually_Annotated_file_lists", "."])
def test_affectnet_2017(tmp_path: Path, lists: str) -> None:
    affectnet_2017(tmp_path, lists)
    eight, seven = load_all(f"affectnet8:{tmp_path}"), load_all(f"affectnet7:{tmp_path}")
    assert {split: len(samples) for split, samples in eight.items()} == {"train": 28, "val": 4, "test": 8}
    assert {split: len(samples) for split, samples in seven.items()} == {"train": 25, "val": 3, "test": 7}
    assert (eight["test"].labels, seven["test"].labels) == (EMOTIONS_8, EMOTIONS_7)
    assert list(named(eight["test"]).values()) == EXPRESSIONS
    assert "contempt" not in named(seven["train"]).values()
    assert not set(eight["train"].names) & set(eight["val"].names)


def test_affectnet_later_layout(tmp_path: Path) -> None:
    affectnet_later(tmp_path)
    eight = load_all(f"affectnet8:{tmp_path}")
    assert {split: len(samples) for split, samples in eight.items()} == {"train": 36, "val": 4, "test": 8}
    assert named(eight["test"])["val_set/images/6.jpg"] == "angry"
    assert len(load_dataset(f"affectnet7:{tmp_path}", "test")) == 7


def test_affectnet_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither validation\.csv nor the folder val_set"):
        load_dataset(f"affectnet7:{tmp_path}", "test")
    affectnet_2017(tmp_path)
    file = tmp_path / "Manually_Annotated_file_lists" / "training.csv"
    original = file.read_text()
    file.write_text(original.replace("training1.jpg,1,2,8,8,1.0;2.0,1,", "training1.jpg,1,2,8,8,1.0;2.0,11,"))
    with pytest.raises(DatasetError, match=r"training\.csv, line 3: expression is '11'"):
        load_dataset(f"affectnet8:{tmp_path}", "train")
    file.write_text(original.replace("training1.jpg,1,", "training1.jpg,left,"))
    with pytest.raises(DatasetError, match=r"training\.csv, line 3: face_x.*expected numbers"):
        load_dataset(f"affectnet8:{tmp_path}", "train")
    file.write_text(original)
    (tmp_path / "Manually_Annotated" / "Manually_Annotated_Images" / "1" / "training1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"training\.csv, line 3: .*training1\.jpg is missing"):
        load_all(f"affectnet8:{tmp_path}")


def test_affectnet_with_one_of_its_sets(tmp_path: Path) -> None:
    affectnet_later(tmp_path)
    shutil.rmtree(tmp_path / "val_set")
    with pytest.raises(DatasetError, match=r"neither validation\.csv nor the folder val_set is there"):
        load_dataset(f"affectnet8:{tmp_path}", "test")


def test_affectnet_does_not_unpickle(tmp_path: Path) -> None:
    affectnet_later(tmp_path)
    np.save(tmp_path / "val_set" / "annotations" / "3_exp.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"3_exp\.npy: cannot be read .*Get the annotations again"):
        load_dataset(f"affectnet8:{tmp_path}", "test")


# RAF-DB


def rafdb(root: Path, classes: int, originals: bool = True) -> None:
    rows = []
    for split, count in (("train", 4 * classes), ("test", classes)):
        for index in range(count):
            stem = f"{split}_{index:05}"
            rows.append(f"{stem}.jpg {index % classes + 1}\n")
            image(root / "Image" / "aligned" / f"{stem}_aligned.jpg", side=10)
            if originals:
                image(root / "Image" / "original" / f"{stem}.jpg", side=20)
                text(root / "Annotation" / "boundingbox" / f"{stem}_boundingbox.txt", "1.5 2.0 15.0 16.5 \n")
            landmarks = "10.5\t20.5\n" * 5
            text(root / "Annotation" / "manual" / f"{stem}_manu_attri.txt", f"{landmarks}{index % 3}\n2\n{index % 5}\n")
    text(root / "EmoLabel" / "list_patition_label.txt", "".join(rows))


def test_rafdb(tmp_path: Path) -> None:
    rafdb(tmp_path / "basic", 7)
    splits = load_all(f"rafdb:{tmp_path}")
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 25, "val": 3, "test": 7}
    test = splits["test"]
    assert list(named(test).values()) == ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
    assert test.images[0].shape == (20, 20, 3)
    assert test.groups["gender"][:4] == ["male", "female", "unsure", "male"]
    assert set(test.groups["ethnicity"]) == {"Asian"}
    assert test.groups["age"][:5] == ["0-3", "4-19", "20-39", "40-69", "70+"]
    assert load_dataset(f"rafdb:{tmp_path / 'basic'}", "test").fingerprint() == test.fingerprint()


def test_rafdb_with_aligned_pictures_only(tmp_path: Path) -> None:
    rafdb(tmp_path, 7, originals=False)
    samples = load_dataset(f"rafdb:{tmp_path}", "test")
    assert samples.names[0] == "Image/aligned/test_00000_aligned.jpg"
    assert samples.images[0].shape == (10, 10, 3)


def test_rafdb_compound(tmp_path: Path) -> None:
    rafdb(tmp_path / "compound", 11)
    samples = load_dataset(f"rafdb_compound:{tmp_path}", "test")
    assert samples.labels == EMOTIONS_7
    assert samples.groups["compound"][:3] == ["happy+surprise", "happy+disgust", "sad+fear"]
    assert samples.soft_targets is not None
    assert (samples.soft_targets.dtype, samples.soft_targets.shape) == (np.float32, (11, 7))
    assert samples.soft_targets[0].tolist() == [0, 0, 0, 0.5, 0, 0.5, 0]
    assert samples.labels[samples.targets[0]] == "surprise"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("test_00001.jpg 8", r"line 36: 'test_00001\.jpg 8' is no image and a class from 1 to 7"),
        ("test_00001.jpg", r"line 36: .*is no image and a class"),
        ("image.jpg 3", r"line 36: image\.jpg begins with neither train_ nor test_"),
    ],
)
def test_rafdb_errors(tmp_path: Path, line: str, message: str) -> None:
    rafdb(tmp_path, 7)
    with open(tmp_path / "EmoLabel" / "list_patition_label.txt", "a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DatasetError, match=r"list_patition_label\.txt, " + message):
        load_dataset(f"rafdb:{tmp_path}", "test")


def test_rafdb_broken_annotations(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"list_patition_label\.txt is not there \(found: an empty folder\)\. Give RAF-DB's"
    ):
        load_dataset(f"rafdb:{tmp_path}", "test")
    rafdb(tmp_path, 7)
    text(tmp_path / "Annotation" / "boundingbox" / "test_00000_boundingbox.txt", "1 2 3")
    with pytest.raises(DatasetError, match=r"test_00000_boundingbox\.txt: holds no four numbers"):
        load_dataset(f"rafdb:{tmp_path}", "test")
    text(tmp_path / "Annotation" / "manual" / "test_00000_manu_attri.txt", "1 2\n" * 5 + "0\n7\n1\n")
    with pytest.raises(DatasetError, match=r"test_00000_manu_attri\.txt: ends with \['0', '7', '1'\]"):
        load_dataset(f"rafdb:{tmp_path}", "test")


# CK+

SUBJECTS = 12


def ck(root: Path, frames: int = 6) -> None:
    for index in range(SUBJECTS):
        for sequence, labelled in (("001", True), ("002", False)):
            here = f"S{10 + index:03}/{sequence}"
            stem = here.replace("/", "_")
            for frame in range(1, frames + 1):
                image(root / "cohn-kanade-images" / here / f"{stem}_{frame:08}.png", value=frame * 10)
            (root / "Emotion" / here).mkdir(parents=True)
            if labelled:
                emotion = index % 7 + 1
                text(root / "Emotion" / here / f"{stem}_{frames:08}_emotion.txt", f"   {emotion}.0000000e+00\n")
    text(root / "cohn-kanade-images" / ".DS_Store", "")


def test_ckplus_frames_and_labels(tmp_path: Path) -> None:
    ck(tmp_path)
    test = load_dataset(f"ckplus@1:{tmp_path}", "test")
    assert test.labels == EMOTIONS_8
    folder = "cohn-kanade-images/S010/001/S010_001_0000000"
    assert {name: label for name, label in named(test).items() if "S010" in name} == {
        f"{folder}1.png": "neutral",
        f"{folder}4.png": "angry",
        f"{folder}5.png": "angry",
        f"{folder}6.png": "angry",
    }
    assert set(named(load_dataset(f"ckplus@2:{tmp_path}", "test")).values()) == {"neutral", "contempt", "happy"}


def test_ckplus_sequences_become_bags(tmp_path: Path) -> None:
    """The first frame is neutral, the emotion counts from the second on; bags that are there stay."""
    ck(tmp_path / "ck")
    out = tmp_path / "bags"
    for _ in range(2):
        main(["sequences", "--ckplus", str(tmp_path / "ck"), "--out", str(out)])
    assert [bag.name for bag in sorted(out.iterdir())] == [f"S{10 + index:03}_001" for index in range(SUBJECTS)]
    with Bag(out / "S010_001") as bag:
        labels = [
            (round((time_ns - START_NS) * 30e-9), deserialize(raw, connection.msgtype).data)
            for connection, time_ns, raw in bag.messages([LABEL_TOPIC])
        ]
        frames = list(read_frames(bag, f"{TOPIC}/compressed", Selection()))
    assert labels == [(0, "neutral"), (1, "angry")]
    assert [int(frame.image[0, 0, 0]) for frame in frames if frame.image is not None] == [10, 20, 30, 40, 50, 60]
    with pytest.raises(SystemExit, match="has no sequences"):
        main(["sequences", "--ckplus", str(tmp_path), "--out", str(out)])


def test_ckplus_folds_share_no_subject(tmp_path: Path) -> None:
    ck(tmp_path)
    tested: list[str] = []
    for fold in range(1, 11):
        subjects = {
            split: set(samples.groups["subject"]) for split, samples in load_all(f"ckplus@{fold}:{tmp_path}").items()
        }
        assert sum(map(len, subjects.values())) == len(set.union(*subjects.values())) == SUBJECTS
        tested += subjects["test"]
    assert sorted(tested) == [f"S{10 + index:03}" for index in range(SUBJECTS)]


def test_ckplus_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither the folders cohn-kanade-images and Emotion nor .*an empty folder"):
        load_dataset(f"ckplus@1:{tmp_path}", "test")
    ck(tmp_path, frames=3)
    with pytest.raises(DatasetError, match=r"S010.001: 3 frames, expected at least 4"):
        load_dataset(f"ckplus@1:{tmp_path}", "test")
    text(tmp_path / "Emotion" / "S010" / "001" / "S010_001_00000003_emotion.txt", "8")
    with pytest.raises(DatasetError, match=r"S010_001_00000003_emotion\.txt: holds no number from 0 to 7"):
        load_dataset(f"ckplus@1:{tmp_path}", "test")
    with pytest.raises(FerError, match="write NAME:PATH"):
        load_dataset(f"ckplus@11:{tmp_path}", "test")


# Class folders


def test_folder_without_splits(tmp_path: Path) -> None:
    for emotion in ("anger", "Happy", "neutral"):
        for index in range(20):
            image(tmp_path / emotion / f"{index}.png")
    splits = load_all(f"folder:{tmp_path}")
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 48, "val": 6, "test": 6}
    assert len({name for samples in splits.values() for name in samples.names}) == 60
    assert named(splits["train"])["Happy/0.png"] == "happy"
    assert splits["train"].labels == EMOTIONS_7


def test_folder_with_splits(tmp_path: Path) -> None:
    for index in range(10):
        image(tmp_path / "train" / "sadness" / f"{index}.jpg")
        image(tmp_path / "test" / "contempt" / f"{index}.jpg")
    splits = load_all(f"folder:{tmp_path}")
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 9, "val": 1, "test": 10}
    assert all(samples.labels == EMOTIONS_8 for samples in splits.values())
    image(tmp_path / "val" / "fear" / "a.jpg")
    splits = load_all(f"folder:{tmp_path}")
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 10, "val": 1, "test": 10}
    assert named(splits["val"]) == {"val/fear/a.jpg": "fear"}


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no folder"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}", "test")
    with pytest.raises(DatasetError, match=r"holds no folders of emotions.*\(found: an empty folder\)"):
        load_dataset(f"folder:{tmp_path}", "test")
    image(tmp_path / "train" / "smirk" / "a.jpg")
    with pytest.raises(DatasetError, match=r"smirk \(a class folder\): emotion is 'smirk'\. Write one of angry"):
        load_dataset(f"folder:{tmp_path}", "train")
    (tmp_path / "train" / "smirk").rename(tmp_path / "train" / "happy")
    with pytest.raises(DatasetError, match=r"has no folder of the split 'test', but of train\."):
        load_dataset(f"folder:{tmp_path}", "test")


# Manifest


def manifest(root: Path, rows: list[str], header: str = "image,emotion,split,gender,subject,width") -> Path:
    file = root / "labels.csv"
    text(file, "\n".join([header, *rows]) + "\n")
    return file


def test_manifest_groups_and_subjects(tmp_path: Path) -> None:
    rows = [f"{i}.png,{('anger', 'sadness')[i % 2]},train,{('f', '')[i % 2]},p{i // 4},9" for i in range(40)]
    rows += ["40.png,happiness,test,m,q,9"]
    for index in range(41):
        image(tmp_path / "images" / f"{index}.png")
    file = manifest(tmp_path, rows)
    splits = load_all(f"manifest:{file}")
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 36, "val": 4, "test": 1}
    assert set(splits["train"].groups) == {"gender", "subject", "width"}
    assert splits["train"].groups["gender"][:2] == ["f", ""]
    assert not set(splits["train"].groups["subject"]) & set(splits["val"].groups["subject"])
    assert named(splits["test"]) == {"images/40.png": "happy"}
    assert splits["test"].labels == EMOTIONS_7
    assert load_dataset(f"manifest:{tmp_path}", "test").fingerprint() == splits["test"].fingerprint()


def test_manifest_with_splits_of_its_own(tmp_path: Path) -> None:
    for name in "abcd":
        image(tmp_path / f"{name}.png")
    manifest(tmp_path, ["a.png,anger,train", "b.png,fear,val", "c.png,contempt,test", "d.png,sad,adapt"], COLUMNS)
    splits = load_all(f"manifest:{tmp_path}", ("train", "val", "test", "adapt"))
    assert [samples.names for samples in splits.values()] == [["a.png"], ["b.png"], ["c.png"], ["d.png"]]
    assert all(samples.labels == EMOTIONS_8 for samples in splits.values())
    with pytest.raises(DatasetError, match="only a manifest has a split 'adapt'"):
        load_dataset(f"folder:{tmp_path}", "adapt")


COLUMNS = "image,emotion,split"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.png,anger"], "image,emotion", r"labels\.csv: lacks the column\(s\) split"),
        (["a.png,anger,train", "b.png,smirk,train"], COLUMNS, r"labels\.csv, line 3: emotion is 'smirk'"),
        (["a.png,anger,trainees"], COLUMNS, r"labels\.csv, line 2: split is 'trainees'\. Write one of train"),
        (["a.png,anger,train", "b.png,anger,train"], COLUMNS, r"labels\.csv, line 3: .*b\.png is missing"),
        ([",anger,train"], COLUMNS, r"labels\.csv, line 2: names no image"),
        (["a.png"], COLUMNS, r"labels\.csv, line 2: split is 'None'"),
    ],
)
def test_manifest_errors(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    image(tmp_path / "a.png")
    manifest(tmp_path, rows, header)
    with pytest.raises(DatasetError, match=message):
        load_all(f"manifest:{tmp_path}", ("train", "val"))


def test_wildfaces_load_as_they_are(wildfaces: Path) -> None:
    samples = load_dataset(f"manifest:{wildfaces}", "test")
    counts = Counter(samples.labels[target] for target in samples.targets)
    assert counts == {
        **{"angry": 115, "contempt": 7, "disgust": 33, "fear": 6, "happy": 348},
        **{"neutral": 359, "sad": 93, "surprise": 144},
    }
