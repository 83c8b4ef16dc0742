"""Several label sets in one network: the data, the loss, and everything that takes one set of a run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fer_perception.emotions.classifier import EmotionClassifier, softmax
from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.__main__ import main
from fer_training.datasets import Samples, load_dataset
from fer_training.evaluation.inference import by_head, predict, prepare_images
from fer_training.evaluation.predictions import load_model, predict_samples
from fer_training.export.onnx import export
from fer_training.networks import NETWORKS
from fer_training.networks.heads import keep_logits
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import load_config
from fer_training.runs.folder import BEST, CONFIG, load_head, load_run
from fer_training.training.distillation import distillation_loss, load_soft_targets
from fer_training.training.interpolation import interpolate
from fer_training.training.soft_targets import soft_targets_of_models
from fer_training.training.supervised import Supervision, cross_entropy, head_metrics, prepared, train

SIZES = [8, 7]


def write_joint(folder: Path) -> None:
    """Four images: on the first and third FER+ and FER2013 differ; the second and fourth are no faces to FER+."""
    with open(folder / "fer2013.csv", "w", newline="") as stream:
        rows = [(emotion, " ".join([str(i)] * 2304), "Training") for i, emotion in enumerate((0, 3, 6, 2))]
        csv.writer(stream).writerows([("emotion", "pixels", "Usage"), *rows])
    with open(folder / "fer2013new.csv", "w", newline="") as stream:
        header = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown")
        votes = ("0 6 2 0 0 0 0 0 2 0", "0 0 0 0 0 0 0 0 1 9", "0 0 0 0 0 0 0 9 0 0", "0 0 0 0 0 0 0 0 0 9")
        rows = [("Training", "x.png", *row.split()) for row in votes]
        csv.writer(stream).writerows([("Usage", "Image name", *header, "NF"), *rows])


def test_joint_data_have_each_image_once_with_both_labels(tmp_path: Path) -> None:
    write_joint(tmp_path)
    samples = load_dataset(f"ferplus+fer2013:{tmp_path}", "train")
    assert samples.dataset == "ferplus+fer2013"
    assert samples.labels == EMOTIONS_8
    assert samples.heads == {"ferplus": EMOTIONS_8, "fer2013": EMOTIONS_7}
    assert samples.names == [f"fer2013.csv:{line}" for line in (2, 4, 3, 5)]
    assert [int(image[0, 0]) for image in samples.images] == [0, 2, 1, 3]
    # Happy and contempt by FER+; happy and fear by FER2013, where FER+ has no label.
    assert [samples.labels[target] for target in samples.targets] == ["happy", "contempt", "happy", "fear"]
    of_ferplus, of_fer2013 = np.split(samples.distributions(), [8], 1)
    np.testing.assert_array_equal(of_ferplus[0], np.float32([0, 0, 0, 0.75, 0, 0.25, 0, 0]))
    np.testing.assert_array_equal(of_ferplus[1], np.eye(8)[7])
    assert not of_ferplus[2:].any()
    np.testing.assert_array_equal(of_fer2013, np.eye(7)[[0, 6, 3, 2]])
    assert samples.fingerprint() != load_dataset(f"ferplus:{tmp_path}", "train").fingerprint()

    alone = load_dataset(f"fer2013:{tmp_path}", "train")
    assert alone.heads == {"fer2013": EMOTIONS_7}
    np.testing.assert_array_equal(alone.distributions(), np.eye(7)[alone.targets])


@pytest.mark.parametrize("name", ["fer2013+fer2013", "ferplus+manifest", "fer2013+", "+", "camera/faces", "camera/"])
def test_names_that_cannot_be_joined(name: str) -> None:
    with pytest.raises(FerError, match="write NAME:PATH with NAME one of fer2013"):
        load_dataset(f"{name}:x", "train")


def test_the_loss_is_the_mean_over_the_sets_that_label_an_image() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 15, requires_grad=True)
    first, second = torch.softmax(torch.randn(6, 8), 1), torch.eye(7)[torch.arange(6)]
    expected = [
        nn.functional.cross_entropy(part, labels, label_smoothing=0.1)
        for part, labels in zip(logits.split(SIZES, 1), (first, second), strict=True)
    ]
    both = cross_entropy(logits, torch.cat([first, second], 1), SIZES, 0.1)
    torch.testing.assert_close(both, (expected[0] + expected[1]) / 2)
    torch.testing.assert_close(cross_entropy(logits[:, 8:], second, [7], 0.1), expected[1])

    # Where a set has no label, it teaches nothing, smoothed or not.
    first[3:] = 0
    cross_entropy(logits, torch.cat([first, second], 1), SIZES, 0.1).backward()
    assert logits.grad is not None
    assert (logits.grad[3:, :8] == 0).all()
    assert (logits.grad[:3, :8] != 0).all()
    assert (logits.grad[:, 8:] != 0).all()


def test_each_set_has_probabilities_and_teachers_of_its_own() -> None:
    logits = torch.randn(5, 15, requires_grad=True)
    probabilities = by_head(torch.softmax, logits, SIZES)
    torch.testing.assert_close(probabilities[:, :8], torch.softmax(logits[:, :8], 1))
    torch.testing.assert_close(probabilities[:, 8:], torch.softmax(logits[:, 8:], 1))
    torch.testing.assert_close(by_head(torch.softmax, logits, ()), torch.softmax(logits, 1))
    said = by_head(torch.softmax, logits.detach() / 3, SIZES)
    distillation_loss(logits, said, SIZES, 3.0).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(5, 15), atol=1e-6, rtol=0)


def test_a_set_is_measured_on_the_images_that_it_labels() -> None:
    targets = np.zeros((4, 5), np.float32)
    targets[[0, 1], [0, 1]] = 1  # two images of the first set's two labels
    targets[[0, 2, 3], [2, 3, 4]] = 1
    label_sets = {"a": ("x", "y"), "b": ("x", "y", "z")}
    images = [np.zeros((48, 48), np.uint8)] * 4
    samples = Samples("a+b", "val", label_sets["a"], images, np.zeros(4, int), [], targets, label_sets=label_sets)
    said = np.float32([[0.9, 0.1, 0, 0, 1], [0.8, 0.2, 0, 0, 1], [0.1, 0.9, 0, 1, 0], [0.1, 0.9, 0, 0, 1]])
    measured = head_metrics(samples, said)
    assert {name: (metrics.n, metrics.accuracy) for name, metrics in measured.items()} == {
        "a": (2, 0.5),
        "b": (3, pytest.approx(2 / 3)),
    }


@pytest.mark.parametrize("name", ["mobilenet_v2", "dual_adaptive", "mini_xception", "xception"])
def test_networks_keep_the_logits_of_one_set(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](15, 1).eval()
    if name == "dual_adaptive":
        network = NETWORKS[name](15, 1, stem_stride=1).eval()
        nn.init.normal_(network.local_classifier.weight)  # type: ignore[union-attr, arg-type]
    with torch.inference_mode():
        expected = network(torch.zeros(2, 1, 48, 48))[:, 8:]
    keep_logits(network, slice(8, 15))
    with torch.inference_mode():
        torch.testing.assert_close(network(torch.zeros(2, 1, 48, 48)), expected)


def test_what_a_joint_run_records(joint: Path, voted: Path) -> None:
    network, facts = load_run(joint, load_config(joint / CONFIG))
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 15)
    assert facts["heads"] == {"ferplus": list(EMOTIONS_8), "fer2013": list(EMOTIONS_7)}
    assert facts["labels"] == list(EMOTIONS_8)
    of_sets = facts["validation_of"]
    assert facts["validation"] == of_sets["ferplus"]
    sizes = {name: len(load_dataset(f"{name}:{voted}", "val")) for name in ("ferplus", "fer2013")}
    assert {name: metrics["n"] for name, metrics in of_sets.items()} == sizes
    assert sizes["ferplus"] < sizes["fer2013"] == 35
    rows = list(csv.DictReader((joint / "history.csv").open()))
    chosen = max(rows, key=lambda row: float(row["val_macro_f1"]))
    assert int(chosen["epoch"]) == facts["epoch"]
    for column, key in (("val_macro_f1", "macro_f1"), ("val_accuracy", "accuracy")):
        assert float(chosen[column]) == pytest.approx(np.mean([metrics[key] for metrics in of_sets.values()]))


def test_evaluate_takes_the_labels_of_the_dataset(joint: Path, voted: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    names = ("ferplus", "fer2013", "camera/fer2013")
    datasets = [part for name in names for part in ("--dataset", f"{name}:{voted}")]
    main(["evaluate", "--model", str(joint), "--split", "val", "--json", str(file), *datasets])
    result = json.loads(file.read_text())["datasets"]
    assert [tuple(result[name]["labels"]) for name in names] == [EMOTIONS_8, EMOTIONS_7, EMOTIONS_7]
    recorded = load_checkpoint(joint / BEST)[1]["validation_of"]
    for name in names[:2]:
        assert result[name]["confusion"] == recorded[name]["confusion"]
        assert not result[name]["left_out"]

    config = load_config(joint / CONFIG)
    samples = load_dataset(f"fer2013:{voted}", "val")
    images = prepare_images(samples, config.input.spec())
    expected = predict(load_run(joint, config)[0], images, config.input.spec(), heads=SIZES)
    for labels_of, columns in (("fer2013", slice(8, 15)), ("ferplus", slice(0, 8)), ("rafdb", slice(0, 8))):
        model = load_model(joint, labels_of=labels_of)
        found = np.exp(model.logits(samples.images))
        np.testing.assert_allclose(found, expected[:, columns], atol=1e-6)
    assert predict_samples(load_model(joint), samples, is_quiet=True).unused == ("contempt",)


def test_a_bundle_has_the_labels_of_one_set(joint: Path, trained: Path, voted: Path, tmp_path: Path) -> None:
    samples = load_dataset(f"fer2013:{voted}", "val")
    recorded = load_checkpoint(joint / BEST)[1]["validation_of"]
    for labels_of, labels in (("", EMOTIONS_8), ("ferplus", EMOTIONS_8), ("fer2013", EMOTIONS_7)):
        out = tmp_path / f"models{labels_of}"
        main(["export", "--run", str(joint), "--out", str(out), *(["--labels-of", labels_of] if labels_of else [])])
        bundle = EmotionClassifier(out / "joint")
        assert bundle.labels == labels
        manifest = bundle.bundle.manifest
        assert manifest.metrics["validation"] == recorded[labels_of or "ferplus"]
        assert manifest.training["recipe"]["data"] == "ferplus+fer2013"
        model = load_model(joint, labels_of=labels_of)
        np.testing.assert_allclose(bundle.classify(samples.images), np.exp(model.logits(samples.images)), atol=1e-4)
    main(["report", "--bundles", str(tmp_path / "models"), "--out", str(tmp_path / "report")])
    card = (tmp_path / "models" / "joint" / "README.md").read_text()
    assert "Training data `ferplus`: FER+'s votes" in card
    assert "Training data `fer2013`: for research" in card
    with pytest.raises(
        FerError, match=r"has not learnt the labels of 'rafdb'. For --labels-of it has ferplus, fer2013"
    ):
        export(joint, tmp_path, "rafdb")
    with pytest.raises(FerError, match="one label set only: leave it out"):
        export(trained, tmp_path, "fer2013")
    with pytest.raises(SystemExit, match="--labels-of: takes a --run"):
        main(["export", "--bundle", str(tmp_path / "models" / "joint"), "--labels-of", "fer2013"])


def test_other_verbs_take_the_labels_of_the_dataset(joint: Path, attentive: Path, voted: Path, tmp_path: Path) -> None:
    data = ["--dataset", f"fer2013:{voted}", "--split", "val"]
    main(["explain", "--run", str(joint), *data, "--images", "0", "--out", str(tmp_path)])
    file = tmp_path / "stress.json"
    models = ["--model", str(joint), "--model", str(attentive)]
    main(["stress", *models, *data, "--corruptions", "jpeg", "--json", str(file)])
    assert json.loads(file.read_text())["labels"] == list(EMOTIONS_7)
    _, facts = load_head(joint, load_config(joint / CONFIG), "fer2013")
    assert facts["labels"] == list(EMOTIONS_7)


def test_runs_are_made_from_joint_runs(
    joint: Path, trained: Path, session_config: Path, voted: Path, tmp_path: Path
) -> None:
    data = f"ferplus+fer2013:{voted}"
    network = ["network.name=hybrid_attention", "network.options.block_attention=coordinate"]
    overrides = [f"data={data}", f"out={tmp_path}", "name=tuned", "learning_rate=1e-9", f"pretrained={joint / BEST}"]
    tuned = train(load_config(session_config, [*network, *overrides]))
    before, after = (load_checkpoint(run / BEST)[0]["network"]["classifier.1.weight"] for run in (joint, tuned))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)  # the labels are the same

    run = interpolate(joint, tuned, 0.5, data, tmp_path / "between")
    assert set(load_checkpoint(run / BEST)[1]["validation_of"]) == {"ferplus", "fer2013"}
    file = tmp_path / "teachers.safetensors"
    soft_targets_of_models([joint, tuned], data, file)
    said = load_soft_targets(file, load_dataset(data, "train"), 2.0)
    torch.testing.assert_close(said[:, :8].sum(1), torch.ones(len(said)))
    torch.testing.assert_close(said[:, 8:].sum(1), torch.ones(len(said)))

    for other in (f"fer2013:{voted}", f"fer2013+ferplus:{voted}"):
        with pytest.raises(FerError, match="has other labels than"):
            interpolate(joint, tuned, 0.5, other, tmp_path / "no")


def test_a_teacher_teaches_the_label_sets_that_it_knows(
    joint: Path, trained: Path, voted: Path, tmp_path: Path
) -> None:
    """A bundle of FER+'s labels and a run of FER2013's teach a network of both."""
    bundle = export(joint, tmp_path / "models", labels_of="ferplus")
    data, file = f"ferplus+fer2013:{voted}", tmp_path / "teachers.safetensors"
    soft_targets_of_models([bundle, trained], data, file)
    samples = load_dataset(data, "train")
    said = load_soft_targets(file, samples, 1.0).numpy()
    for model, columns in ((bundle, slice(0, 8)), (trained, slice(8, 15))):
        views = (samples.images, [np.ascontiguousarray(image[:, ::-1]) for image in samples.images])
        expected = np.mean([softmax(load_model(model).logits(crops)) for crops in views], axis=0)
        np.testing.assert_allclose(said[:, columns], expected, atol=1e-5)
    assert load_checkpoint(file)[1]["teachers"] == ["joint", "tiny"]

    with pytest.raises(FerError, match="no --model has the labels of ferplus"):
        soft_targets_of_models([trained], data, file)
    with pytest.raises(FerError, match="has other labels than"):
        soft_targets_of_models([trained], f"ferplus:{voted}", file)


def test_training_shows_images_without_a_label_of_one_set(session_config: Path, voted: Path) -> None:
    config = load_config(session_config, [f"data=ferplus+fer2013:{voted}", "augmentation.mixup=0"])
    with prepared(config) as group:
        task = Supervision(config, group)
    assert task.count == 70
    _, targets, _ = task.batch(torch.arange(70), 0.0)
    assert targets.shape == (70, 15)
    assert (targets[:, 8:].sum(1) == 1).all()
    assert targets[:, :8].sum() == len(load_dataset(f"ferplus:{voted}", "train"))
