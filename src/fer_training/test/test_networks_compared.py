"""The networks that are there to be compared with: their parts do what their papers' texts say."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fer_perception.errors import FerError
from fer_perception.models.bundle import Bundle
from fer_training.export.onnx import export
from fer_training.export.quantization import quantize
from fer_training.networks import DDAMFN, EGT
from fer_training.networks.attention import head_separation_loss
from fer_training.networks.ddamfn import MixedConv
from fer_training.networks.egt import SelfAttention
from fer_training.runs.config import load_config
from fer_training.runs.folder import build_network
from fer_training.training.pruning import prune
from fer_training.training.supervised import SupervisedLoss, train

CONFIGS = Path(__file__).parents[1] / "configs"
COMPARED = ("mini_xception", "mobilenet_v2", "xception", "ddamfn", "egt")


def test_compared_networks_have_one_recipe() -> None:
    """But for the learning rate of two; Xception is pruned within the same number of epochs."""
    recipes = []
    own = {"name", "network", "input", "head_separation", "learning_rate", "epochs"}
    for name in COMPARED:
        config = vars(load_config(CONFIGS / f"{name}.yaml"))
        assert config["network"].name == config["name"] == name
        recipes.append({key: config[key] for key in config.keys() - own})
        assert config["learning_rate"] == {"ddamfn": 0.05, "xception": 0.02}.get(name, 0.1)
        assert config["epochs"] == (10 if name == "xception" else 40)
    assert all(recipe == recipes[0] for recipe in recipes)
    assert (recipes[0]["data"], recipes[0]["batch_size"]) == ("fer2013:data/fer2013", 128)
    pruned = load_config(CONFIGS / "light_fer.yaml")
    assert 10 + (pruned.pruning.steps - 1) * pruned.pruning.step_epochs + pruned.epochs == 40


def test_heads_are_kept_apart() -> None:
    torch.manual_seed(0)
    alike = torch.full((2, 8, 6, 6), 0.3)
    apart = [torch.zeros(2, 8, 6, 6), torch.ones(2, 8, 6, 6)]
    assert head_separation_loss([alike, alike]) == pytest.approx(100)
    assert head_separation_loss(apart) == pytest.approx(1 / 1.01)

    network = DDAMFN(7, in_channels=1).train()
    optimizer = torch.optim.SGD(network.pool.parameters(), 0.1)
    images, losses = torch.randn(4, 1, 48, 48), []
    for _ in range(4):
        loss = head_separation_loss(network.forward_with_heads(images)[1])
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_head_separation_is_part_of_the_loss(config_file: Path) -> None:
    torch.manual_seed(0)
    config = load_config(config_file, ["network={name: ddamfn}", "label_smoothing=0"])
    config.network.options = {}
    network = build_network(config, 7).eval()
    images, targets = torch.randn(4, 1, 48, 48), torch.eye(7)[:4]
    losses = []
    for config.head_separation in (0.0, 0.5):
        losses.append(SupervisedLoss(config, network, targets, {"fer2013": "abcdefg"})(images, targets, targets))
    with torch.inference_mode():
        separation = head_separation_loss(network.forward_with_heads(images)[1])
    torch.testing.assert_close(losses[1], losses[0] + 0.5 * separation)
    with pytest.raises(FerError, match=r"head_separation: network 'mobilenet_v2' has no attention heads\. Use ddamfn"):
        train(load_config(config_file, ["name=none", "head_separation=1"]))


def test_channels_have_kernels_of_three_sizes() -> None:
    torch.manual_seed(0)
    conv = MixedConv(128, 1, (3, 5, 7)).eval()
    assert conv.sizes == [48, 40, 40]
    point = torch.zeros(1, 128, 15, 15)
    point[:, :, 7, 7] = 1
    with torch.inference_mode():
        spread = torch.cat([part[0](x) for part, x in zip(conv.parts, point.split(conv.sizes, 1), strict=True)], 1)
    widths = (spread != 0).any(2).sum(2)[0]
    assert widths.split(conv.sizes)[0].unique().tolist() == [3]
    assert widths.split(conv.sizes)[1].unique().tolist() == [5]
    assert widths.split(conv.sizes)[2].unique().tolist() == [7]


def test_self_attention_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True)
    ours.inputs.load_state_dict({"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias})
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    x = torch.randn(3, 9, 32)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_places_exchange_what_they_see() -> None:
    """A place of the encoder's result depends on every place of the map, and on where it is."""
    torch.manual_seed(0)
    encoder = EGT(7, in_channels=1).encoder.eval()
    x = torch.randn(1, 160, 3, 3, requires_grad=True)
    encoder(x)[0, :, 0, 0].square().sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(1) > 0).all()
    with torch.inference_mode():
        same = encoder(torch.ones(1, 160, 3, 3))
    assert same.std((2, 3)).max() > 1e-3


def test_what_cannot_be_pruned_is_said(config_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(config_file.read_text().replace("network:", "network:\n  name: egt"))
    config = load_config(
        CONFIGS / "light_fer.yaml",
        [f"pruning.start={run}", "input.mean=[0.5]", "input.std=[0.25]", f"out={tmp_path}"],
    )
    with pytest.raises(FerError, match="light_fer: the channels of 'egt' cannot be removed one by one"):
        prune(config)


def test_light_fer_from_training_to_int8(config_file: Path, fer2013: Path, tmp_path: Path) -> None:
    """Xception is trained, pruned by magnitude, exported and quantized."""
    data = f"data=fer2013:{fer2013}"
    small = ["epochs=1", "batch_size=14", "steps_per_epoch=1", "mixed_precision=false", "warmup_epochs=0", data]
    start = train(load_config(CONFIGS / "xception.yaml", [*small, f"out={tmp_path}", "learning_rate=0.01"]))
    settings = ["pruning.images=14", "pruning.step_epochs=1", f"pruning.start={start}", f"out={tmp_path}"]
    run = prune(load_config(CONFIGS / "light_fer.yaml", [*small, *settings]))
    bundle = export(run, tmp_path / "bundles")
    facts = quantize(bundle, f"fer2013:{fer2013}", images=7, wanted=0.0)
    manifest = Bundle(bundle).manifest
    assert manifest.training["pruning"]["criterion"] == "magnitude"
    assert 0.2 < manifest.training["pruning"]["macs_fraction"] <= 0.25
    assert manifest.parameters < 0.4 * 20_820_719
    assert set(manifest.files) == {"fp32", "fp16", "int8"}
    assert facts["int8"]["blocks_in_float"] == []
