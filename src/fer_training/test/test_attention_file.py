"""The attention map of a bundle is that of its network."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fer_perception.emotions.attention_maps import AttentionMaps
from fer_perception.errors import BundleError, FerError
from fer_perception.models.bundle import Bundle, write_manifest
from fer_perception.models.shipped import resolve_model
from fer_perception.preprocessing.normalization import normalize
from fer_training.__main__ import main
from fer_training.datasets import load_dataset
from fer_training.evaluation.attention.landmark_fraction import AttentionMeter
from fer_training.evaluation.inference import prepare_images
from fer_training.export.attention import add_attention
from fer_training.runs.config import load_config
from fer_training.runs.folder import CONFIG, load_run

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


def test_export_writes_the_map_that_is_measured(attentive: Path, fer2013: Path, tmp_path: Path) -> None:
    main(["export", "--run", str(attentive), "--out", str(tmp_path)])
    bundle = Bundle(tmp_path / "attentive")
    samples = load_dataset(f"fer2013:{fer2013}", "val")
    images = prepare_images(samples, load_config(attentive / CONFIG).input.spec())
    found = AttentionMaps(bundle).infer(samples.images)
    assert found.shape == (len(images), 6, 6)
    _, maps = AttentionMeter(attentive).look(images)
    np.testing.assert_allclose(found, maps["attention_stage3"][:, 0].numpy(), atol=1e-4)
    graph = onnx.load(bundle.attention_file()).graph
    assert [output.name for output in graph.output] == ["attention"]
    assert len(graph.node) < len(onnx.load(bundle.onnx_file()).graph.node) / 2  # nothing that comes after the map


def test_a_bundle_gets_the_file_and_keeps_its_records(attentive_bundle: Path, tmp_path: Path) -> None:
    exported = Bundle(shutil.copytree(attentive_bundle, tmp_path / "attentive"))
    records = {"temperature": 0.5, "metrics": {"fer2013/test/fp32": {"accuracy": 0.5}}}
    before = exported.manifest.model_copy(update={**records, "attention": None})
    write_manifest(exported.path, before)
    file = exported.attention_file()
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(BundleError, match=r"no attention maps.*fer_training export --bundle .*attentive"):
        AttentionMaps(exported.path)
    main(["export", "--bundle", str(exported.path)])
    assert file.read_bytes() == content
    after = Bundle(exported.path).manifest
    assert after == before.model_copy(update={"attention": exported.manifest.attention})


def test_a_network_without_attention_has_no_map(trained_bundle: Path) -> None:
    assert Bundle(trained_bundle).manifest.attention is None
    assert "attention" not in (trained_bundle / "manifest.yaml").read_text().split("training:")[0]
    with pytest.raises(FerError, match="its network has no attention maps"):
        add_attention(trained_bundle)


@pytest.mark.parametrize("name", ["hybrid_attention_lite0", "landmark_compressed"])
def test_shipped_maps_are_those_of_the_checkpoint(name: str) -> None:
    config = load_config(CHECKPOINTS / name / CONFIG)
    network, _ = load_run(CHECKPOINTS / name, config)
    crops = np.random.default_rng(0).integers(0, 256, (8, 48, 48), np.uint8)
    with torch.inference_mode():
        _, maps = network.forward_with_attention(  # type: ignore[operator]
            torch.from_numpy(normalize(crops[..., None], config.input.spec()))
        )
    found = AttentionMaps(resolve_model(name)).infer(list(crops))
    np.testing.assert_allclose(found, maps[0][:, 0].numpy(), atol=1e-4)
    assert np.ptp(found) > 0.1
