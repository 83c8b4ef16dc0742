import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7
from fer_training.datasets import DatasetError, Samples, load_dataset
from fer_training.datasets.fer2013 import read_grey


@pytest.mark.parametrize(("split", "count"), [("train", 70), ("val", 35), ("test", 35)])
def test_official_csv(fer2013: Path, split: str, count: int) -> None:
    for path in (fer2013, fer2013 / "fer2013.csv"):
        samples = load_dataset(f"fer2013:{path}", split)  # type: ignore[arg-type]
        assert len(samples) == count
        assert samples.labels == EMOTIONS_7
        assert samples.images[0].shape == (48, 48)
        assert samples.images[0].dtype == np.uint8
        assert samples.targets[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
        assert samples.names[0] == f"fer2013.csv:{ {'train': 2, 'val': 72, 'test': 107}[split] }"
        assert (samples.soft_targets, samples.groups) == (None, {})


def test_class_folders_give_the_same_samples_as_the_csv(fer2013: Path, tmp_path: Path) -> None:
    from_csv = load_dataset(f"fer2013:{fer2013}", "val")
    order = np.argsort([f"{EMOTIONS_7[t]}/{i:05}" for i, t in enumerate(from_csv.targets)])
    for index, (image, target) in enumerate(zip(from_csv.images, from_csv.targets, strict=True)):
        folder = tmp_path / "val" / EMOTIONS_7[target]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index:05}.png"), image)
    from_folders = load_dataset(f"fer2013:{tmp_path}", "val")
    assert from_folders.names[0] == "val/angry/00000.png"
    assert from_folders.targets.tolist() == from_csv.targets[order].tolist()
    for image, index in zip(from_folders.images, order, strict=True):
        np.testing.assert_array_equal(image, from_csv.images[index])


def write_csv(folder: Path, rows: list[list[str]], header: tuple[str, ...] = ("emotion", "pixels", "Usage")) -> Path:
    file = folder / "fer2013.csv"
    with open(file, "w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


GOOD = " ".join(["7"] * 2304)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["3", " ".join(["7"] * 2303), "Training"], r"line 3: 2303 pixels where 2304 are expected"),
        (["3", "", "Training"], r"line 3: 0 pixels"),
        (["3", GOOD.replace("7", "x", 1), "Training"], r"line 3: a pixel is not a whole number"),
        (["3", GOOD.replace("7", "256", 1), "Training"], r"line 3: a pixel lies outside 0 to 255"),
        (["3", GOOD.replace("7", "-1", 1), "Training"], r"line 3: a pixel lies outside 0 to 255"),
        (["7", GOOD, "Training"], r"line 3: emotion is '7', expected 0 to 6"),
        (["happy", GOOD, "Training"], r"line 3: emotion is 'happy'"),
        (["3", GOOD, "Trainin"], r"line 3: Usage is 'Trainin'"),
        (["3"], r"line 3: Usage is 'None'"),
    ],
)
def test_bad_rows_name_file_line_and_remedy(tmp_path: Path, row: list[str], message: str) -> None:
    file = write_csv(tmp_path, [["0", GOOD, "Training"], row])
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(f"fer2013:{file}", "train")
    assert str(file) in str(caught.value)


def test_missing_column_and_missing_split(tmp_path: Path) -> None:
    file = write_csv(tmp_path, [], header=("emotion", "pixels"))
    with pytest.raises(DatasetError, match=r"lacks the column\(s\) Usage"):
        load_dataset(f"fer2013:{file}", "train")
    write_csv(tmp_path, [["0", GOOD, "Training"]])
    with pytest.raises(DatasetError, match="no image of the split 'val' \\(PublicTest"):
        load_dataset(f"fer2013:{file}", "val")


def test_nothing_there_and_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither fer2013\.csv nor .* nor a folder 'train' .*\(nothing is there\)"):
        load_dataset(f"fer2013:{tmp_path / 'nowhere'}", "train")
    with pytest.raises(FerError, match="write NAME:PATH with NAME one of fer2013"):
        load_dataset(f"imagenet:{tmp_path}", "train")


def test_unknown_folder_and_broken_image(tmp_path: Path) -> None:
    (tmp_path / "train" / "smirk").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"smirk \(a class folder\): emotion is 'smirk'\. Write one of angry"):
        load_dataset(f"fer2013:{tmp_path}", "train")
    (tmp_path / "train" / "smirk").rename(tmp_path / "train" / "happy")
    for name in "ab":
        (tmp_path / "train" / "happy" / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"[ab]\.png: not a readable image"):
        load_dataset(f"fer2013:{tmp_path}", "train")


@pytest.mark.parametrize("dataset", ["fer2013", "ferplus", "folder"])
def test_a_truncated_photograph_is_refused_by_name(tmp_path: Path, dataset: str) -> None:
    folder = tmp_path / "train" / "happy"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    for name in "ab":
        Image.fromarray(noise).save(folder / f"{name}.jpg")
    assert np.abs(read_grey(folder / "a.jpg").astype(int) - noise).mean() < 30
    for name in "ab":
        content = (folder / f"{name}.jpg").read_bytes()
        (folder / f"{name}.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"[ab]\.jpg: not a readable image .*truncated.* Delete or replace it"):
        load_dataset(f"{dataset}:{tmp_path}", "train")


def test_fingerprint_tells_data_apart(fer2013: Path) -> None:
    train, val = (load_dataset(f"fer2013:{fer2013}", split) for split in ("train", "val"))  # type: ignore[arg-type]
    again = load_dataset(f"fer2013:{fer2013}", "train")
    assert train.fingerprint() == again.fingerprint() != val.fingerprint()
    again.targets[0] += 1
    assert train.fingerprint() != again.fingerprint()


def test_fingerprint_stays_what_manifests_of_bundles_hold() -> None:
    images = [np.arange(12, dtype=np.uint8).reshape(shape) for shape in ((3, 4), (2, 2, 3))]
    samples = Samples("fer2013", "val", EMOTIONS_7, images, np.array([3, 6]))
    assert samples.fingerprint() == "3c43db56aa329076aa38a768f552f3ba02d377a2ac229e44eb11e958e6809605"
