"""Faces of photographs: found, aligned, remembered."""

import csv
import logging
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.faces.finder import FaceFinder, open_finder
from fer_perception.models import shipped
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_detector_model, resolve_model
from fer_perception.pipeline import FacePipeline
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.preprocessing.normalization import InputSpec
from fer_perception.types import UInt8Image
from fer_training.datasets import Alignment, DatasetError, load_dataset
from fer_training.datasets.keypoints import cache_name
from fer_training.datasets.photographs import read_image

TEMPLATE = AlignmentTemplate(right_eye=(0.315, 0.395), left_eye=(0.685, 0.395), mouth=(0.5, 0.78))
RGB = Alignment(TEMPLATE, InputSpec(width=64, height=64, color="rgb", mean=[0.5] * 3, std=[0.5] * 3))
GREY = Alignment(TEMPLATE, InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.5]))
FACE = (170, 60, 110, 120)  # of the astronaut's portrait


@pytest.fixture(scope="module")
def portrait() -> UInt8Image:
    from skimage.data import astronaut

    return np.asarray(astronaut())


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of all images in which faces are looked for."""
    shapes: list[tuple[int, ...]] = []
    find: Callable[..., object] = FaceFinder.find

    def counting(finder: FaceFinder, image: UInt8Image) -> object:
        shapes.append(image.shape)
        return find(finder, image)

    monkeypatch.setattr(FaceFinder, "find", counting)
    return shapes


def save(file: Path, image: UInt8Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


@pytest.fixture
def tree(tmp_path: Path, portrait: UInt8Image) -> Path:
    """One face, once as it is and once in a part of the image, and an image of none."""
    save(tmp_path / "test" / "happy" / "a.png", portrait)
    save(tmp_path / "test" / "happy" / "b.png", portrait[:400, 40:440])
    save(tmp_path / "test" / "sad" / "wall.png", np.full((60, 80, 3), (200, 100, 50), np.uint8))
    return tmp_path


def test_faces_are_aligned_and_missing_ones_counted(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = load_dataset(f"folder:{tree}", "test", RGB)
    assert [image.shape for image in samples.images] == [(64, 64, 3)] * 3
    first, second, wall = (image.astype(int) for image in samples.images)
    assert np.abs(first - second).mean() < 0.4 * np.abs(first - wall).mean()  # the same face at the same place
    np.testing.assert_array_equal(wall[0, 0], (200, 100, 50))
    assert "no face found in 1 of 3 images, e.g. test/sad/wall.png" in caplog.text

    grey = load_dataset(f"folder:{tree}", "test", GREY)
    assert [image.shape for image in grey.images] == [(48, 48)] * 3
    assert load_dataset(f"folder:{tree}", "test").images[0].shape == (512, 512, 3)


def test_crops_are_those_that_the_robot_makes(tree: Path, portrait: UInt8Image) -> None:
    manifest = Bundle(resolve_model("")).manifest
    pipeline = FacePipeline(open_finder(), manifest)
    crops = pipeline.process(portrait, 0.0).crops
    pipeline.close()
    samples = load_dataset(f"folder:{tree}", "test", Alignment(manifest.alignment, manifest.input))
    np.testing.assert_array_equal(samples.images[0], crops[0])


def test_faces_are_looked_for_once(tree: Path, searches: list[tuple[int, ...]]) -> None:
    first = load_dataset(f"folder:{tree}", "test", RGB)
    assert len(searches) >= 3
    searches.clear()
    with open(tree / cache_name(), newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"test/happy/a.png", "test/happy/b.png", "test/sad/wall.png"}
    assert 180 < float(rows["test/happy/a.png"]["right_eye_x"]) < 230
    assert rows["test/sad/wall.png"]["right_eye_x"] == ""

    assert load_dataset(f"folder:{tree}", "test", RGB).fingerprint() == first.fingerprint()
    assert not searches
    changed = tree / "test" / "happy" / "a.png"
    os.utime(changed, ns=(0, 10**9))
    load_dataset(f"folder:{tree}", "test", RGB)
    assert searches == [(512, 512, 3)]


def test_another_detector_has_another_cache(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if resolve_detector_model("") is None:
        pytest.skip("YuNet was not fetched: set FER_MODELS to a folder that has it, and make setup")
    load_dataset(f"folder:{tree}", "test", RGB)
    known = cache_name()
    monkeypatch.setattr(shipped, "DETECTOR_MODEL", "never_fetched.onnx")
    assert cache_name() == "keypoints-blazeface.csv"
    load_dataset(f"folder:{tree}", "test", RGB)
    points = []
    for name in (known, cache_name()):
        with open(tree / name, newline="") as stream:
            points.append(next(float(row["mouth_x"]) for row in csv.DictReader(stream)))
    assert points[0] != points[1]


def test_a_damaged_cache_is_made_again(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = load_dataset(f"folder:{tree}", "test", RGB)
    for damage in ("file,size\nx,1\n", "a,b\nx,1,2,,one,2,3,4,5,6\n", "a\nx,1,2,,1,2,3\n"):
        (tree / cache_name()).write_text(damage)
        caplog.clear()
        assert load_dataset(f"folder:{tree}", "test", RGB).fingerprint() == first.fingerprint()
        assert "cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_gives_one_warning(
    tree: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions do not stop the superuser, as which tests may run.
    def refuse(*arguments: object, **keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    with caplog.at_level(logging.WARNING):
        assert len(load_dataset(f"folder:{tree}", "test", RGB)) == 3
    assert caplog.text.count("cannot be written (Permission denied)") == 1
    assert [file.name for file in tree.iterdir()] == ["test"]


def test_a_damaged_picture_is_named_and_found_points_are_kept(tree: Path) -> None:
    broken = tree / "test" / "surprise" / "broken.png"
    broken.parent.mkdir()
    content = (tree / "test" / "happy" / "a.png").read_bytes()
    for damage in (content[: len(content) // 2], b"no image", b""):
        broken.write_bytes(damage)
        with pytest.raises(DatasetError, match=r"broken\.png: not a readable image.*Delete or replace it"):
            load_dataset(f"folder:{tree}", "test", RGB)
    assert "test/happy/a.png" in (tree / cache_name()).read_text()


def test_the_annotated_box_says_which_face(tmp_path: Path, portrait: UInt8Image) -> None:
    two = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    finder_boxes = {"left": FACE, "right": (1024 - FACE[0] - FACE[2], *FACE[1:])}
    root = tmp_path / "basic"
    rows = ""
    for index, (x, y, width, height) in enumerate(finder_boxes.values()):
        save(root / "Image" / "original" / f"test_000{index}.jpg", two)
        box = root / "Annotation" / "boundingbox" / f"test_000{index}_boundingbox.txt"
        box.parent.mkdir(parents=True, exist_ok=True)
        box.write_text(f"{x} {y} {x + width} {y + height}")
        rows += f"test_000{index}.jpg 4\n"
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text(rows)
    left, right = load_dataset(f"rafdb:{tmp_path}", "test", RGB).images
    assert np.abs(left.astype(int) - right[:, ::-1]).mean() < 0.7 * np.abs(left.astype(int) - right).mean()
    with open(root / cache_name(), newline="") as stream:
        eyes = [float(row["left_eye_x"]) for row in csv.DictReader(stream)]
    assert eyes[0] < 512 < eyes[1]


def test_exif_orientation(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(np.asarray([[[255, 0, 0], [0, 0, 255]]] * 8, np.uint8).repeat(8, axis=1))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    (tmp_path / "test" / "fear").mkdir(parents=True)
    image.save(tmp_path / "test" / "fear" / "a.png", exif=exif)
    assert load_dataset(f"folder:{tmp_path}", "test").images[0].shape == (16, 8, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_images_of_16_bits_are_read_by_the_bits_that_they_use(tmp_path: Path, suffix: str, bits: int) -> None:
    grey = np.tile(np.arange(256, dtype=np.uint16), (100, 1))
    file = tmp_path / f"infrared{suffix}"
    cv2.imwrite(str(file), grey << (bits - 8))
    np.testing.assert_array_equal(read_image(file, "list"), np.dstack([grey] * 3))
