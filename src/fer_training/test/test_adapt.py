"""A real, small adaptation: from drawn faces to brighter, inverted ones in which one emotion prevails."""

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_perception.errors import FerError
from fer_perception.taxonomy import EMOTIONS_7
from fer_training.__main__ import main
from fer_training.adapt import TOLERANCE, GradientReversal, adapt, adopt_statistics, mutual_information
from fer_training.checkpoint import load_checkpoint
from fer_training.config import TrainConfig, load_config, save_config
from fer_training.datasets import load_dataset
from fer_training.evaluate import ask, load_model
from fer_training.export import export
from fer_training.runs import BEST, CONFIG, HISTORY, read_history
from fer_training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

SHARES = np.array([0.4, 0.3, 0.1, 0.05, 0.05, 0.05, 0.05])  # of the emotions in the target domain
ARCHITECTURE = "{width: 0.25, stem_stride: 2, dropout: 0.0}"


def test_gradient_is_turned_round() -> None:
    x = torch.ones(3, requires_grad=True)
    (GradientReversal.apply(x, 0.5) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([-0.5, -1.0, -1.5]))


def test_statistics_become_those_of_the_domain() -> None:
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(2)
    network = torch.nn.Sequential(norm, torch.nn.Dropout(0.9), torch.nn.Conv2d(2, 1, 1))
    weights = [parameter.clone() for parameter in network.parameters()]
    adopt_statistics(network, lambda size: torch.randn(size, 2, 4, 4) * 3 + torch.tensor([5.0, -1.0]).view(2, 1, 1))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, torch.tensor([5.0, -1.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(norm.running_var, torch.tensor([9.0, 9.0]), atol=0.2, rtol=0)
    assert norm.momentum == 0.1
    assert all(torch.equal(before, after) for before, after in zip(weights, network.parameters(), strict=True))


def test_information_is_high_where_answers_are_sure_and_differ() -> None:
    sure = np.eye(7)[np.arange(210) % 7]
    assert mutual_information(sure) == pytest.approx(np.log(7))
    assert mutual_information(sure * 0.9 + 0.1 / 7) < np.log(7) - 0.3
    assert mutual_information(np.full((9, 7), 1 / 7)) == pytest.approx(0)
    assert mutual_information(np.eye(7)[np.zeros(9, int)]) == pytest.approx(0)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, draw: Callable[[int, np.random.Generator], np.ndarray]) -> Path:
    """A manifest with the splits adapt and test; its adapt labels are all wrong."""
    folder = tmp_path_factory.mktemp("target")
    (folder / "images").mkdir()
    rng = np.random.default_rng(1)
    with open(folder / "labels.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "emotion", "split"])
        for split, count in (("adapt", 140), ("test", 140)):
            for index, emotion in enumerate(rng.choice(7, count, p=SHARES)):
                face = draw(int(emotion), rng).astype(np.float64)
                face = cv2.GaussianBlur(face, (0, 0), 2.0) * 0.4 + 60 + rng.normal(0, 12, face.shape)
                name = f"{split}{index}.png"
                cv2.imwrite(str(folder / "images" / name), face.clip(0, 255).astype(np.uint8))
                label = EMOTIONS_7[emotion if split == "test" else (emotion + 3) % 7]
                writer.writerow([name, label, split])
    return folder


def adaptation(config_file: Path, start: Path, target: Path, *overrides: str) -> TrainConfig:
    return load_config(
        config_file,
        [
            "name=adapted",
            "network.name=dual_adaptive",
            "network.options={width: 0.25, stem_stride: 2, dropout: 0.0, region_size: 3}",
            f"adaptation.start={start}",
            f"adaptation.target=manifest:{target}",
            "adaptation.threshold_decay=0.9",
            "learning_rate=0.02",
            "epochs=4",
            *overrides,
        ],
    )


def test_adaptation_helps_in_the_other_domain(config_file: Path, fer2013: Path, target: Path, tmp_path: Path) -> None:
    hybrid = ["name=start", "network.name=hybrid_attention", f"network.options={ARCHITECTURE}"]
    hybrid += ["learning_rate=0.05", "epochs=16"]
    start = train(load_config(config_file, hybrid))
    config = adaptation(config_file, start, target)
    run = adapt(config)

    accuracy = {}
    for model in (start, run, export(run, tmp_path / "models")):
        loaded = load_model(model, "fp32", 1)
        answers = ask(loaded, load_dataset(f"manifest:{target}", "test"))
        accuracy[model.parent.name, model.name] = float((answers.logits.argmax(1) == answers.targets).mean())
    assert accuracy["runs", "adapted"] > accuracy["runs", "start"] + 0.1
    assert accuracy["models", "adapted"] == pytest.approx(accuracy["runs", "adapted"], abs=0.01)

    facts = load_checkpoint(run / BEST)[1]
    assert set(facts["adaptation"]["mean_answer"]) == set(EMOTIONS_7)
    history = read_history(run / HISTORY, 4)
    chosen = max(history, key=lambda row: row["selection"])
    assert facts["epoch"] == chosen["epoch"]
    assert chosen["val_accuracy"] == facts["adaptation"]["val_accuracy"]["after"]
    assert chosen["val_accuracy"] >= facts["adaptation"]["val_accuracy"]["before"] - TOLERANCE
    assert history[-1]["pseudo_labels"] > 0

    # The labels of the target's pictures were not used: with others the same comes out.
    text = (target / "labels.csv").read_text().splitlines()
    (target / "labels.csv").write_text(
        "\n".join(",".join([row.split(",")[0], "happy", "adapt"]) if row.endswith("adapt") else row for row in text)
    )
    again = adapt(adaptation(config_file, start, target, f"out={tmp_path / 'again'}"))
    expected, found = (load_checkpoint(folder / BEST)[0]["network"] for folder in (run, again))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("adaptation.target=''", "adaptation.target is missing"),
        ("adaptation.start=''", "adaptation.start is missing"),
        ("network.name=hybrid_attention", "must be dual_adaptive"),
        ("adaptation.start=/nowhere", "/nowhere"),
        ("adaptation.target=fer2013:x", "only a manifest has a split 'adapt'"),
    ],
)
def test_bad_configurations(config_file: Path, target: Path, tmp_path: Path, override: str, message: str) -> None:
    save_config(load_config(config_file), tmp_path / CONFIG)
    with pytest.raises(FerError, match=message):
        adapt(adaptation(config_file, tmp_path, target, override))


def test_train_and_adapt_are_not_confused(config_file: Path) -> None:
    with pytest.raises(SystemExit, match="configuration for the verb adapt"):
        main(["train", str(config_file), "adaptation.target=manifest:x"])
    with pytest.raises(SystemExit, match=r"adaptation\.target is missing"):
        main(["adapt", str(config_file)])
