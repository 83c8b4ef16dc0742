import logging

import cv2
import numpy as np
import pytest

from fer_perception.labels import EMOTIONS_7
from fer_perception.types import UInt8Image
from fer_training.datasets import Samples, Split
from fer_training.datasets.duplicates import find_duplicates, report_duplicates


def samples(split: Split, images: list[UInt8Image]) -> Samples:
    names = [f"{split}/{index}.png" for index in range(len(images))]
    return Samples("test", split, EMOTIONS_7, images, np.zeros(len(images), np.int64), names)


@pytest.fixture(scope="module")
def images() -> list[UInt8Image]:
    """Smooth random images, as different as they can be."""
    rng = np.random.default_rng(0)
    return [
        cv2.resize(rng.integers(0, 256, (6, 6), np.uint8), (48, 48), interpolation=cv2.INTER_CUBIC) for _ in range(300)
    ]


def test_changed_copies_are_found(images: list[UInt8Image], caplog: pytest.LogCaptureFixture) -> None:
    encoded = cv2.imencode(".jpg", images[5], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    copies = [
        cv2.resize(images[3], (96, 96)),
        cv2.imdecode(encoded, cv2.IMREAD_COLOR),
        images[290],
    ]
    train, test = samples("train", images), samples("test", [*images[:2], *copies])
    unique = samples("train", images[10:280])
    pairs = find_duplicates(train, test)
    assert {(pair.first, pair.second) for pair in pairs} == {(0, 0), (1, 1), (3, 2), (5, 3), (290, 4)}
    assert pairs[0].distance == 0
    assert (pairs[0].first_name, pairs[0].second_name) == ("train/0.png", "test/0.png")
    assert [pair.distance for pair in pairs] == sorted(pair.distance for pair in pairs)

    with caplog.at_level(logging.INFO):
        assert report_duplicates(unique, test) == []
        assert "0 of 5 images of test test have a near-duplicate in test train" in caplog.text
        report_duplicates(train, test, examples=1)
    assert "5 of 5 images" in caplog.text
    assert caplog.text.count("is like") == 1


def test_other_pictures_are_not_found(images: list[UInt8Image]) -> None:
    assert find_duplicates(samples("train", images[:150]), samples("test", images[150:])) == []
    assert find_duplicates(samples("train", []), samples("test", images[:3])) == []
