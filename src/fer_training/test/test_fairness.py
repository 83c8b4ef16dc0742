"""Group measures against arrays whose results are known by hand, and training that treats groups alike."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fairlearn.metrics import equalized_odds_difference
from sklearn.metrics import f1_score

from fer_perception.errors import FerError
from fer_training.__main__ import main
from fer_training.datasets import Samples, load_dataset
from fer_training.datasets.grouping import write_grouped_manifest
from fer_training.evaluation.fairness import (
    LABEL_MINIMUM,
    MINIMUM,
    FairnessResult,
    GroupComparison,
    _macro_f1,
    _odds_differences,
    compare_groups,
    format_fairness,
)
from fer_training.runs.config import SamplingConfig, load_config
from fer_training.training.distributed import processes
from fer_training.training.sampling import sampling_weights
from fer_training.training.supervised import Supervision, train

LABELS = ("angry", "happy", "sad")
CELLS = {  # by group: rows are targets, columns predictions
    "colour": [[30, 10, 0], [5, 45, 0], [10, 0, 0]],
    "grey": [[20, 20, 0], [0, 100, 0], [5, 10, 45]],
    "rare": [[1, 0, 0], [0, 2, 0], [0, 0, 0]],
    "": [[0, 4, 0], [0, 0, 0], [0, 0, 0]],
}


def spread(cells: dict[str, list[list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [
        (target, prediction, group)
        for group, matrix in cells.items()
        for target, line in enumerate(matrix)
        for prediction, count in enumerate(line)
        for _ in range(count)
    ]
    targets, predictions, groups = zip(*rows, strict=True)
    return np.array(targets), np.array(predictions), np.array(groups)


def text_of(column: str, found: GroupComparison) -> str:
    facts = {"model": "m", "precision": "fp32", "dataset": "d", "split": "test", "sha256": "", "n": 1, "accuracy": 1.0}
    return format_fairness(FairnessResult(columns={column: found}, **facts))


def test_groups_by_hand() -> None:
    targets, predictions, groups = spread(CELLS)
    found = compare_groups(targets, predictions, LABELS, groups)
    assert found.unknown == 4
    assert found.compared_labels == list(LABELS)
    colour, grey, rare = (found.by_group[name] for name in ("colour", "grey", "rare"))
    assert [entry.n for entry in (colour, grey, rare)] == [100, 200, 3]
    assert [entry.conclusive for entry in (colour, grey, rare)] == [True, True, False]
    assert (colour.accuracy, grey.accuracy, rare.accuracy) == pytest.approx((0.75, 0.825, 1))
    # F1 = 2 hits / (shown + predicted)
    assert colour.macro_f1 == pytest.approx((60 / 85 + 90 / 105 + 0) / 3)
    assert colour.recall == pytest.approx({"angry": 0.75, "happy": 0.9, "sad": 0})
    assert grey.selection_rate == pytest.approx({"angry": 25 / 200, "happy": 130 / 200, "sad": 45 / 200})
    assert rare.recall["sad"] is None
    low, high = colour.intervals["accuracy"]
    assert (low, high) == pytest.approx((0.75 - 0.085, 0.75 + 0.085), abs=0.02)  # 1.96 sqrt(0.75 0.25 / 100)

    gap = found.gaps["accuracy"]
    assert (gap.best, gap.worst) == ("grey", "colour")  # rare would be the best, but is not conclusive
    assert gap.difference == pytest.approx(0.075)
    assert gap.interval[0] < 0 < 0.075 < gap.interval[1]
    odds = found.equalized_odds
    assert odds is not None
    # True positives 20/40 against 30/40; 100/100 against 45/50; 45/60 against 0/10. False ones differ less or as much:
    # 5/160 against 15/60; 30/100 against 10/50; none.
    assert odds.differences == pytest.approx({"angry": 0.25, "happy": 0.1, "sad": 0.75})
    assert odds.worst == "sad"
    assert odds.interval[0] < 0.75 < odds.interval[1]
    assert odds.by_chance < 0.75

    text = text_of("photograph", found)
    assert "groups by photograph (4 images without a value)" in text
    assert f"not conclusive, fewer than {MINIMUM} images" in text
    assert "equalized-odds difference: +75.0 [" in text


def test_rare_labels_are_not_compared() -> None:
    cells = {"a": [[40, 10, 0], [5, 45, 0], [9, 0, 0]], "b": [[20, 20, 0], [0, 50, 0], [0, 0, 60]]}
    targets, predictions, groups = spread(cells)
    found = compare_groups(targets, predictions, LABELS, groups)
    assert LABEL_MINIMUM > 9
    assert found.compared_labels == ["angry", "happy"]
    assert found.equalized_odds is not None
    assert set(found.equalized_odds.differences) == {"angry", "happy"}
    assert found.by_group["a"].macro_f1 == pytest.approx((80 / 104 + 90 / 105) / 2)


def test_without_two_groups_there_is_no_gap() -> None:
    targets, predictions, groups = spread({"a": CELLS["grey"], "b": CELLS["rare"]})
    found = compare_groups(targets, predictions, LABELS, groups)
    assert (found.gaps, found.equalized_odds) == ({}, None)
    assert "not conclusive" in text_of("c", found)
    nothing = compare_groups(targets, predictions, LABELS, np.full(len(targets), ""))
    assert (nothing.by_group, nothing.unknown) == ({}, len(targets))


def test_random_groups_do_not_exceed_chance() -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 3, 600)
    predictions = np.where(rng.random(600) < 0.7, targets, rng.integers(0, 3, 600))
    found = compare_groups(targets, predictions, LABELS, rng.choice(np.array(["a", "b"]), 600))
    odds = found.equalized_odds
    assert odds is not None
    assert max(odds.differences.values()) < odds.by_chance < 0.25
    low, high = found.gaps["accuracy"].interval
    assert low < 0 < high


def test_the_fast_forms_are_the_libraries_own() -> None:
    rng = np.random.default_rng(0)
    targets, predictions, members = (rng.integers(0, 3, 400) for _ in range(3))
    expected = [
        equalized_odds_difference(targets == label, predictions == label, sensitive_features=members)
        for label in range(3)
    ]
    assert _odds_differences(targets, predictions, members, [0, 1, 2]) == pytest.approx(expected)
    confusion = np.zeros((1, 3, 3), np.int64)
    np.add.at(confusion[0], (targets, predictions), 1)
    for labels in ([0, 1, 2], [0, 2]):
        wanted = f1_score(targets, predictions, labels=labels, average="macro")
        assert _macro_f1(confusion, np.array(labels))[0] == pytest.approx(wanted)


@pytest.fixture
def manifest(tmp_path: Path, draw) -> Path:  # type: ignore[no-untyped-def]
    """Grey and coloured drawn faces; colour goes with the emotion in the training split."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "photographs"
    (folder / "images").mkdir(parents=True)
    rows = []
    for split, count in (("adapt", 70), ("test", 140)):
        for index in range(count):
            emotion = index % 2  # angry or disgust
            coloured = index % 10 in ((0, 1, 3) if split == "adapt" else (0, 1))
            face = cv2.cvtColor(draw(emotion, rng), cv2.COLOR_GRAY2BGR)
            if coloured:
                face[..., 0] //= 2
            name = f"Person_{split}{index // 7}_{index:04}.png"
            cv2.imwrite(str(folder / "images" / name), face)
            rows.append((name, ("anger", "disgust")[emotion], split))
    with open(folder / "labels.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("image", "emotion", "split"), *rows])
    return folder


def test_groups_are_measured_on_the_images(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "groups"
    main(["group", "--manifest", str(manifest), "--out", str(out), "--labelled", "--pixels", "49"])
    assert capsys.readouterr().out.splitlines() == ["colour, under 49: 49", "grey, under 49: 161"]
    assert "Person" not in (out / "labels.csv").read_text().replace("Person_adapt", "").replace("Person_test", "")
    test = load_dataset(f"manifest:{out}", "test")
    assert test.groups["photograph"].count("colour") == 28
    for image, kind in zip(test.images, test.groups["photograph"], strict=True):
        assert (image == image[..., :1]).all() == (kind == "grey")
    train_split = load_dataset(f"manifest:{out}", "train")
    assert not set(train_split.groups["subject"]) & set(load_dataset(f"manifest:{out}", "val").groups["subject"])
    assert len(set(test.groups["subject"])) == 20

    file = tmp_path / "result.json"
    model = Path(__file__).parents[2] / "fer_perception" / "models" / "baseline"
    command = ["fairness", "--model", str(model), "--dataset", f"manifest:{out}"]
    main([*command, "--columns", "photograph", "resolution", "--json", str(file), "--plots", str(tmp_path)])
    for column in ("photograph", "resolution"):
        plot = cv2.imread(str(tmp_path / f"manifest_test_groups_{column}.png"))
        assert plot is not None
        assert plot.std() > 10
    result = FairnessResult.read(file)
    assert (result.n, set(result.columns)) == (140, {"photograph", "resolution"})
    by_group = result.columns["photograph"].by_group
    assert {name: entry.conclusive for name, entry in by_group.items()} == {"colour": False, "grey": True}
    assert "groups by resolution" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--columns age: manifest has no such column \(it has: photograph"):
        main([*command, "--columns", "age"])


def test_grouping_names_what_is_wrong(manifest: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((manifest, "--out", manifest), "exists"),
        ((tmp_path, "--out", tmp_path / "a"), "labels.csv: cannot be read"),
        (
            (manifest, "--out", tmp_path / "b", "--leave-out", "anger", "--leave-out", "disgust"),
            "a row that is not left",
        ),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["group", "--manifest", *map(str, arguments)])


def samples(groups: list[str], targets: list[int]) -> Samples:
    images = [np.zeros((48, 48), np.uint8)] * len(groups)
    return Samples("d", "train", LABELS, images, np.array(targets), groups={"kind": groups})


def test_reweighing_by_hand() -> None:
    # Grey: 4 angry, 2 happy; colour: 1 angry, 1 happy.
    data = samples(["grey"] * 6 + ["colour"] * 2, [0, 0, 0, 0, 1, 1, 0, 1])
    weights = sampling_weights(SamplingConfig("kind"), data)
    assert weights is not None
    # P(group) P(label) / P(group, label), then shared out: 6/8 5/8 / (4/8), 6/8 3/8 / (2/8), ...
    expected = np.array([0.9375] * 4 + [1.125] * 2 + [2 * 5 / 8, 2 * 3 / 8]) / 8
    np.testing.assert_allclose(weights.numpy(), expected)
    balanced = sampling_weights(SamplingConfig("kind", "balanced"), data)
    assert balanced is not None
    assert float(balanced[:6].sum()) == pytest.approx(0.5)
    for group in (slice(0, 6), slice(6, 8)):
        angry = torch.from_numpy(data.targets[group] == 0)
        assert float(balanced[group][angry].sum() / balanced[group].sum()) == pytest.approx(5 / 8)
    assert sampling_weights(SamplingConfig(), data) is None
    with pytest.raises(FerError, match=r"sampling.group: d has no column 'age' \(it has: kind\)"):
        sampling_weights(SamplingConfig("age"), data)


def test_label_balance_by_hand() -> None:
    data = samples(["x"] * 10, [0] * 8 + [1, 2])
    for balance, wanted in ((0.5, np.sqrt([0.8, 0.1, 0.1])), (1.0, np.ones(3))):
        weights = sampling_weights(SamplingConfig(label_balance=balance), data)
        assert weights is not None
        assert float(weights.sum()) == pytest.approx(1)
        drawn = np.bincount(data.targets, weights.numpy())
        np.testing.assert_allclose(drawn, wanted / wanted.sum())
    assert sampling_weights(SamplingConfig(), data) is None


def test_training_draws_balanced_labels(config_file: Path) -> None:
    config = load_config(config_file, ["sampling.label_balance=1"])
    with processes("cpu", config.batch_size) as group:
        task = Supervision(config, group)
    task.data.samples.targets[:] = [0] * 60 + [1] * 10
    task.data.targets[:] = torch.eye(7)[task.data.samples.targets]
    rare = {}
    for balance in (0.0, 1.0):
        task.weights = sampling_weights(SamplingConfig(label_balance=balance), task.data.samples)
        torch.manual_seed(0)
        batches = [task.batch(torch.arange(70), 0)[1] for _ in range(10)]
        rare[balance] = float(torch.cat(batches)[:, 1].mean())
    assert rare[0.0] == pytest.approx(1 / 7)
    assert rare[1.0] == pytest.approx(0.5, abs=0.08)
    with pytest.raises(FerError, match=r"sampling\.label_balance cannot be 1\.5"):
        load_config(config_file, ["sampling.label_balance=1.5"])


def test_training_sees_the_groups_as_configured(manifest: Path, config_file: Path, tmp_path: Path) -> None:
    write_grouped_manifest(manifest, tmp_path / "groups", 200, True, [])
    overrides = [f"data=manifest:{tmp_path / 'groups'}", "batch_size=20", "epochs=1", "sampling.group=photograph"]
    config = load_config(config_file, [*overrides, "sampling.method=balanced"])
    torch.manual_seed(0)
    with processes("cpu", config.batch_size) as group:
        task = Supervision(config, group)
    # A image tells its place by its first pixel.
    places = torch.arange(len(task.data.images), dtype=torch.uint8)
    task.data.images = places[:, None, None, None].expand(task.data.images.shape)
    task.augment = lambda images, regions: (images, regions)  # type: ignore[assignment]
    spec = task.data.spec
    places = np.concatenate(
        [
            np.rint((task.batch(torch.arange(20), 0)[0][:, 0, 0, 0].numpy() * spec.std[0] + spec.mean[0]) * 255)
            for _ in range(100)
        ]
    ).astype(int)
    kinds, labels = np.array(task.data.samples.groups["photograph"])[places], task.data.samples.targets[places]
    assert (kinds == "colour").mean() == pytest.approx(0.5, abs=0.06)  # three of ten images are
    angry = [float((labels[kinds == kind] == 0).mean()) for kind in ("colour", "grey")]
    assert angry[0] == pytest.approx(angry[1], abs=0.1)  # before: a third of the coloured, 4/7 of the grey

    run = train(config)
    assert load_config(run / "config.yaml").sampling == SamplingConfig("photograph", "balanced")
    with pytest.raises(FerError, match=r"sampling\.method cannot be 'fair'"):
        load_config(config_file, ["sampling.method=fair"])
    with pytest.raises(FerError, match="has no column 'age'"):
        train(load_config(config_file, [*overrides, "name=other", "sampling.group=age"]))
