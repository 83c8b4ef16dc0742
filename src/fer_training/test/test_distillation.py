"""Teachers, their cached soft targets, mixup."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_perception.errors import FerError
from fer_training.__main__ import main
from fer_training.datasets import load_dataset
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import load_config
from fer_training.runs.folder import HISTORY, load_run
from fer_training.training.augmentation import mix_up
from fer_training.training.distillation import distillation_loss, load_soft_targets, save_soft_targets
from fer_training.training.supervised import Supervision, prepared, train


def test_mixup_mixes_images_and_targets_in_one_fraction() -> None:
    torch.manual_seed(0)
    batch = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 1, 2, 2)
    targets = torch.eye(8)
    mixed, fractions = mix_up(0.4, batch, targets)
    assert mixed.shape == batch.shape
    torch.testing.assert_close(fractions.sum(1), torch.ones(8))
    # An image is the sum of its parents, weighted as its targets are.
    torch.testing.assert_close(mixed[:, 0, 0, 0], fractions @ torch.arange(8.0))
    assert ((fractions > 0).sum(1) == 2).any()


def test_a_student_that_says_what_its_teachers_say_has_no_gradient() -> None:
    logits = torch.randn(5, 7, requires_grad=True)
    soft_targets = torch.softmax(logits.detach() / 3, 1)
    distillation_loss(logits, soft_targets, [7], 3.0).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(5, 7), atol=1e-6, rtol=0)


def test_from_teachers_to_student(
    config_file: Path, trained: Path, attentive: Path, fer2013: Path, tmp_path: Path
) -> None:
    runs = [trained, attentive]
    soft_targets = tmp_path / "soft_targets.safetensors"
    main(
        [
            "soft_targets",
            *[f"--model={run}" for run in runs],
            "--data",
            f"fer2013:{fer2013}",
            "--out",
            str(soft_targets),
        ]
    )

    samples = load_dataset(f"fer2013:{fer2013}", "train")
    config = load_config(config_file)
    spec = config.input.spec()
    images = prepare_images(samples, spec)
    said = [
        predict(load_run(run, load_config(run / "config.yaml"))[0], np.ascontiguousarray(views), spec)
        for run in runs
        for views in (images, images[:, :, ::-1])
    ]
    np.testing.assert_allclose(load_soft_targets(soft_targets, samples, 1.0), np.mean(said, axis=0), atol=1e-5)
    assert load_checkpoint(soft_targets)[1]["teachers"] == ["tiny", "attentive"]
    # A higher temperature flattens.
    assert load_soft_targets(soft_targets, samples, 4.0).max() < load_soft_targets(soft_targets, samples, 1.0).max()

    # The student's loss is a mean of that with the labels and that with the teachers' soft targets.
    losses = {}
    for weight in (0.0, 0.25, 1.0):
        overrides = [
            f"distillation.soft_targets={soft_targets}",
            f"distillation.weight={weight}",
            "augmentation.mixup=0.2",
        ]
        student = load_config(config_file, overrides)
        with prepared(student) as group:
            task = Supervision(student, group)
        images, targets, taught = task.batch(torch.arange(14), 0.0)
        task.objective.train()
        with torch.no_grad():
            losses[weight] = float(task.objective(images, targets, taught))
            expected = distillation_loss(task.network(images), taught, [7], student.distillation.temperature)
    assert losses[1.0] == pytest.approx(float(expected), rel=1e-4)
    assert losses[1.0] != pytest.approx(losses[0.0], rel=1e-3)
    assert losses[0.25] == pytest.approx(0.75 * losses[0.0] + 0.25 * losses[1.0], rel=1e-4)
    assert (train(student) / HISTORY).exists()


def test_soft_targets_of_other_data_are_refused(fer2013: Path, tmp_path: Path) -> None:
    samples = load_dataset(f"fer2013:{fer2013}", "train")
    file = tmp_path / "soft_targets.safetensors"
    save_soft_targets(file, samples, torch.full((len(samples), 7), 1 / 7), ["t"])
    load_soft_targets(file, samples, 1.0)
    with pytest.raises(FerError, match=r"soft_targets.safetensors: is about other training data than fer2013"):
        load_soft_targets(file, load_dataset(f"fer2013:{fer2013}", "val"), 1.0)


@pytest.mark.parametrize(
    "override",
    ["augmentation.mixup=-1", "augmentation.noise=-1", "distillation.weight=2", "distillation.temperature=0"],
)
def test_impossible_values_are_named(config_file: Path, override: str) -> None:
    with pytest.raises(FerError, match=f"{override.partition('=')[0]} cannot be"):
        load_config(config_file, [override])


def test_annotators_are_teachers(fer2013: Path, tmp_path: Path, with_votes: Callable[..., None]) -> None:
    """Votes that are right for six of seven emotions; those for the seventh are spread over all."""

    def votes(_: int, emotion: int) -> list[int]:
        return [1] * 10 if emotion == 6 else [9 if i == emotion else 1 if i == 8 else 0 for i in range(10)]

    folder = tmp_path / "voted"
    folder.mkdir()
    with_votes(fer2013, folder, votes)
    out = tmp_path / "annotators.safetensors"
    main(["soft_targets", "--annotators", "--data", f"fer2013:{folder}", "--out", str(out)])
    samples = load_dataset(f"fer2013:{folder}", "train")
    found = load_soft_targets(out, samples, 1.0).numpy()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found.argmax(1) == samples.targets).all()
    sure = samples.targets != 6
    assert found[sure].max(1).min() > found[~sure].max(1).max()
    with pytest.raises(SystemExit, match="FER\\+ has votes on fer2013"):
        main(["soft_targets", "--annotators", "--data", f"folder:{folder}", "--out", str(out)])
