import csv
from pathlib import Path

import numpy as np
import pytest

from fer_perception.labels import EMOTIONS_8
from fer_training.datasets import DatasetError, load_dataset

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
HEADER = ("Usage", "Image name", *VOTES)


def write(folder: Path, votes: list[str], usage: str = "Training") -> None:
    with open(folder / "fer2013.csv", "w", newline="") as stream:
        csv.writer(stream).writerows(
            [["emotion", "pixels", "Usage"], *(["0", " ".join([str(i)] * 2304), usage] for i in range(len(votes)))]
        )
    with open(folder / "fer2013new.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *([usage, f"{i}.png", *row.split()] for i, row in enumerate(votes))])


def test_majority_rule_of_the_reference_code(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            "0 0 0 0 9 1 0 0 0 0",  # angry; the single vote is taken back
            "0 6 2 0 0 0 0 0 2 0",  # happy with more than half
            "5 5 0 0 0 0 0 0 0 0",  # half is not more than half
            "0 0 0 0 0 0 0 0 1 9",  # no face
            "0 0 0 4 0 0 0 0 6 0",  # unknown
            "1 1 1 1 1 1 1 1 1 1",  # nothing left
            "0 0 1 1 1 0 1 4 1 1",  # contempt: the only one left
            "4 0 0 0 0 0 0 0 3 3",  # of the ten votes less than half
        ],
    )
    samples = load_dataset(f"ferplus:{tmp_path}", "train")
    assert samples.labels == EMOTIONS_8
    assert samples.names == ["fer2013.csv:2", "fer2013.csv:3", "fer2013.csv:8"]
    assert [samples.labels[target] for target in samples.targets] == ["angry", "happy", "contempt"]
    assert [int(image[0, 0]) for image in samples.images] == [0, 1, 6]
    assert samples.soft_targets is not None
    assert (samples.soft_targets.dtype, samples.targets.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(samples.soft_targets.sum(axis=1), 1)
    np.testing.assert_array_equal(samples.soft_targets[1], np.asarray([0, 0, 0, 0.75, 0, 0.25, 0, 0], np.float32))

    without = load_dataset(f"fer2013:{tmp_path}", "train")
    assert len(without) == 8
    assert without.fingerprint() != samples.fingerprint()


def test_errors(tmp_path: Path) -> None:
    write(tmp_path, ["9 0 0 0 0 0 0 0 0 0", "x 0 0 0 0 0 0 0 0 0"])
    with pytest.raises(DatasetError, match=r"fer2013new\.csv, line 3: a vote is no whole number"):
        load_dataset(f"ferplus:{tmp_path}", "train")
    write(tmp_path, ["9 0 0 0 0 0 0 0 0 0"] * 2)
    votes = tmp_path / "fer2013new.csv"
    rows = votes.read_text().splitlines()
    votes.write_text("\n".join(rows[:-1]))
    with pytest.raises(DatasetError, match=r"fer2013new\.csv: has fewer rows than"):
        load_dataset(f"ferplus:{tmp_path}", "train")
    votes.write_text("\n".join([*rows, rows[-1]]))
    with pytest.raises(DatasetError, match=r"line 4: is not the same row of .*fer2013\.csv"):
        load_dataset(f"ferplus:{tmp_path}", "train")
    votes.write_text("\n".join([*rows[:-1], rows[-1].replace("Training", "PublicTest")]))
    with pytest.raises(DatasetError, match=r"line 3: is not the same row"):
        load_dataset(f"ferplus:{tmp_path}", "train")
    votes.unlink()
    with pytest.raises(
        DatasetError, match=r"neither fer2013new\.csv .*\(found: fer2013\.csv\)\. Get the official fer2013new\.csv"
    ):
        load_dataset(f"ferplus:{tmp_path}", "train")
    write(tmp_path, ["0 0 0 0 0 0 0 0 0 9"])
    with pytest.raises(DatasetError, match="no image of the split 'train'"):
        load_dataset(f"ferplus:{tmp_path}", "train")
