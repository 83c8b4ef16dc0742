"""Real, small trainings."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.errors import FerError
from fer_perception.models.bundle import Bundle
from fer_perception.preprocessing.normalization import InputSpec, normalize
from fer_training.__main__ import main
from fer_training.datasets import load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.attention.landmark_fraction import AttentionMeter
from fer_training.evaluation.inference import normalized, predict, prepare_images
from fer_training.export.onnx import export, export_attention, recipes_of
from fer_training.networks.landmark_regions import attention_loss, landmark_regions, region_fraction
from fer_training.runs.checkpoint import load_checkpoint, save_checkpoint
from fer_training.runs.config import TrainConfig, load_config, save_config
from fer_training.runs.folder import BEST, CONFIG, CURVES, HISTORY, LAST, build_network, load_run, read_history
from fer_training.training.loop import moving_average, optimizer_step
from fer_training.training.supervised import Supervision, prepared, train


class InterruptedRunError(Exception):
    pass


def interrupt_after(epoch: int):  # type: ignore[no-untyped-def]
    def on_epoch_end(done: int) -> None:
        if done == epoch:
            raise InterruptedRunError

    return on_epoch_end


def test_the_verb_train_writes_a_run(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", str(config_file), "epochs=2"])
    run = tmp_path / "runs" / "tiny"
    assert capsys.readouterr().out.split() == [str(run)]
    events = EventAccumulator(str(run)).Reload()
    written = {file.name for file in run.iterdir() if "tfevents" not in file.name}
    assert written == {LAST, BEST, HISTORY, CURVES, "config.yaml"}
    history = read_history(run / HISTORY, 9)
    assert [row["epoch"] for row in history] == [1, 2]
    assert [round(e.value, 4) for e in events.Scalars("val_accuracy")] == [round(r["val_accuracy"], 4) for r in history]
    best = max(history, key=lambda row: row["val_macro_f1"])
    assert load_checkpoint(run / BEST)[1]["epoch"] == best["epoch"]


def test_from_run_to_bundle(trained: Path, fer2013: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", "--run", str(trained), "--out", str(tmp_path / "models")])
    bundle = tmp_path / "models" / "tiny"
    manifest = Bundle(bundle).manifest
    assert manifest.training["data"]["train"]["images"] == 70
    assert manifest.training["recipe"]["epochs"] == 5
    config = load_config(trained / "config.yaml")
    network, facts = load_run(trained, config)
    assert manifest.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert manifest.metrics["validation"] == facts["validation"]

    results = {}
    for name, model in (("run", trained), ("bundle", bundle)):
        file = tmp_path / f"{name}.json"
        main(["evaluate", "--model", str(model), "--dataset", f"fer2013:{fer2013}", "--json", str(file)])
        results[name] = json.loads(file.read_text())["datasets"]["fer2013"]
    assert np.abs(np.subtract(results["bundle"]["confusion"], results["run"]["confusion"])).sum() <= 2  # a tie
    assert results["bundle"]["auroc"] == pytest.approx(results["run"]["auroc"], abs=0.01)
    assert "macro-F1" in capsys.readouterr().out

    # The same images through torch and through ONNX Runtime.
    samples = load_dataset(f"fer2013:{fer2013}", "train")
    by_torch = predict(network, prepare_images(samples, config.input.spec()), config.input.spec())
    by_onnx = EmotionClassifier(bundle).classify(samples.images)
    assert np.abs(by_torch - by_onnx).max() < 1e-4

    main(["evaluate", "--model", str(bundle), "--dataset", f"fer2013:{fer2013}", "--record"])
    assert Bundle(bundle).manifest.metrics["fer2013/test/fp32"]["accuracy"] == results["bundle"]["accuracy"]


def supervision(config: TrainConfig) -> Supervision:
    with prepared(config) as group:
        return Supervision(config, group)


def steps_on_one_batch(task: Supervision, batch: tuple[torch.Tensor, ...], count: int, rate: float) -> list[float]:
    """The losses before each of so many steps."""
    optimizer = torch.optim.SGD(task.objective.parameters(), rate, 0.9, nesterov=True)
    task.objective.train()
    return [float(optimizer_step(task.objective, optimizer, batch)) for _ in range(count)]


def test_the_loss_falls_on_the_batch_that_is_shown(config_file: Path) -> None:
    task = supervision(load_config(config_file))
    losses = steps_on_one_batch(task, task.batch(torch.arange(14), 0.0), 20, 0.02)
    assert losses[0] == pytest.approx(np.log(7), rel=0.2)  # a new network guesses
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.usefixtures("with_bfloat16")
@pytest.mark.parametrize(
    "overrides", [[], ["network.name=hybrid_attention", "attention_weight=1"]], ids=["plain", "attentive"]
)
def test_bfloat16_is_for_the_forward_pass_only(config_file: Path, trained: Path, overrides: list[str]) -> None:
    losses, results = {}, {}
    for mixed in (True, False):
        config = load_config(config_file, [*overrides, f"mixed_precision={str(mixed).lower()}"])
        teacher, _ = load_run(trained, load_config(trained / "config.yaml"))
        with prepared(config) as group:
            task = Supervision(config, group, teacher=teacher)
        found: dict[bool, set[torch.dtype]] = {False: set(), True: set()}
        for module in task.network.features.modules():
            if isinstance(module, torch.nn.Conv2d):
                kinds = found[getattr(module, "is_slow", False)]
                module.register_forward_hook(lambda *call, kinds=kinds: kinds.add(call[-1].dtype))
        (losses[mixed],) = steps_on_one_batch(task, task.batch(torch.arange(7), 0.0), 1, 0.01)
        results[mixed] = found
        assert {parameter.dtype for parameter in task.network.parameters()} == {torch.float32}
        assert all(bool(parameter.isfinite().all()) for parameter in task.network.parameters())
    assert results[True] == {False: {torch.bfloat16}, True: {torch.float32}}
    assert results[False] == {False: {torch.float32}, True: {torch.float32}}
    assert losses[True] == pytest.approx(losses[False], rel=0.1)


@pytest.mark.slow
def test_a_training_learns(config_file: Path) -> None:
    run = train(load_config(config_file, ["epochs=12", "batch_size=7", "learning_rate=0.03"]))
    history = read_history(run / HISTORY, 99)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert load_checkpoint(run / BEST)[1]["validation"]["accuracy"] > 2 / 7  # guessing gives 1/7


def test_statistics_are_those_of_unchanged_training_images(config_file: Path) -> None:
    """The first normalisation sees the stem's response; its mean over the whole split does not depend on the draw."""
    task = supervision(load_config(config_file))
    task.validate()
    network = task.average.module
    stem, norm = next(
        (a, b)
        for a, b in zip(network.modules(), list(network.modules())[1:], strict=False)
        if isinstance(b, torch.nn.BatchNorm2d)
    )
    with torch.inference_mode():
        responses = stem(normalized(task.data.images, task.data.spec))
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, responses.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(config_file: Path, tmp_path: Path) -> None:
    whole = load_config(config_file, ["epochs=2", f"out={tmp_path / 'whole'}"])
    broken = load_config(config_file, ["epochs=2", f"out={tmp_path / 'broken'}"])
    train(whole)
    with pytest.raises(InterruptedRunError):
        train(broken, interrupt_after(1))
    (tmp_path / "broken" / "tiny" / "last.partial").write_bytes(b"left over by a kill")
    train(broken)
    for file in (LAST, BEST):
        expected, _ = load_checkpoint(whole.run_folder / file)
        found, _ = load_checkpoint(broken.run_folder / file)
        for group, tensors in expected.items():
            for name, tensor in tensors.items():
                torch.testing.assert_close(found[group][name], tensor, rtol=0, atol=0)
    assert (broken.run_folder / HISTORY).read_text() == (whole.run_folder / HISTORY).read_text()


def test_another_seed_gives_another_network(config_file: Path, tmp_path: Path) -> None:
    states = []
    for seed in (0, 1):
        config = load_config(config_file, [f"seed={seed}", f"out={tmp_path / str(seed)}"])
        states.append(load_checkpoint(train(config) / LAST)[0]["objective"]["network.features.0.0.weight"])
    assert not torch.equal(*states)


def test_a_run_is_not_continued_with_another_recipe(config_file: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train(load_config(config_file, ["epochs=2"]), interrupt_after(1))
    with pytest.raises(FerError, match="holds a run with other values of epochs, learning_rate"):
        train(load_config(config_file, ["epochs=3", "learning_rate=0.2"]))


def test_damaged_checkpoint_is_named(config_file: Path) -> None:
    config = load_config(config_file, ["epochs=2"])
    with pytest.raises(InterruptedRunError):
        train(config, interrupt_after(1))
    (config.run_folder / LAST).write_bytes(b"damaged")
    with pytest.raises(FerError, match=r"last\.safetensors: not a readable checkpoint"):
        train(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "epoch"),
        ("epochs=many", "many"),
        ("network.name=resnet", "network 'resnet' is unknown"),
        ("network.options.depth=3", "depth"),
        ("input.color=blue", "input"),
        ("batch_size=1000", "batch_size 1000 exceeds"),
        ("batch_size=0", "batch_size cannot be 0"),
        ("epochs=0", "epochs cannot be 0"),
        ("momentum=0", "momentum cannot be 0"),
        ("learning_rate=.nan", "learning_rate cannot be nan"),
        ("name=../up", "name cannot be '../up'"),
        ("data=fer2013:/nowhere", "/nowhere"),
    ],
)
def test_bad_configurations_end_in_one_line(config_file: Path, override: str, message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", str(config_file), override])
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["epochs: [", "- a\n- list", "just text"])
def test_files_that_are_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(FerError, match=r"bad\.yaml"):
        load_config(tmp_path / "bad.yaml")


def test_missing_files_end_in_one_line(tmp_path: Path, fer2013: Path) -> None:
    for arguments in (
        ["train", str(tmp_path / "no.yaml")],
        ["export", "--run", str(tmp_path), "--out", str(tmp_path)],
        ["evaluate", "--model", str(tmp_path), "--dataset", f"fer2013:{fer2013}"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert str(tmp_path) in str(caught.value)


def test_export_replaces_bundles_only(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    (out / "tiny").mkdir(parents=True)
    (out / "tiny" / "thesis.txt").write_text("precious")
    with pytest.raises(FerError, match="exists and is no bundle"):
        export(trained, out)
    assert (out / "tiny" / "thesis.txt").exists()


def test_shipped_configurations_are_valid() -> None:
    folder = Path(__file__).parents[1] / "configs"
    files = sorted(folder.glob("*.yaml"))
    assert files
    for file in files:
        config = load_config(file)
        assert config.name == file.stem
        if config.network.name != "landmark_compressed":  # which prune builds
            crops = torch.zeros(1, config.input.spec().channels, config.input.height, config.input.width)
            with torch.inference_mode():
                assert build_network(config, 15).eval()(crops).shape == (1, 15)
        assert yaml.safe_load(file.read_text())["name"] == file.stem


ATTENTIVE = ("network.name=hybrid_attention", "network.options.stem_stride=1")


def test_attention_outside_the_regions_is_part_of_the_loss(config_file: Path) -> None:
    config = load_config(config_file, [*ATTENTIVE, "attention_weight=5"])
    task = supervision(config)
    images, targets, soft_targets, regions = batch = task.batch(torch.arange(14), 0.0)
    task.objective.train()
    with torch.no_grad():
        maps = task.network.forward_with_attention(images)[1]  # type: ignore[operator]
        distance = attention_loss(maps, regions)
        alone, both = task.objective(images, targets, soft_targets), task.objective(*batch)
    torch.testing.assert_close(both, alone + 5 * distance, rtol=1e-4, atol=1e-5)

    steps_on_one_batch(task, batch, 5, 0.02)
    with torch.no_grad():
        maps = task.network.forward_with_attention(images)[1]  # type: ignore[operator]
        assert attention_loss(maps, regions) < distance


def test_attention_maps_can_be_had(attentive: Path, fer2013: Path, tmp_path: Path) -> None:
    config = load_config(attentive / "config.yaml")
    network, _ = load_run(attentive, config)
    spec = config.input.spec()
    crops = normalize(prepare_images(load_dataset(f"fer2013:{fer2013}", "val"), spec)[:5], spec)
    with torch.inference_mode():
        _, maps = network.forward_with_attention(torch.from_numpy(crops))  # type: ignore[operator]
    file = tmp_path / "maps.onnx"
    main(["export", "--run", str(attentive), "--out", str(tmp_path), "--attention", str(file)])
    found = onnxruntime.InferenceSession(file).run(["attention_0", "attention_1"], {"crops": crops})
    for expected, output in zip(maps, found, strict=True):
        np.testing.assert_allclose(output, expected.numpy(), atol=1e-4)


@pytest.mark.slow
def test_attention_is_drawn_to_the_landmarks(config_file: Path, fer2013: Path) -> None:
    distances, fractions = {}, {}
    learning = ["epochs=8", "batch_size=7", "learning_rate=0.02"]
    for weight in (0, 5):
        overrides = [f"name=attention{weight}", f"attention_weight={weight}", *learning]
        config = load_config(config_file, [*ATTENTIVE, *overrides])
        network, _ = load_run(train(config), config)
        spec = config.input.spec()
        images = prepare_images(load_dataset(f"fer2013:{fer2013}", "val"), spec)
        regions = torch.from_numpy(landmark_regions(FER2013_TEMPLATE, spec.width, spec.height))[None, None]
        with torch.inference_mode():
            _, maps = network.forward_with_attention(torch.from_numpy(normalize(images, spec)))  # type: ignore[operator]
        distances[weight] = float(attention_loss(maps, regions))
        fractions[weight] = [float(region_fraction(attention, regions).mean()) for attention in maps]
    assert distances[5] < 0.8 * distances[0]
    for drawn, free in zip(fractions[5], fractions[0], strict=True):
        assert drawn > free
        assert drawn > 1.05 * float(regions.mean())  # that of a map that does not weigh places


def test_only_attention_networks_take_an_attention_loss(config_file: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(FerError, match="has no attention"):
        train(load_config(config_file, ["name=none", "attention_weight=1"]))
    with pytest.raises(FerError, match="has no attention maps"):
        export_attention(trained, tmp_path / "maps.onnx")


@pytest.mark.parametrize("stages", [[4], []])
def test_attention_of_other_stages_is_exported_and_measured(
    config_file: Path, fer2013: Path, tmp_path: Path, stages: list[int]
) -> None:
    network = ["network.name=hybrid_attention", "network.options.block_attention=squeeze_excite"]
    run = train(load_config(config_file, [*network, f"network.options.attended_stages={stages}"]))
    bundle = Bundle(export(run, tmp_path / "models"))
    assert (bundle.manifest.attention is not None) == bool(stages)
    meter = AttentionMeter(run)
    images = prepare_images(load_dataset(f"fer2013:{fer2013}", "val"), meter.spec)
    assert {key for key in meter.measure(images).maps if "stage" in key} == {f"attention_stage{k}" for k in stages}
    assert ("attention" in meter.absent()) == (not stages)
    if not stages:
        with pytest.raises(FerError, match="has no attention maps"):
            export_attention(run, tmp_path / "maps.onnx")
        with pytest.raises(FerError, match="has no attention"):
            train(load_config(run / "config.yaml", ["name=drawn", "attention_weight=1"]))


def test_the_average_is_that_of_its_formula() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = moving_average(network, 0.5)
    expected = None
    for step in range(12):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_()
        network.train()(torch.randn(4, 3))
        average.update_parameters(network)
        weights, variance = network[0].weight.detach().clone(), network[1].running_var.clone()  # type: ignore[operator]
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        expected = [
            new if old is None else decay * old + (1 - decay) * new
            for old, new in zip(expected or (None, None), (weights, variance), strict=True)
        ]
        torch.testing.assert_close(average.module[0].weight, expected[0])  # type: ignore[index]
        torch.testing.assert_close(average.module[1].running_var, expected[1])  # type: ignore[index]
        assert average.module[1].num_batches_tracked == step + 1  # type: ignore[index]


@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_images_are_normalised_as_the_robot_does_it(color: str) -> None:
    channels = {"grey": 1, "rgb": 3}[color]
    spec = InputSpec(width=8, height=9, color=color, mean=[0.5, 0.4, 0.3][:channels], std=[0.2, 0.3, 0.4][:channels])
    images = np.random.default_rng(0).integers(0, 256, (4, 9, 8, channels), np.uint8)
    found = normalized(torch.from_numpy(images), spec)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), normalize(images, spec), atol=1e-6)


def test_training_starts_from_another_run(config_file: Path, trained: Path, tmp_path: Path) -> None:
    other_labels, facts = load_checkpoint(trained / BEST)
    save_checkpoint(tmp_path / "other.safetensors", other_labels, {**facts, "labels": facts["labels"][::-1]})
    stem, head = "features.0.0.weight", "classifier.1.weight"

    def start(file: Path) -> tuple[float, float]:
        """The largest changes of the first and the last layer."""
        config = load_config(config_file, ["name=second", "learning_rate=1e-9", f"pretrained={file}"])
        shutil.rmtree(config.run_folder, ignore_errors=True)
        after = load_checkpoint(train(config) / BEST)[0]["network"]
        before = other_labels["network"]
        return float((after[stem] - before[stem]).abs().max()), float((after[head] - before[head]).abs().max())

    assert max(start(trained / BEST)) < 1e-4
    training = Bundle(export(tmp_path / "runs" / "second", tmp_path)).manifest.training
    assert training["recipe"]["pretrained"] == "tiny"
    assert [recipe["name"] for recipe in training["earlier_recipes"]] == ["tiny"]
    alike = tmp_path / "alike" / "tiny"  # its start, which is gone, had its name
    alike.mkdir(parents=True)
    save_config(load_config(trained / CONFIG, [f"pretrained=gone/tiny/{BEST}"]), alike / CONFIG)
    assert len(recipes_of(alike)) == 1
    of_stem, of_head = start(tmp_path / "other.safetensors")
    assert of_stem < 1e-4
    assert of_head > 1e-3  # other labels: the classifier starts anew


def test_frozen_stages_keep_their_weights(config_file: Path, trained: Path) -> None:
    config = load_config(config_file, ["name=second", f"pretrained={trained / BEST}", "frozen_stages=2"])
    before, after = (load_checkpoint(run / BEST)[0]["network"] for run in (trained, train(config)))
    changed = {
        name.split(".")[1]
        for name in before
        if name.startswith("features.") and name.endswith("weight") and not torch.equal(before[name], after[name])
    }
    assert {"0", "1"}.isdisjoint(changed)
    assert {"2", "3"} <= changed
