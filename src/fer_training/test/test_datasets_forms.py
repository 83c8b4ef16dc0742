"""Datasets as they are passed on: other names, numbers for classes, no validation folder, a folder around, litter."""

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_perception.splits import split_named
from fer_training.datasets import DatasetError, Samples, Split, load_dataset

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
KAGGLE_AFFECTNET = ("Anger", "Contempt", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def image(file: Path, value: int = 100, side: int = 48) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.full((side, side), value, np.uint8))


def tree(root: Path, splits: dict[str, int], classes: tuple[str, ...]) -> None:
    """So many images in each class folder of each split; an image's grey value is its class's index."""
    for split, count in splits.items():
        for value, name in enumerate(classes):
            for number in range(count):
                image(root / split / name / f"{split}_{number}.png".replace("/", "_"), value)


def litter(root: Path) -> None:
    """What archives and operating systems leave behind."""
    for name in ("__MACOSX/._a.png", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints/a.png"):
        for folder in (root, *(each for each in sorted(root.iterdir()) if each.is_dir() and each.name[0] not in "._")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"no image")


def sizes(dataset: str) -> dict[Split, int]:
    splits: tuple[Split, ...] = ("train", "val", "test")
    return {split: len(load_dataset(dataset, split)) for split in splits}


def shown(samples: Samples) -> dict[int, str]:
    """By grey value, which tells the class, the label."""
    return {int(i.flat[0]): samples.labels[t] for i, t in zip(samples.images, samples.targets, strict=True)}


def write_csv(file: Path, header: list[str], rows: list[list[str]], separator: str = ",", start: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="", encoding="utf-8") as stream:
        stream.write(start)
        csv.writer(stream, delimiter=separator).writerows([header, *rows])
    return file


def pixels(value: int) -> str:
    return " ".join([str(value)] * 48 * 48)


@pytest.mark.parametrize(
    ("words", "split"),
    [
        ("train Train training TRAIN_SET train_set trainset training-data FER2013Train train_images", "train"),
        ("val valid Valid validation Validation_set dev PublicTest FER2013Valid", "val"),
        ("test Testing test_set test-data PrivateTest FER2013Test", "test"),
        ("adapt", "adapt"),
        ("trains holdout set fer2013 1 images", None),
    ],
)
def test_words_for_splits(words: str, split: Split | None) -> None:
    assert {split_named(word) for word in words.split()} == {split}


# FER2013


@pytest.mark.parametrize(
    ("name", "header", "separator", "start"),
    [
        ("icml_face_data.csv", ["emotion", " Usage", " pixels"], ",", ""),
        ("fer2013.csv", ["emotion", "Usage", "pixels"], ",", "\ufeff"),
        ("FER2013.csv", ["Emotion", "usage ", "Pixels"], ";", "\ufeff"),
        ("unpacked/fer2013/fer2013.csv", ["emotion", "Usage", "pixels"], "\t", ""),
    ],
)
def test_fer2013_csv(tmp_path: Path, name: str, header: list[str], separator: str, start: str) -> None:
    usages = {"train": "Training", "val": " PublicTest", "test": "PrivateTest "}
    rows = [[f" {n}", usage, pixels(n)] for usage in usages.values() for n in range(7)]
    file = write_csv(tmp_path / name, header, rows, separator, start)
    for path in (tmp_path, file):
        assert sizes(f"fer2013:{path}") == {"train": 7, "val": 7, "test": 7}
        assert shown(load_dataset(f"fer2013:{path}", "val")) == dict(enumerate(EMOTIONS_7))


def test_fer2013_csv_without_labels_names_what_it_has(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "test.csv", ["pixels"], [[pixels(1)]])
    with pytest.raises(DatasetError, match=r"lacks the column\(s\) emotion, Usage\. It has pixels, and needs"):
        load_dataset(f"fer2013:{file}", "train")
    with pytest.raises(DatasetError, match=r"\(found: test\.csv\)\. Give the path of the CSV"):
        load_dataset(f"fer2013:{tmp_path}", "train")


@pytest.mark.parametrize(
    ("splits", "classes"),
    [
        (("train", "test"), EMOTIONS_7),
        (("Training", "Testing"), ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")),
        (("train", "test"), ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")),
        (("train", "test"), tuple("0123456")),
        (("train", "test"), tuple(f"{n}_{name}" for n, name in enumerate(EMOTIONS_7))),
        (("archive/train", "archive/test"), EMOTIONS_7),
        (("train/train", "test/test"), EMOTIONS_7),
    ],
)
def test_fer2013_as_folders(tmp_path: Path, splits: tuple[str, str], classes: tuple[str, ...]) -> None:
    tree(tmp_path, dict(zip(splits, (6, 2), strict=True)), classes)
    litter(tmp_path)
    assert sizes(f"fer2013:{tmp_path}") == {"train": 37, "val": 5, "test": 14}
    train, val, test = (load_dataset(f"fer2013:{tmp_path}", split) for split in ("train", "val", "test"))  # type: ignore[arg-type]
    assert shown(test) == shown(train) == dict(enumerate(EMOTIONS_7))
    assert not set(train.names) & set(val.names)


def test_fer2013_folders_of_usage(tmp_path: Path) -> None:
    tree(tmp_path, {"Training": 3, "PublicTest": 2, "PrivateTest": 1}, EMOTIONS_7)
    assert sizes(f"fer2013:{tmp_path}") == {"train": 21, "val": 14, "test": 7}


def test_ckextended(tmp_path: Path) -> None:
    rows = [[str(n), usage, pixels(n)] for usage in ("Training", "PublicTest", "PrivateTest") for n in range(8)]
    write_csv(tmp_path / "ckextended.csv", ["emotion", "Usage", "pixels"], rows)
    assert sizes(f"ckextended:{tmp_path}") == {"train": 8, "val": 8, "test": 8}
    assert shown(load_dataset(f"ckextended:{tmp_path}", "val")) == dict(enumerate(EMOTIONS_8))
    with pytest.raises(DatasetError, match=r"found: ckextended\.csv.*it is ckextended:PATH"):
        load_dataset(f"ckplus@1:{tmp_path}", "train")


# FER+

VOTED = [
    "9 0 0 0 0 0 0 0 0 1",
    "0 0 0 0 8 0 0 0 0 0",
    "0 0 0 0 0 0 0 9 0 0",
    "2 2 2 2 2 0 0 0 0 0",
    "0 0 0 0 0 0 0 0 0 9",
]


@pytest.mark.parametrize("form", ["csv", "images", "label files"])
def test_ferplus(tmp_path: Path, form: str) -> None:
    rows, by_pixels, count = [], [], 0
    for folder, usage in (("Train", "Training"), ("Valid", "PublicTest"), ("Test", "PrivateTest")):
        own = []
        for index, votes in enumerate(VOTED):
            name = f"fer{count:07}.png"
            rows.append([usage, name, *votes.split()])
            by_pixels.append(["6", usage, pixels(index)])
            own.append([name, "(0, 0, 48, 48)", *votes.split()])
            if form != "csv":
                image(tmp_path / "data" / f"FER2013{folder}" / name, index)
            count += 1
        if form == "label files":
            write_csv(tmp_path / "data" / f"FER2013{folder}" / "label.csv", own[0], own[1:])
    if form != "label files":
        write_csv(tmp_path / "data" / "fer2013new.csv", ["Usage", "Image name", *VOTES], [*rows])
    if form == "csv":
        write_csv(tmp_path / "data" / "icml_face_data.csv", ["emotion", " Usage", " pixels"], by_pixels)
    assert sizes(f"ferplus:{tmp_path}") == {"train": 3, "val": 3, "test": 3}
    val = load_dataset(f"ferplus:{tmp_path}", "val")
    assert shown(val) == {0: "neutral", 1: "angry", 2: "contempt"}
    assert val.soft_targets is not None


def test_ferplus_as_class_folders(tmp_path: Path) -> None:
    classes = ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "suprise")
    tree(tmp_path, {"train": 3, "validation": 2, "test": 1}, classes)
    assert sizes(f"ferplus:{tmp_path}") == {"train": 24, "val": 16, "test": 8}
    assert shown(load_dataset(f"ferplus:{tmp_path}", "val"))[7] == "surprise"


# AffectNet

AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")


def test_affectnet_numbered_folders(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 10, "val": 2}, tuple("01234567"))
    litter(tmp_path)
    assert sizes(f"affectnet8:{tmp_path}") == {"train": 72, "val": 8, "test": 16}
    assert shown(load_dataset(f"affectnet8:{tmp_path}", "test")) == dict(enumerate(AFFECTNET))
    assert sizes(f"affectnet7:{tmp_path}") == {"train": 63, "val": 7, "test": 14}
    tree(tmp_path, {"test": 1}, tuple("01234567"))
    assert sizes(f"affectnet8:{tmp_path}") == {"train": 80, "val": 16, "test": 8}


def test_numbers_that_begin_elsewhere_are_not_known(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 1, "val": 1}, tuple("12345678"))
    for dataset in ("affectnet8", "fer2013"):
        with pytest.raises(DatasetError, match=r"1 \(a class folder\): what the number means is not known"):
            load_dataset(f"{dataset}:{tmp_path}", "train")


def test_affectnet_annotations_in_other_case(tmp_path: Path) -> None:
    for name in ("Train_Set", "Val_Set"):
        (tmp_path / name / "Annotations").mkdir(parents=True)
        for index in range(20):
            image(tmp_path / name / "Images" / f"{index}.png", index % 10)
            np.save(tmp_path / name / "Annotations" / f"{index}_exp.npy", np.array(index % 10))
    assert sizes(f"affectnet8:{tmp_path}") == {"train": 14, "val": 2, "test": 16}


def test_affectnet_images_without_the_lists_are_no_classes(tmp_path: Path) -> None:
    tree(tmp_path / "Manually_Annotated", {"Manually_Annotated_Images": 1}, tuple("123"))
    with pytest.raises(DatasetError, match=r"neither training\.csv nor .*\(found: Manually_Annotated\)"):
        load_dataset(f"affectnet8:{tmp_path}", "train")


@pytest.mark.parametrize("dataset", ["affectnet8", "folder"])
@pytest.mark.parametrize("order", ["{split}/{kind}", "{kind}/{split}"])
def test_yolo(tmp_path: Path, dataset: str, order: str) -> None:
    root = tmp_path / "YOLO_format"
    for split in ("train", "valid", "test"):
        for value in range(8):
            image(root / order.format(split=split, kind="images") / f"{value}.png", value, side=96)
            file = root / order.format(split=split, kind="labels") / f"{value}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value} 0.5 0.25 0.5 0.5\n")
            (file.parent / "classes.txt").write_text("\n".join(KAGGLE_AFFECTNET))
    with pytest.raises(DatasetError, match=r"no data\.yaml, which names classes"):
        load_dataset(f"{dataset}:{tmp_path}", "train")
    (root / "data.yaml").write_text(f"train: ../train/images\nnc: 8\nnames: {list(KAGGLE_AFFECTNET)}\n")
    assert sizes(f"{dataset}:{tmp_path}") == {"train": 8, "val": 8, "test": 8}
    assert [shown(load_dataset(f"{dataset}:{tmp_path}", "val"))[n] for n in (0, 1, 7)] == [
        "angry",
        "contempt",
        "surprise",
    ]
    file.write_text("8 0.5 0.5 1 1\n")
    with pytest.raises(DatasetError, match=r"7\.txt, line 1: '8 0\.5 .*' is no class \(0, 1, 2, 3, 4, 5, 6, 7\)"):
        load_dataset(f"{dataset}:{tmp_path}", "test")


@pytest.mark.parametrize(
    ("names", "shown_as"),
    [
        ("{1: anger, 2: disgust, 3: fear}", {1: "angry", 2: "disgust", 3: "fear"}),
        ("{2: fear, 0: anger, 1: disgust}", {0: "angry", 1: "disgust", 2: "fear"}),
    ],
)
def test_yolo_classes_are_by_their_numbers(tmp_path: Path, names: str, shown_as: dict[int, str]) -> None:
    (tmp_path / "data.yaml").write_text(f"names: {names}\n")
    for value in shown_as:
        image(tmp_path / "test" / "images" / f"{value}.png", value, side=96)
        file = tmp_path / "test" / "labels" / f"{value}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"\ufeff{value} 0.5 0.5 1 1\n".encode())
    assert shown(load_dataset(f"folder:{tmp_path}", "test")) == shown_as
    file.write_text("-1 0.5 0.5 1 1\n")
    with pytest.raises(DatasetError, match=r"'-1 0\.5 .*' is no class"):
        load_dataset(f"folder:{tmp_path}", "test")
    file.write_bytes("1 0.5 0.5 1 1\n".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"cannot be read .* Write it in UTF-8"):
        load_dataset(f"folder:{tmp_path}", "test")


# RAF-DB

RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")


def test_rafdb_numbered_folders(tmp_path: Path) -> None:
    tree(tmp_path / "DATASET", {"train": 10, "test": 2}, tuple("1234567"))
    write_csv(tmp_path / "train_labels.csv", ["image", "label"], [["train_0.png", "1"]])
    assert sizes(f"rafdb:{tmp_path}") == {"train": 63, "val": 7, "test": 14}
    assert shown(load_dataset(f"rafdb:{tmp_path}", "test")) == dict(enumerate(RAFDB))
    image(tmp_path / "DATASET" / "train" / "0" / "a.png")
    with pytest.raises(DatasetError, match=r"/1 \(a class folder\): what the number means is not known"):
        load_dataset(f"rafdb:{tmp_path}", "test")


@pytest.mark.parametrize(
    ("root", "file", "ending"),
    [
        ("raf-basic", "EmoLabel/list_partition_label.txt", ""),
        ("basic", "list_patition_label.txt", "_aligned"),
        ("RAF-DB/basic", "emolabel/list_patition_label.txt", ""),
    ],
)
def test_rafdb_spellings(tmp_path: Path, root: str, file: str, ending: str) -> None:
    rows = []
    for split, count in (("train", 20), ("test", 7)):
        for index in range(count):
            image(tmp_path / root / "Image" / "aligned" / f"{split}_{index:05}_aligned.jpg", index % 7)
            rows.append(f"{split}_{index:05}{ending}.jpg {index % 7 + 1}")
    (tmp_path / root / file).parent.mkdir(exist_ok=True)
    (tmp_path / root / file).write_text("\ufeff" + "\n".join(rows), encoding="utf-8")
    assert sizes(f"rafdb:{tmp_path}") == {"train": 18, "val": 2, "test": 7}
    assert list(load_dataset(f"rafdb:{tmp_path}", "test").targets) == [EMOTIONS_7.index(name) for name in RAFDB]


# CK+


def test_ck48(tmp_path: Path) -> None:
    classes = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
    for index in range(12):
        for frame in (17, 18, 19):
            image(tmp_path / "CK+48" / classes[index % 7] / f"S{10 + index:03}_004_000000{frame}.png", index % 7)
    assert sizes(f"ckplus@1:{tmp_path}") == {"train": 24, "val": 6, "test": 6}
    test = load_dataset(f"ckplus@1:{tmp_path}", "test")
    assert set(test.groups["subject"]) == {"S010", "S020"}
    assert shown(test) == {0: "angry", 3: "fear"}
    image(tmp_path / "CK+48" / "anger" / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png: the name does not begin with a subject"):
        load_dataset(f"ckplus@1:{tmp_path}", "test")


def test_ckplus_in_nested_folders(tmp_path: Path) -> None:
    for index in range(11):
        here = f"S{10 + index:03}/001"
        for frame in range(1, 6):
            folder = tmp_path / "extended-cohn-kanade-images" / "cohn-kanade-images" / here
            image(folder / f"{here.replace('/', '_')}_{frame:08}.png", frame)
        label = tmp_path / "Emotion_labels" / "Emotion" / here / f"{here.replace('/', '_')}_00000005_emotion.txt"
        label.parent.mkdir(parents=True)
        label.write_text("   5.0000000e+00\n")
    litter(tmp_path)
    assert sizes(f"ckplus@1:{tmp_path}") == {"train": 32, "val": 4, "test": 8}


# Class folders


@pytest.mark.parametrize("names", [("Train", "Valid", "Testing"), ("training", "dev", "test_set")])
def test_folder_with_other_words_for_splits(tmp_path: Path, names: tuple[str, str, str]) -> None:
    tree(tmp_path / "images", dict(zip(names, (3, 2, 1), strict=True)), EMOTIONS_7)
    litter(tmp_path)
    assert sizes(f"folder:{tmp_path}") == {"train": 21, "val": 14, "test": 7}


def test_folder_with_images_deeper_inside(tmp_path: Path) -> None:
    tree(tmp_path, {"": 20}, ("angry", "happy/happy", "sad/person 1"))
    assert sizes(f"folder:{tmp_path}") == {"train": 48, "val": 6, "test": 6}
    assert shown(load_dataset(f"folder:{tmp_path}", "train")) == {0: "angry", 1: "happy", 2: "sad"}
    image(tmp_path / "sad" / "train" / "a.png")
    with pytest.raises(
        DatasetError, match=r"a folder 'train' lies inside the class folder .*sad\. Put folders of splits"
    ):
        load_dataset(f"folder:{tmp_path}", "train")
    (tmp_path / "sad" / "train").rename(tmp_path / "sad" / "fear")
    with pytest.raises(DatasetError, match=r"a folder 'fear' lies inside the class folder"):
        load_dataset(f"folder:{tmp_path}", "train")


def test_folder_does_not_guess(tmp_path: Path) -> None:
    tree(tmp_path / "a", {"train": 1}, tuple("0123456"))
    with pytest.raises(DatasetError, match=r"what the number means is not known\. Name the folder .* fer2013"):
        load_dataset(f"folder:{tmp_path / 'a'}", "train")
    tree(tmp_path / "b", {"train": 1, "val": 1, "validation": 1}, EMOTIONS_7)
    with pytest.raises(DatasetError, match=r"'val' and 'validation' both mean the split 'val'\. Rename or move one"):
        load_dataset(f"folder:{tmp_path / 'b'}", "train")
    tree(tmp_path / "c", {"val": 1, "test": 1}, EMOTIONS_7)
    with pytest.raises(DatasetError, match=r"no folder of the split 'train', but of test, val\..*\(found: test, val\)"):
        load_dataset(f"folder:{tmp_path / 'c'}", "train")


def test_images_in_no_folder_of_an_emotion(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 2}, EMOTIONS_7)
    image(tmp_path / "test" / "1.png")
    image(tmp_path / "flat" / "train" / "1.png")
    for dataset in ("folder", "fer2013"):
        with pytest.raises(DatasetError, match=r"test: holds no image of .*'test' in .*\(found: 1\.png\)\. Put"):
            load_dataset(f"{dataset}:{tmp_path}", "test")
        for split in ("train", "val"):
            with pytest.raises(
                DatasetError, match=rf"train: holds no image of the split '{split}' .*\(found: 1\.png\)"
            ):
                load_dataset(f"{dataset}:{tmp_path / 'flat'}", split)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["unknown", "None", "no-face", "NF"])
def test_images_without_an_emotion_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, word: str) -> None:
    caplog.set_level("INFO")
    tree(tmp_path, {"train": 2, "val": 2}, (*EMOTIONS_7, word))
    rows = [[f"val/{name}/val_0.png", name, "val"] for name in (*EMOTIONS_7, word)]
    write_csv(tmp_path / "labels.csv", ["image", "emotion", "split"], [*rows, ["val/sad/val_1.png", "", "val"]])
    for dataset, kept in (("folder", 14), ("fer2013", 14), ("manifest", 7)):
        assert len(load_dataset(f"{dataset}:{tmp_path}", "val")) == kept
    left_out = {"folder": 4, "fer2013": 4, "manifest": 2}  # of folders, in all splits
    said = [f"{name}: {count} images that show none of the labels are left out" for name, count in left_out.items()]
    assert [message for message in caplog.messages if "left out" in message] == said


def test_manifest_as_spreadsheets_write_it(tmp_path: Path) -> None:
    for name in "abcd":
        image(tmp_path / f"{name}.png")
    rows = [["a.png ", " Anger", "Training", "old"], ["b.png", "fear", "Validation", ""], ["c.png", "sad", "TEST", "x"]]
    write_csv(tmp_path / "Labels.csv", ["Image ", "EMOTION", " split", "age"], rows, ";", "\ufeff")
    samples = [load_dataset(f"manifest:{tmp_path}", split) for split in ("train", "val", "test")]  # type: ignore[arg-type]
    assert [Counter(each.labels[t] for t in each.targets) for each in samples] == [
        {"angry": 1},
        {"fear": 1},
        {"sad": 1},
    ]
    assert samples[0].groups == {"age": ["old"]}


def test_an_image_with_two_labels_and_one_in_two_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for value in range(4):
        image(tmp_path / f"{value}.png", value)
    rows = [["0.png", "happy", "train"], ["1.png", "N/A", "train"], ["2.png", "sad", "train"]]
    rows += [["2.png", "sad", "test"], ["3.png", "fear", "test"]]
    write_csv(tmp_path / "labels.csv", ["image", "emotion", "split"], rows)
    assert len(load_dataset(f"manifest:{tmp_path}", "test")) == 2
    assert "1 images are in several splits: 2.png" in caplog.text
    write_csv(tmp_path / "labels.csv", ["image", "emotion", "split"], [*rows, ["./3.png", "happy", "test"]])
    with pytest.raises(DatasetError, match=r"line 6 and .*line 7: .*3\.png has two labels\. Delete one"):
        load_dataset(f"manifest:{tmp_path}", "test")
    write_csv(tmp_path / "labels.csv", ["image", "emotion", "split", "Emotion"], [[*row, "sad"] for row in rows])
    with pytest.raises(DatasetError, match=r"has several columns emotion\. Keep one"):
        load_dataset(f"manifest:{tmp_path}", "test")


def test_labels_whose_images_all_have_other_names(tmp_path: Path) -> None:
    write_csv(tmp_path / "labels.csv", ["image", "emotion", "split"], [["a/0.jpg", "sad", "test"]] * 2)
    with pytest.raises(
        DatasetError, match=r"1 more of 2 images are\. None is there: compare names, endings and folders"
    ):
        load_dataset(f"manifest:{tmp_path}", "test")
