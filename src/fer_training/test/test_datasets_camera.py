"""The camera model: what it draws, and that it draws it once."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_perception.errors import FerError
from fer_perception.preprocessing.normalization import InputSpec
from fer_training.datasets import Alignment, dataset_name, load_dataset, load_unlabelled
from fer_training.datasets.derived import camera
from fer_training.datasets.derived.camera import camera_views, through_camera
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.runs.config import load_config
from fer_training.training.supervised import LabelledImages, Supervision, prepared

SPEC = InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25])
NAMES = [f"fer2013.csv:{line}" for line in range(300)]


def face(seed: int = 0, colours: int = 0) -> np.ndarray:
    """Smooth, as faces are; neither black nor white."""
    shape = (6, 6, colours) if colours else (6, 6)
    return cv2.resize(np.random.default_rng(seed).integers(40, 200, shape, np.uint8), (48, 48))


def test_each_image_is_drawn_once_by_its_name() -> None:
    images = [face(seed) for seed in range(6)]
    first = camera_views(images, NAMES[:6])
    again = camera_views(images[::-1], NAMES[:6][::-1])[::-1]  # whatever else is there, in whatever order
    for one, other, image in zip(first, again, images, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one != image).any()
    same = camera_views([images[0]] * 4, NAMES[:4])
    assert len({image.tobytes() for image in same}) == 4  # parameters are the image's own
    views = [camera_views(images[:1], NAMES[:1], view)[0] for view in range(4)]
    np.testing.assert_array_equal(views[0], first[0])
    assert len({image.tobytes() for image in views}) == 4


@pytest.mark.parametrize(("side", "colours"), [(48, 0), (48, 3), (64, 0), (32, 3)])
def test_what_comes_out_is_grey_and_of_the_size_of_the_crop(side: int, colours: int) -> None:
    grey = cv2.resize(face(), (side, side))
    image = np.stack([grey, grey // 2, grey // 3], 2) if colours else grey
    alike = []
    for seed in range(20):
        seen = through_camera(image, np.random.default_rng(seed))
        assert seen.shape == (side, side)
        assert seen.dtype == np.uint8
        alike.append(np.corrcoef(seen.ravel(), grey.ravel())[0, 1])
    assert np.mean(alike) > 0.6  # it is still that face


def test_light_stays_within_gamma_and_gain() -> None:
    seen = np.array([image.mean() for image in camera_views([np.full((48, 48), 128, np.uint8)] * 300, NAMES)])
    (least, most), (gain_least, gain_most) = camera.GAMMA, camera.GAIN
    darkest, brightest = 255 * 0.5**most * gain_least, 255 * 0.5**least * gain_most
    assert darkest - 4 < seen.min() < darkest + 15
    assert brightest - 30 < seen.max() < brightest + 4
    assert 100 < np.median(seen) < 140


def test_noise_is_bounded_and_grows_with_the_light() -> None:
    for value, bound in ((0, camera.NOISE * math.sqrt(0.3)), (128, camera.NOISE * math.sqrt(1.3))):
        deviations = [image.std() / 255 for image in camera_views([np.full((48, 48), value, np.uint8)] * 100, NAMES)]
        assert max(deviations) < bound * 1.2
        assert min(deviations) < 0.2 * bound
    assert through_camera(np.zeros((48, 48), np.uint8), np.random.default_rng(0)).mean() < 20


def test_grey_is_made_by_weights_around_the_usual_ones() -> None:
    grey = np.full((8, 8, 3), 90, np.uint8)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    values = []
    for seed in range(100):
        np.testing.assert_allclose(camera._grey(grey, np.random.default_rng(seed)), 90, atol=1)
        values.append(camera._grey(red, np.random.default_rng(seed)).mean() / 200)
    lowest = 0.5 * 0.299 / (0.5 * 0.299 + 1.5 * 0.701)
    assert lowest < min(values) < 0.2
    assert 0.4 < max(values) < 1.5 * 0.299 / (1.5 * 0.299 + 0.5 * 0.701)
    assert np.mean(values) == pytest.approx(0.299, abs=0.03)


@pytest.mark.parametrize("length", [0.0, 1.0, 2.5, 7.2])
@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, 3.0])
def test_motion_is_a_line_of_its_length(length: float, angle: float) -> None:
    kernel = camera._motion(length, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel.min() >= 0
    rows, columns = np.mgrid[: len(kernel), : len(kernel)] - len(kernel) // 2
    along, across = (
        columns * math.cos(angle) + rows * math.sin(angle),
        rows * math.cos(angle) - columns * math.sin(angle),
    )
    assert (kernel * along).sum() == pytest.approx(0, abs=1e-4)  # the face stays where it is
    assert (kernel * across**2).sum() < 0.4  # of a line between pixels
    assert (kernel * along**2).sum() == pytest.approx(length**2 / 12, abs=0.1 * length + 0.2)  # of a uniform line


def test_a_dataset_through_the_camera(fer2013: Path) -> None:
    plain, seen = (load_dataset(f"{prefix}fer2013:{fer2013}", "val") for prefix in ("", "camera/"))
    assert seen.dataset == "camera/fer2013"
    assert (seen.names, seen.labels, seen.split) == (plain.names, plain.labels, plain.split)
    np.testing.assert_array_equal(seen.targets, plain.targets)
    for image, name, expected in zip(plain.images, plain.names, seen.images, strict=True):
        np.testing.assert_array_equal(camera_views([image], [name])[0], expected)
    assert load_dataset(f"camera/fer2013:{fer2013}", "val").fingerprint() == seen.fingerprint() != plain.fingerprint()


def test_photographs_are_cut_in_colour_first(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), cv2.resize(face(colours=3), (120, 120)))
    (tmp_path / "labels.csv").write_text("image,emotion,split\na.png,anger,adapt\na.png,anger,test\n")
    alignment = Alignment(FER2013_TEMPLATE, SPEC)
    (cut,) = load_dataset(f"manifest:{tmp_path}", "adapt", alignment.in_colour()).images
    assert cut.shape == (48, 48, 3)
    (seen,) = load_unlabelled(f"camera/manifest:{tmp_path}", alignment).images
    np.testing.assert_array_equal(seen, camera_views([cut], ["a.png"])[0])


def test_unlabelled_images_are_those_of_adapt_or_val(fer2013: Path, voted: Path, tmp_path: Path) -> None:
    alignment = Alignment(FER2013_TEMPLATE, SPEC)
    for name, folder in (("fer2013", fer2013), ("camera/ferplus+fer2013", voted)):
        assert load_unlabelled(f"{name}:{folder}", alignment).split == "val"
    names = ("fer2013:a:b", "camera/fer2013:a", "ferplus+fer2013:a", "camera/ferplus+fer2013:a", "ckplus@3:a")
    found = ["fer2013", "fer2013", "ferplus+fer2013", "ferplus+fer2013", "ckplus@3"]
    assert [dataset_name(name) for name in names] == found
    with pytest.raises(FerError, match="only a manifest has a split 'adapt'"):
        load_dataset(f"camera/fer2013:{fer2013}", "adapt")


def test_half_of_the_training_images_come_through_the_camera(config_file: Path) -> None:
    data = LabelledImages(load_config(config_file, ["augmentation.camera_views=3"]))
    assert data.camera.shape == (3, 70, 48, 48, 1)
    assert data.camera.dtype == torch.uint8
    for view in range(3):
        expected = camera_views(data.samples.images, data.samples.names, view)
        np.testing.assert_array_equal(data.camera[view, ..., 0].numpy(), np.stack(expected))
    # An image tells by its brightness where it is from, and which one it is.
    data.images = torch.arange(70, dtype=torch.uint8)[:, None, None, None].expand(-1, 48, 48, 1)
    data.camera = torch.stack([data.images + 70 * (view + 1) for view in range(3)]) % 255
    torch.manual_seed(0)
    picked = torch.arange(600) % 70
    values = ((data.pick(picked)[:, 0, 0, 0] * 0.25 + 0.5) * 255).round().long()
    sources = torch.stack([picked, *((picked + 70 * (view + 1)) % 255 for view in range(3))])
    unique = (picked + 210) < 255  # the last view's brightness is not that of a plain image
    found = (values == sources)[:, unique]
    assert (found.sum(0) == 1).all()
    assert found.float().mean(1)[0] == pytest.approx(0.5, abs=0.08)
    assert found.float().mean(1)[1:].tolist() == pytest.approx([1 / 6] * 3, abs=0.06)


def test_without_views_images_are_as_they_are(config_file: Path) -> None:
    config = load_config(config_file)
    with prepared(config) as group:
        task = Supervision(config, group)
    torch.manual_seed(0)
    before = task.data.pick(torch.arange(5))
    torch.testing.assert_close(before, task.data.pick(torch.arange(5)))
    with pytest.raises(FerError, match=r"augmentation\.camera_views cannot be -1"):
        load_config(config_file, ["augmentation.camera_views=-1"])
