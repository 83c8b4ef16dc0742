"""Real, small prunings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fer_perception.emotion import EmotionClassifier
from fer_perception.errors import FerError
from fer_perception.preprocessing import InputSpec
from fer_training.__main__ import main
from fer_training.adapt import _with_widths_of_start
from fer_training.checkpoint import load_checkpoint
from fer_training.config import PruningConfig, TrainConfig, load_config
from fer_training.datasets import balanced, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.export import count_macs, export
from fer_training.inference import predict, prepare_images
from fer_training.networks import NETWORKS
from fer_training.networks.compressed import changed_widths, widths_of, with_widths
from fer_training.networks.landmark_regions import landmark_regions
from fer_training.pruning import prune
from fer_training.pruning.graph import Macs, choose, find_groups
from fer_training.pruning.importance import LandmarkImportance
from fer_training.pruning.schedule import remove_channels
from fer_training.runs import BEST, HISTORY, LAST, build_network, load_run, read_history
from fer_training.teach import teach
from fer_training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25])
NETWORK = ["network.name=hybrid_attention", "network.options={width: 0.5, stem_stride: 2, dropout: 0.0}"]
GENTLE = ["augmentation={flip: false, rotation_deg: 3.0, translation: 0.02, scale: 0.02, erasing_probability: 0.0}"]
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
    "dual_adaptive": ("dual_adaptive", {"stem_stride": 1, "width": 0.5}),
    "mini_xception": ("mini_xception", {}),
}


class InterruptedRunError(Exception):
    pass


@pytest.fixture(scope="module")
def start(fer2013: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, to be pruned."""
    folder = tmp_path_factory.mktemp("start")
    file = folder / "start.yaml"
    file.write_text(f"name: start\ndata: fer2013:{fer2013}\nout: {folder}\nepochs: 4\nbatch_size: 35\nthreads: 1\n")
    return train(load_config(file, [*NETWORK, *GENTLE, "learning_rate=0.05", "ema_decay=0.9"]))


def pruning(config_file: Path, start: Path, *overrides: str) -> TrainConfig:
    lines = [line for line in config_file.read_text().splitlines() if "options:" not in line]
    file = config_file.with_name("prune.yaml")
    file.write_text("\n".join(lines).replace("network:", "network: {name: landmark_compressed}"))
    return load_config(
        file,
        [
            "threads=1",
            "name=pruned",
            f"pruning.start={start}",
            "pruning.images=70",
            "pruning.steps=2",
            "pruning.step_epochs=1",
            "learning_rate=0.05",
            "epochs=2",
            *overrides,
        ],
    )


def calibration(count: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, labels and regions."""
    generator = torch.Generator().manual_seed(0)
    regions = torch.from_numpy(landmark_regions(FER2013_TEMPLATE, 48, 48))[None, None]
    return torch.randn(count, 1, 48, 48, generator=generator), torch.arange(count) % 7, regions


def test_from_run_to_pruned_bundle(config_file: Path, start: Path, fer2013: Path, tmp_path: Path) -> None:
    config = pruning(config_file, start)
    main(["prune", *arguments_of(config, tmp_path)])
    run = config.run_folder
    saved = load_config(run / "config.yaml")
    network, facts = load_run(run, saved)
    unpruned = load_run(start, load_config(start / "config.yaml"))[0]
    share = count_macs(network, SPEC) / count_macs(unpruned, SPEC)
    assert 0.4 < share <= 0.5
    assert facts["pruning"]["macs_share"] == share
    assert facts["pruning"]["start"] == "start"
    assert 0 < facts["pruning"]["accuracy_before_fine_tuning"] < 1
    assert len(read_history(run / HISTORY, 9)) == 2
    assert len(read_history(run / "step1" / HISTORY, 9)) == 1
    assert type(network) is type(unpruned)
    for name, width in changed_widths(network, unpruned).items():
        assert all(count % 8 == 0 for count in width[:2] if count not in (1, 7)), name

    # Everything that takes a run takes this one.
    bundle = export(run, tmp_path / "models")
    samples = load_dataset(f"fer2013:{fer2013}", "val")
    probabilities = predict(network, prepare_images(samples, saved.input.spec()), saved.input.spec())
    assert np.abs(EmotionClassifier(bundle).classify(samples.images) - probabilities).max() < 1e-4
    manifest = EmotionClassifier(bundle).bundle.manifest
    assert manifest.training["pruning"]["criterion"] == "landmark"
    assert "widths" not in manifest.training["recipe"]["network"]["options"]
    teach([run], f"fer2013:{fer2013}", tmp_path / "answers.safetensors")
    main(["evaluate", "--model", str(run), "--dataset", f"fer2013:{fer2013}", "--split", "val", "--attention"])
    main(["report", "--bundles", str(tmp_path / "models"), "--out", str(tmp_path / "report")])
    main(["prune", *arguments_of(config, tmp_path)])  # complete: nothing happens
    again = pruning(config_file, run, "name=again", "pruning.steps=1", "epochs=1", "pruning.macs=0.7")
    assert count_macs(
        load_run(prune(again), load_config(again.run_folder / "config.yaml"))[0], SPEC
    ) < 0.7 * count_macs(network, SPEC)

    # A pruned start gives its widths to the network that is adapted.
    options = "network.options={width: 0.5, stem_stride: 2, dropout: 0.0, region_size: 3}"
    adapting = load_config(config_file, ["network.name=dual_adaptive", options, f"adaptation.start={run}"])
    adapted = build_network(_with_widths_of_start(adapting), 7)
    assert isinstance(adapted, NETWORKS["dual_adaptive"])  # type: ignore[arg-type]
    assert adapted(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def arguments_of(config: TrainConfig, folder: Path) -> list[str]:
    from fer_training.config import save_config

    save_config(config, folder / "written.yaml")
    return [str(folder / "written.yaml")]


@pytest.mark.parametrize("interruption", [1, 2])
def test_an_interrupted_pruning_ends_as_an_uninterrupted_one(
    config_file: Path, start: Path, tmp_path: Path, interruption: int
) -> None:
    whole, broken = (pruning(config_file, start, f"out={tmp_path / name}") for name in ("whole", "broken"))
    finished = []

    def interrupt(_: int) -> None:
        finished.append(1)
        if len(finished) == interruption:
            raise InterruptedRunError

    prune(whole)
    with pytest.raises(InterruptedRunError):
        prune(broken, interrupt)
    prune(broken)
    for file in (LAST, BEST):
        (expected, facts), (found, found_facts) = (load_checkpoint(run.run_folder / file) for run in (whole, broken))
        assert facts == found_facts
        for group, tensors in expected.items():
            for name, tensor in tensors.items():
                torch.testing.assert_close(found[group][name], tensor, rtol=0, atol=0)


def test_criteria_are_compared(
    config_file: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pruning(config_file, start)
    main(["prune", "--compare", *arguments_of(config, tmp_path)])
    file = Path(capsys.readouterr().out.strip().splitlines()[-1])
    rows = json.loads(file.with_suffix(".json").read_text())
    assert [row["criterion"] for row in rows] == ["landmark", "taylor", "magnitude", "random"]
    assert all(0.4 < row["macs_share"] <= 0.5 for row in rows)
    assert len({row["accuracy_before_fine_tuning"] for row in rows}) > 1
    assert file.read_text().count("\n") == 6


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_is_pruned_and_rebuilt(variant: str) -> None:
    name, options = VARIANTS[variant]
    torch.manual_seed(0)
    network = NETWORKS[name](7, 1, **options)
    before = count_macs(network.eval(), SPEC)
    assert Macs(network, SPEC).total == before
    images, targets, _ = calibration(8)
    remove_channels(network, PruningConfig(macs=0.6), SPEC, images, targets, before)
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
    """A place-wise copy of the picture in four channels, cut out differently; each channel has the same say."""

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
        LandmarkImportance(network, images, targets, regions, guidance)(group.members) for guidance in (0.0, 3.0)
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
        remove_channels(pruned, PruningConfig(criterion=criterion), SPEC, images, targets, before)
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
        ("distillation.answers=x", "distillation.answers must be empty"),
        ("pruning.macs=0.001", "MACs are out of reach"),
    ],
)
def test_bad_configurations(config_file: Path, start: Path, override: str, message: str) -> None:
    with pytest.raises(FerError, match=message):
        prune(pruning(config_file, start, override))


def test_bad_values_and_confused_verbs(config_file: Path) -> None:
    with pytest.raises(SystemExit, match="configuration for the verb prune"):
        main(["train", str(config_file), "pruning.start=runs/x"])
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
