"""Real, small adaptations: from drawn faces to dark, blurred ones in which one emotion prevails."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.__main__ import main
from fer_training.datasets import Alignment, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.evaluation.predictions import load_model, predict_samples
from fer_training.export.onnx import export
from fer_training.networks import NETWORKS
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import TrainConfig, load_config, save_config
from fer_training.runs.folder import BEST, CONFIG, HISTORY, load_run, read_history
from fer_training.training.batch_norm import estimate_statistics
from fer_training.training.domain_adaptation import (
    MOST_GAIN,
    TOLERANCE,
    Adaptation,
    AdaptationLoss,
    GradientReversal,
    adapt,
    mutual_information,
    spectral_style,
)
from fer_training.training.supervised import prepared, train

SHARES = np.array([0.4, 0.3, 0.1, 0.05, 0.05, 0.05, 0.05])  # of the emotions in the target domain


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Random networks and images are the same in every run, whatever ran before."""
    torch.manual_seed(0)


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
    estimate_statistics(
        network, torch.randn(6400, 2, 4, 4).mul(3).add(torch.tensor([5.0, -1.0]).view(2, 1, 1)).split(128)
    )
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, torch.tensor([5.0, -1.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(norm.running_var, torch.tensor([9.0, 9.0]), atol=0.2, rtol=0)
    assert norm.momentum == 0.1
    assert all(torch.equal(before, after) for before, after in zip(weights, network.parameters(), strict=True))


def test_information_is_high_where_predictions_are_sure_and_differ() -> None:
    sure = np.eye(7)[np.arange(210) % 7]
    assert mutual_information(sure) == pytest.approx(np.log(7))
    assert mutual_information(sure * 0.9 + 0.1 / 7) < np.log(7) - 0.3
    assert mutual_information(np.full((9, 7), 1 / 7)) == pytest.approx(0)
    assert mutual_information(np.eye(7)[np.zeros(9, int)]) == pytest.approx(0)


def waves(mean: float, amplitude: float, frequency: int, phase: float = 0.0) -> Tensor:
    """An image of one wave along the rows: (1, 1, 8, 8)."""
    wave = mean + amplitude * torch.cos(2 * np.pi * frequency * torch.arange(8.0) / 8 + phase)
    return wave.expand(8, 8)[None, None].clone()


def test_style_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    image, style = waves(0.4, 0.05, 1), waves(0.6, 0.2, 1, phase=1.0)
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: torch.ones(size))
    # Brightness and contrast are the other's, the phase, which is what is seen, stays.
    torch.testing.assert_close(spectral_style(image, style), waves(0.6, 0.2, 1), atol=1e-3, rtol=0)
    torch.testing.assert_close(spectral_style(image, image), image)
    # A wave of one frequency has nothing to give at others.
    calmed = spectral_style(waves(0.4, 0.1, 1), waves(0.4, 0.1, 3))
    torch.testing.assert_close(calmed, waves(0.4, 0.1 / MOST_GAIN, 1), atol=1e-3, rtol=0)
    torch.testing.assert_close(spectral_style(waves(0.01, 0, 1), waves(0.9, 0, 1)), waves(0.01 * MOST_GAIN, 0, 1))
    assert spectral_style(waves(0.5, 0.1, 1), waves(0.9, 0.4, 1)).max() == 1  # white is white
    # Half the way, each image and channel by itself: twice the brightness is the square root of four times.
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: torch.full(size, 0.5))
    both = torch.cat([torch.cat([waves(0.2, 0, 1), waves(0.1, 0, 1)], 1), torch.cat([waves(0.3, 0, 1)] * 2, 1)])
    styles = torch.cat([torch.cat([waves(0.8, 0, 1), waves(0.1, 0, 1)], 1), torch.cat([waves(0.3, 0, 1)] * 2, 1)])
    found = spectral_style(both, styles).mean((2, 3))
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.1], [0.3, 0.3]]), atol=1e-4, rtol=0)


def test_style_lies_between_the_image_and_the_other() -> None:
    image, style = waves(0.4, 0.05, 1).expand(64, 1, 8, 8), waves(0.6, 0.2, 1).expand(64, 1, 8, 8)
    means = spectral_style(image, style).mean((1, 2, 3))
    assert means.min() >= 0.4 - 1e-4
    assert means.max() <= 0.6 + 1e-4
    assert means.std() > 0.03


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, draw: Callable[[int, np.random.Generator], np.ndarray]) -> Path:
    """A manifest with the splits adapt and test; its adapt labels are all wrong."""
    folder = tmp_path_factory.mktemp("target")
    (folder / "images").mkdir()
    rng = np.random.default_rng(1)
    with open(folder / "labels.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "emotion", "split"])
        for split, count in (("adapt", 70), ("test", 70)):
            for index, emotion in enumerate(rng.choice(7, count, p=SHARES)):
                face = draw(int(emotion), rng).astype(np.float64)
                face = cv2.GaussianBlur(face, (0, 0), 2.0) * 0.12 + 5 + rng.normal(0, 3, face.shape)
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
            "network.options.region_size=3",
            f"adaptation.start={start}",
            f"adaptation.targets=[manifest:{target}]",
            "adaptation.threshold_decay=0.9",
            "learning_rate=0.02",
            *overrides,
        ],
    )


def test_from_start_to_adapted_bundle(
    config_file: Path, attentive: Path, fer2013: Path, target: Path, tmp_path: Path
) -> None:
    config = adaptation(config_file, attentive, target, "epochs=2")
    save_config(config, tmp_path / "adapt.yaml")
    main(["adapt", str(tmp_path / "adapt.yaml")])
    run = config.run_folder

    facts = load_checkpoint(run / BEST)[1]
    before, after = facts["adaptation"]["before"]["val_macro_f1"], facts["validation"]["macro_f1"]
    assert facts["adaptation"]["targets"] == {"manifest": 70}
    assert set(facts["adaptation"]["mean_prediction"]) == set(EMOTIONS_7)
    history = read_history(run / HISTORY, 9)
    assert [row["epoch"] for row in history] == [1, 2]
    for row in history:
        assert 0 < row["pseudo_labels"] <= 1  # a batch's surest image always has one
        is_kept = row["val_macro_f1"] >= before - TOLERANCE
        assert row["selection"] == (row["target_information"] if is_kept else row["val_macro_f1"] - 1)
    chosen = max(history, key=lambda row: row["selection"])
    assert (facts["epoch"], after) == (chosen["epoch"], chosen["val_macro_f1"])

    saved = load_config(run / CONFIG)
    samples = load_dataset(f"manifest:{target}", "test", Alignment(FER2013_TEMPLATE, saved.input.spec()))
    images = prepare_images(samples, saved.input.spec())
    expected = predict(load_run(run, saved)[0], images, saved.input.spec())
    bundle = EmotionClassifier(export(run, tmp_path / "models"))
    assert bundle.bundle.manifest.training["recipe"]["adaptation"]["targets"] == ["manifest"]
    np.testing.assert_allclose(bundle.classify([image[..., 0] for image in images]), expected, atol=1e-4)

    # The labels of the target's images were not used: with others the same comes out.
    relabelled = shutil.copytree(target, tmp_path / "relabelled")
    text = (target / "labels.csv").read_text().splitlines()
    (relabelled / "labels.csv").write_text(
        "\n".join(",".join([row.split(",")[0], "happy", "adapt"]) if row.endswith("adapt") else row for row in text)
    )
    again = adapt(adaptation(config_file, attentive, relabelled, "epochs=2", f"out={tmp_path / 'again'}"))
    expected, found = (load_checkpoint(folder / BEST)[0]["network"] for folder in (run, again))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_as_many_source_images_take_the_style_as_configured(
    config_file: Path, attentive: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = adaptation(config_file, attentive, target)
    with prepared(config) as group:
        task = Adaptation(config, group)
    task.weak = task.strong = lambda images: (images, None)  # type: ignore[assignment]
    picked = torch.arange(70)
    plain = task.data.pick(picked)
    changed = {}
    for style in (0.0, 0.5, 1.0):
        config.adaptation.style = style
        source, targets, weak, strong = task.batch(picked, 0.5)
        assert torch.equal(targets, task.data.targets[picked])
        assert torch.equal(weak, strong)
        changed[style] = (source - plain).abs().amax((1, 2, 3)) > 1e-5
        torch.testing.assert_close(source[~changed[style]], plain[~changed[style]])
        darker = source[changed[style]].mean((1, 2, 3)) < plain[changed[style]].mean((1, 2, 3))
        assert darker.all()  # as the target's images are
    assert not changed[0.0].any()
    assert 0.3 < changed[0.5].float().mean() < 0.7
    assert changed[1.0].all()
    with pytest.raises(FerError, match=r"adaptation\.style cannot be 2"):
        adaptation(config_file, attentive, target, "adaptation.style=2")


def test_joint_runs_are_adapted_to_several_targets(
    config_file: Path, joint: Path, voted: Path, target: Path, tmp_path: Path
) -> None:
    data = [f"data=ferplus+fer2013:{voted}", "network.options.block_attention=coordinate"]
    targets = f"adaptation.targets=[camera/manifest:{target},camera/ferplus+fer2013:{voted}]"
    run = adapt(adaptation(config_file, joint, target, targets, *data))
    facts = load_checkpoint(run / BEST)[1]
    assert facts["adaptation"]["targets"] == {"camera/manifest": 70, "camera/ferplus+fer2013": 35}
    assert set(facts["validation_of"]) == {"ferplus", "fer2013"}
    assert tuple(facts["adaptation"]["mean_prediction"]) == EMOTIONS_8
    assert sum(facts["adaptation"]["mean_prediction"].values()) == pytest.approx(1, abs=0.01)
    (row,) = read_history(run / HISTORY, 9)
    assert 0 < row["pseudo_labels"] <= 1
    with pytest.raises(FerError, match="has other labels than"):
        adapt(adaptation(config_file, joint, target, "network.options.block_attention=coordinate", "name=other"))


@pytest.mark.slow
def test_adaptation_helps_in_the_other_domain(config_file: Path, target: Path) -> None:
    learning = ["epochs=8", "batch_size=7", "learning_rate=0.03"]
    start = train(load_config(config_file, ["name=start", "network.name=hybrid_attention", *learning]))
    run = adapt(adaptation(config_file, start, target, "epochs=6", "batch_size=14"))
    accuracy = {}
    for model in (start, run):
        found = predict_samples(load_model(model), load_dataset(f"manifest:{target}", "test"))
        accuracy[model.name] = float((found.logits.argmax(1) == found.targets).mean())
    # To the network of the brighter domain all these images are black.
    assert accuracy["adapted"] > accuracy["start"] + 0.1


def objective_of(config: TrainConfig, teacher: nn.Module) -> AdaptationLoss:
    torch.manual_seed(0)
    network = NETWORKS["dual_adaptive"](7, 1, **config.network.options)
    return AdaptationLoss(config, network, AveragedModel(teacher), [7])  # type: ignore[arg-type]


def test_rarely_named_labels_have_a_lower_threshold(config_file: Path, target: Path) -> None:
    """The teacher hands on logits; the averages have no memory, so they are those of this batch."""
    config = adaptation(config_file, target, target, "adaptation.threshold_decay=0")
    objective = objective_of(config, nn.Flatten())
    sure, middling = torch.tensor([0.9, *[0.1 / 6] * 6]), torch.tensor([0.5, *[0.5 / 6] * 6])
    probabilities = torch.stack([sure, sure, middling, middling[[1, 0, 2, 3, 4, 5, 6]]])
    pseudo = objective._pseudo_labels(probabilities.log()[..., None, None])
    # Confident enough is 0.7 for the label that prevails, and for the second one 0.7 x 0.154 / 0.596.
    assert pseudo.tolist() == [[1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [0] * 7, [0, 1, 0, 0, 0, 0, 0]]
    assert float(objective.confidence) == pytest.approx(0.7)
    assert objective.named[:2].tolist() == pytest.approx(
        [(0.9 + 0.9 + 0.5 + 0.5 / 6) / 4, (0.2 / 6 + 0.5 / 6 + 0.5) / 4]
    )
    assert float(objective.labelled) == 0.75


def test_each_label_set_has_thresholds_of_its_own(config_file: Path, target: Path) -> None:
    config = adaptation(config_file, target, target, "adaptation.threshold_decay=0")
    torch.manual_seed(0)
    network = NETWORKS["dual_adaptive"](5, 1, **config.network.options)
    objective = AdaptationLoss(config, network, AveragedModel(nn.Flatten()), [2, 3])  # type: ignore[arg-type]
    probabilities = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0.2], [0.6, 0.4, 0.8, 0.1, 0.1]])
    pseudo = objective._pseudo_labels(probabilities.log()[..., None, None])
    assert pseudo.tolist() == [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    torch.testing.assert_close(objective.confidence, torch.tensor([0.75, 0.65]))
    torch.testing.assert_close(objective.named, torch.tensor([0.75, 0.25, 0.65, 0.2, 0.15]))
    assert float(objective.labelled) == 0.5


def test_what_the_loss_consists_of(config_file: Path, target: Path) -> None:
    """In double precision: in single, rounding changes gradients of so small a network by percents."""
    config = adaptation(
        config_file, target, target, "adaptation.threshold_decay=0", "adaptation.adversarial_weight=0.5"
    )
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7))
    objective = objective_of(config, teacher).train()
    for module in (objective.network, objective.domain_classifiers, *objective._teacher):
        module.double()
    source, weak, strong = torch.randn(3, 6, 1, 48, 48, dtype=torch.float64)
    targets = nn.functional.one_hot(torch.arange(6), 7).double()
    nn.init.normal_(objective.network.local_classifier.weight, 0, 0.1)

    def loss_and_gradients(reversal: float, adoption: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the network, and those of both domain classifiers."""
        objective.zero_grad()
        objective.reversal, objective.adoption = reversal, adoption
        loss = objective(source, targets, weak, strong)
        loss.backward()
        network, domains = (
            torch.cat(
                [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in module.parameters()]
            )
            for module in (objective.network, objective.domain_classifiers)
        )
        return loss.detach(), network, domains

    loss, still, domains = loss_and_gradients(0.0)
    _, turned, same_domains = loss_and_gradients(1.0)
    _, straight, _ = loss_and_gradients(-1.0)
    assert domains.abs().max() > 0
    torch.testing.assert_close(same_domains, domains)
    assert (straight - still).abs().max() > 0
    torch.testing.assert_close(turned - still, still - straight, atol=1e-6, rtol=1e-3)

    adopted, *_ = loss_and_gradients(0.0, 1.0)
    pseudo = objective._pseudo_labels(weak)
    trusted = pseudo.sum(1)
    assert 0 < trusted.sum() < len(trusted)
    with torch.no_grad():
        logits = objective.network.forward_branches(torch.cat([source, strong])).logits[len(source) :].float()
    expected = (nn.functional.cross_entropy(logits, pseudo.argmax(1), reduction="none") * trusted).mean()
    torch.testing.assert_close((adopted - loss).float(), expected)


@pytest.mark.usefixtures("with_bfloat16")
def test_bfloat16_changes_the_loss_little(config_file: Path, target: Path) -> None:
    losses, teacher = {}, nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7))
    images = torch.randn(3, 6, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    targets = nn.functional.one_hot(torch.arange(6), 7).float()
    for mixed in (True, False):
        config = adaptation(config_file, target, target, f"mixed_precision={str(mixed).lower()}")
        objective = objective_of(config, teacher).train()
        objective.reversal = objective.adoption = 1.0
        loss = objective(images[0], targets, *images[1:])
        loss.backward()
        gradients = [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]
        assert {gradient.dtype for gradient in gradients} == {loss.dtype} == {torch.float32}
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        losses[mixed] = loss.item()
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("adaptation.targets=[]", "adaptation.targets is missing"),
        ("adaptation.start=''", "adaptation.start is missing"),
        ("network.name=hybrid_attention", "must be dual_adaptive"),
        ("adaptation.start=/nowhere", "/nowhere"),
        ("adaptation.targets=[fer2013:/nowhere]", "/nowhere"),
        ("adaptation.targets=[faces:x]", "write NAME:PATH"),
        ("sampling.label_balance=0.5", "sampling or augmentation.camera_views, which adapt does not take"),
        ("augmentation.camera_views=1", "sampling or augmentation.camera_views, which adapt does not take"),
    ],
)
def test_bad_configurations(config_file: Path, target: Path, tmp_path: Path, override: str, message: str) -> None:
    save_config(load_config(config_file), tmp_path / CONFIG)
    with pytest.raises(FerError, match=message):
        adapt(adaptation(config_file, tmp_path, target, override))


def test_train_and_adapt_are_not_confused(config_file: Path) -> None:
    with pytest.raises(SystemExit, match="configuration for the verb adapt"):
        main(["train", str(config_file), "adaptation.targets=[manifest:x]"])
    with pytest.raises(SystemExit, match=r"adaptation\.targets is missing"):
        main(["adapt", str(config_file)])
