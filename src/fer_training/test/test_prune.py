"""Real, small prunings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7
from fer_perception.preprocessing.normalization import InputSpec
from fer_training.__main__ import main
from fer_training.datasets import balanced, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import by_head, predict, prepare_images
from fer_training.export.onnx import count_macs, export
from fer_training.networks import NETWORKS
from fer_training.networks.attention import BLOCK_ATTENTION
from fer_training.networks.landmark_regions import landmark_regions
from fer_training.networks.pruned import changed_widths, widths_of, with_widths
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import CRITERIA, PruningConfig, load_config, save_config
from fer_training.runs.folder import BEST, CONFIG, HISTORY, LAST, build_network, load_run, read_history
from fer_training.training.distillation import distillation_loss
from fer_training.training.domain_adaptation import _with_widths_of_start
from fer_training.training.pruning import prune
from fer_training.training.pruning.comparison import CriteriaResult
from fer_training.training.pruning.graph import Macs, choose, find_groups
from fer_training.training.pruning.importance import LandmarkImportance
from fer_training.training.pruning.schedule import remove_channels
from fer_training.training.soft_targets import soft_targets_of_models
from fer_training.training.supervised import LabelledImages, Supervision, prepared

SPEC = InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25])
VARIANTS = {
    "mobilenet_v2": ("mobilenet_v2", {"stem_stride": 1, "width": 0.5}),
    "hybrid_attention on efficientnet_lite0": (
        "hybrid_attention",
        {"backbone": "efficientnet_lite0", "stem_stride": 1},
    ),
    "hybrid_attention, dual direction": (
        "hybrid_attention",
        {"stem_stride": 1, "width": 0.5, "dual_direction_size": 3},
    ),
    **{
        f"hybrid_attention, {name}": ("hybrid_attention", {"stem_stride": 1, "width": 0.5, "block_attention": name})
        for name in BLOCK_ATTENTION
    },
    "dual_adaptive": ("dual_adaptive", {"stem_stride": 1, "width": 0.5}),
    "mini_xception": ("mini_xception", {}),
    "xception": ("xception", {}),
}


class InterruptedRunError(Exception):
    pass


def write_pruning(folder: Path, session_config: Path, start: Path, **changes: object) -> Path:
    """The configuration of a small pruning in two steps."""
    lines = [line for line in session_config.read_text().splitlines() if "options:" not in line]
    (folder / "base.yaml").write_text("\n".join(lines).replace("network:", "network: {name: landmark_compressed}"))
    values = {
        "name": "pruned",
        "out": folder,
        "epochs": 2,
        "learning_rate": 0.05,
        "pruning.start": start,
        "pruning.images": 28,
        "pruning.steps": 2,
        "pruning.step_epochs": 1,
        **changes,
    }
    config = load_config(folder / "base.yaml", [f"{key}={value}" for key, value in values.items()])
    save_config(config, folder / "prune.yaml")
    return folder / "prune.yaml"


@pytest.fixture(scope="module")
def config(session_config: Path, attentive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of ``pruned``."""
    return write_pruning(tmp_path_factory.mktemp("pruning"), session_config, attentive)


@pytest.fixture(scope="module")
def pruned(config: Path) -> Path:
    """The run that it gives. It is shared: do not change it."""
    main(["prune", str(config)])
    return load_config(config).run_folder


def calibration(count: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, labels (N, 7) and regions."""
    generator = torch.Generator().manual_seed(0)
    regions = torch.from_numpy(landmark_regions(FER2013_TEMPLATE, 48, 48))[None, None]
    return torch.randn(count, 1, 48, 48, generator=generator), torch.eye(7)[torch.arange(count) % 7], regions


def test_what_is_left_and_recorded(pruned: Path, attentive: Path) -> None:
    network, facts = load_run(pruned, load_config(pruned / CONFIG))
    unpruned = load_run(attentive, load_config(attentive / CONFIG))[0]
    fraction = count_macs(network, SPEC) / count_macs(unpruned, SPEC)
    assert 0.3 < fraction <= 0.5
    assert facts["pruning"]["macs_fraction"] == fraction
    assert facts["pruning"]["start"] == "attentive"
    assert facts["pruning"]["accuracy_of_start"] == load_checkpoint(attentive / BEST)[1]["validation"]["accuracy"]
    assert 0 <= facts["pruning"]["accuracy_before_fine_tuning"] <= 1
    assert len(read_history(pruned / HISTORY, 9)) == 2
    assert len(read_history(pruned / "step1" / HISTORY, 9)) == 1
    assert type(network) is type(unpruned)
    for name, width in changed_widths(network, unpruned).items():
        assert all(count % 8 == 0 for count in width[:2] if count not in (1, 7)), name


def test_everything_that_takes_a_run_takes_a_pruned_one(
    config: Path, pruned: Path, config_file: Path, fer2013: Path, tmp_path: Path
) -> None:
    saved = load_config(pruned / CONFIG)
    network, _ = load_run(pruned, saved)
    bundle = export(pruned, tmp_path / "models")
    samples = load_dataset(f"fer2013:{fer2013}", "val")
    probabilities = predict(network, prepare_images(samples, saved.input.spec()), saved.input.spec())
    assert np.abs(EmotionClassifier(bundle).classify(samples.images) - probabilities).max() < 1e-4
    manifest = EmotionClassifier(bundle).bundle.manifest
    assert manifest.training["pruning"]["criterion"] == "landmark"
    assert "widths" not in manifest.training["recipe"]["network"]["options"]
    soft_targets_of_models([pruned], f"fer2013:{fer2013}", tmp_path / "soft_targets.safetensors")
    data, out = ["--dataset", f"fer2013:{fer2013}", "--split", "val"], ["--out", str(tmp_path / "maps")]
    main(["evaluate", "--model", str(pruned), *data])
    main(["explain", "--run", str(pruned), *data, *out, "--images", "0"])
    main(["report", "--bundles", str(tmp_path / "models"), "--out", str(tmp_path / "report")])

    # A pruned start gives its widths to the network that is adapted.
    adapting = ["network.name=dual_adaptive", "network.options.region_size=3", f"adaptation.start={pruned}"]
    adapted = build_network(_with_widths_of_start(load_config(config_file, adapting)), 7)
    assert isinstance(adapted, NETWORKS["dual_adaptive"])  # type: ignore[arg-type]
    assert adapted(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_a_pruned_run_is_complete_and_can_be_pruned_again(
    config: Path, pruned: Path, session_config: Path, tmp_path: Path
) -> None:
    before = (pruned / LAST).read_bytes()
    main(["prune", str(config)])  # complete: nothing happens
    assert (pruned / LAST).read_bytes() == before
    changes = {"name": "again", "epochs": 1, "pruning.steps": 1, "pruning.macs": 0.7}
    again = prune(load_config(write_pruning(tmp_path, session_config, pruned, **changes)))
    macs = [count_macs(load_run(run, load_config(run / CONFIG))[0], SPEC) for run in (again, pruned)]
    assert macs[0] < 0.7 * macs[1]


@pytest.mark.parametrize("interruption", [1, 2])  # after the first step, and within the second one
def test_an_interrupted_pruning_ends_as_an_uninterrupted_one(
    pruned: Path, session_config: Path, attentive: Path, tmp_path: Path, interruption: int
) -> None:
    broken = load_config(write_pruning(tmp_path, session_config, attentive))
    finished = []

    def interrupt(_: int) -> None:
        finished.append(1)
        if len(finished) == interruption:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        prune(broken, interrupt)
    prune(broken)
    for file in (LAST, BEST):
        (expected, facts), (found, found_facts) = (load_checkpoint(run / file) for run in (pruned, broken.run_folder))
        assert facts == found_facts
        for group, tensors in expected.items():
            for name, tensor in tensors.items():
                torch.testing.assert_close(found[group][name], tensor, rtol=0, atol=0)


def test_criteria_are_compared(
    session_config: Path, attentive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_pruning(tmp_path, session_config, attentive)
    main(["prune", "--compare", str(config)])
    file = Path(capsys.readouterr().out.strip().splitlines()[-1])
    rows = CriteriaResult.read(file.with_suffix(".json")).criteria
    assert [row.criterion for row in rows] == list(CRITERIA)
    assert all(0.3 < row.macs_fraction <= 0.5 for row in rows)
    for row in rows:
        facts = load_checkpoint(file.with_name(row.criterion) / BEST)[1]
        assert facts["pruning"]["criterion"] == row.criterion
        assert row.accuracy == facts["validation"]["accuracy"]
        assert row.accuracy_before_fine_tuning == facts["pruning"]["accuracy_before_fine_tuning"]
    assert file.read_text().count("\n") == 6


def test_a_joint_run_is_pruned_with_unlabelled_images(
    session_config: Path, joint: Path, voted: Path, tmp_path: Path
) -> None:
    changes = {
        "data": f"ferplus+fer2013:{voted}",
        "distillation.unlabelled": f"[camera/ferplus+fer2013:{voted},fer2013:{voted}]",
        "distillation.weight": 0.75,
        "epochs": 1,
        "pruning.steps": 1,
    }
    file = write_pruning(tmp_path, session_config, joint, **changes)
    config = load_config(file)
    run = prune(config)
    network, facts = load_run(run, load_config(run / CONFIG))
    assert facts["pruning"]["macs_fraction"] <= 0.5
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 15)
    assert set(facts["validation_of"]) == {"ferplus", "fer2013"}
    assert facts["pruning"]["accuracy_of_start"] == load_checkpoint(joint / BEST)[1]["validation"]["accuracy"]
    bundle = EmotionClassifier(export(run, tmp_path / "models", "fer2013"))
    assert bundle.labels == EMOTIONS_7
    recipe = bundle.bundle.manifest.training["recipe"]
    assert recipe["distillation"]["unlabelled"] == ["camera/ferplus+fer2013", "fer2013"]

    # The unlabelled images come last. What they teach is the teacher's alone.
    teacher = load_run(joint, load_config(joint / CONFIG))[0]
    with prepared(config) as group:
        data = LabelledImages(config, group.device)
        task = Supervision(config, group, data, network, teacher)
    assert (len(data.samples), task.count) == (70, 70 + 2 * 35)
    assert not data.targets[70:].any()
    assert (data.targets[:70].sum(1) > 0).all()
    seen = load_dataset(f"camera/ferplus+fer2013:{voted}", "val")
    np.testing.assert_array_equal(data.images[70:105, ..., 0].numpy(), np.stack(seen.images))
    images, targets, taught = task.batch(torch.arange(70, 140), 0.0)
    task.objective.eval()
    with torch.no_grad():
        loss = task.objective(images, targets, taught)
        said = by_head(torch.softmax, teacher(images) / 2, [8, 7])
        expected = 0.75 * distillation_loss(network(images), said, [8, 7], 2.0)
    torch.testing.assert_close(loss, expected)

    for override in ("sampling.label_balance=1", "augmentation.camera_views=1"):
        with pytest.raises(FerError, match=r"has distillation\.unlabelled beside sampling or augmentation"):
            prune(load_config(file, ["name=bad", override]))
    with pytest.raises(FerError, match="has other labels than"):
        prune(load_config(file, ["name=bad", f"data=fer2013:{voted}"]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_is_pruned_and_rebuilt(variant: str) -> None:
    name, options = VARIANTS[variant]
    torch.manual_seed(0)
    network = NETWORKS[name](7, 1, **options)
    before = count_macs(network.eval(), SPEC)
    assert Macs(network, SPEC).total == before
    images, targets, _ = calibration(8)
    remove_channels(network, PruningConfig(macs=0.6), SPEC, images, targets, [7], before)
    left = count_macs(network, SPEC)
    assert 0.5 * before < left <= 0.6 * before
    assert Macs(network, SPEC).total == left

    rebuilt = NETWORKS["landmark_compressed"](
        7, 1, network=name, widths=changed_widths(network, NETWORKS[name](7, 1, **options)), **options
    )
    assert widths_of(rebuilt) == widths_of(network)
    rebuilt.load_state_dict(network.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(rebuilt.eval()(images), network.eval()(images), rtol=0, atol=0)


class Halves(nn.Module):
    """A place-wise copy of the image in four channels, cut out differently; each channel has the same say."""

    def __init__(self, masks: torch.Tensor) -> None:
        super().__init__()
        self.copy = nn.Conv2d(1, len(masks), 1, bias=False)
        nn.init.ones_(self.copy.weight)
        self.look = nn.Conv2d(len(masks), 7, 1, bias=False)
        self.masks = masks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.look(self.copy(x) * self.masks).mean((2, 3))


def test_channels_that_look_at_the_landmarks_are_kept() -> None:
    images, targets, regions = calibration()
    inside = (regions > 0.5).float()
    # As large an area outside: the upper left and right corners are no landmarks.
    outside = torch.zeros_like(inside).flatten()
    outside[: int(inside.sum())] = 1
    outside = outside.reshape(inside.shape)
    assert (outside * (regions > 0.3)).sum() == 0
    network = Halves(torch.cat([inside, outside, inside, outside], 1)[0]).eval()
    torch.manual_seed(0)
    nn.init.normal_(network.look.weight)
    network.look.weight.data[:, 2:] = network.look.weight.data[:, :2]
    # Of channels that matter alike to the loss, those inside are kept.
    (group,) = [group for group in find_groups(network, SPEC) if group.channels == 4]
    plain, guided = (
        LandmarkImportance(network, images, (targets, [7]), regions, guidance)(group.members) for guidance in (0.0, 3.0)
    )
    torch.testing.assert_close(plain[0], plain[2])
    assert guided[0] / guided[1] > 10 * plain[0] / plain[1]
    torch.testing.assert_close(guided.sum(), plain.sum())
    (removed,) = choose([group], [guided], Macs(network, SPEC), int(Macs(network, SPEC).total * 0.6), 2)
    assert sorted(removed) == [1, 3]


def test_criteria_differ() -> None:
    images, targets, _ = calibration()
    torch.manual_seed(0)
    network = NETWORKS["mobilenet_v2"](7, 1, width=0.5)
    before = count_macs(network.eval(), SPEC)
    found = {}
    for criterion in ("landmark", "taylor", "magnitude", "random"):
        pruned = NETWORKS["mobilenet_v2"](7, 1, width=0.5)
        pruned.load_state_dict(network.state_dict())
        torch.manual_seed(0)
        remove_channels(pruned, PruningConfig(criterion=criterion), SPEC, images, targets, [7], before)
        found[criterion] = torch.cat([tensor.flatten() for tensor in pruned.state_dict().values()])
    values = list(found.values())
    assert not any(
        first.shape == second.shape and torch.equal(first, second)
        for number, first in enumerate(values)
        for second in values[:number]
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pruning.start=''", "pruning.start is missing"),
        ("pruning.start=/nowhere", "/nowhere"),
        ("network.name=mobilenet_v2", "network must be 'landmark_compressed' without options"),
        ("input.std=[0.3]", r"input differs from that of the start. Copy it from .*config\.yaml"),
        ("distillation.soft_targets=x", "distillation.soft_targets must be empty"),
        ("pruning.macs=0.001", "MACs are out of reach"),
    ],
)
def test_bad_configurations(config: Path, override: str, message: str) -> None:
    with pytest.raises(FerError, match=message):
        prune(load_config(config, ["name=bad", override]))


def test_bad_values_and_confused_verbs(config_file: Path) -> None:
    for override in ("pruning.start=runs/x", "distillation.unlabelled=[manifest:x]"):
        with pytest.raises(SystemExit, match="configuration for the verb prune"):
            main(["train", str(config_file), override])
    with pytest.raises(SystemExit, match=r"pruning\.criterion cannot be 'luck'"):
        main(["prune", str(config_file), "pruning.criterion=luck"])
    with pytest.raises(FerError, match=r"'features\.0\.0: \[1, 64, 1\]' does not fit the network"):
        with_widths(NETWORKS["mobilenet_v2"](7, 1), {"features.0.0": [1, 64, 1]})
    with pytest.raises(FerError, match=r"network\.options\.network is ''"):
        NETWORKS["landmark_compressed"](7)


def test_as_many_samples_of_each_label_as_there_are() -> None:
    targets = np.repeat(np.arange(3), (50, 4, 100)).astype(np.int64)
    picked = balanced(targets, 60)
    assert np.bincount(targets[picked]).tolist() == [28, 4, 28]
    assert picked.tolist() == balanced(targets, 60).tolist()
    assert len(set(picked.tolist())) == 60
    assert len(balanced(targets, 1000)) == 154
