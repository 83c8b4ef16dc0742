"""Interpolation between a run and one that goes on from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fer_perception.errors import FerError
from fer_perception.models.bundle import Bundle
from fer_training.__main__ import main
from fer_training.datasets import load_dataset
from fer_training.evaluation.inference import predict, prepare_images
from fer_training.evaluation.predictions import load_model
from fer_training.export.onnx import export
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import load_config
from fer_training.runs.folder import BEST, CONFIG, load_run
from fer_training.training.interpolation import interpolate
from fer_training.training.supervised import train


@pytest.fixture(scope="module")
def runs(session_config: Path, trained: Path) -> tuple[Path, Path, str]:
    """A run, one that goes on from it, and their data."""
    config = load_config(session_config, ["name=tuned", f"pretrained={trained / BEST}"])
    return trained, train(config), config.data


def test_weights_lie_between_and_are_measured(runs: tuple[Path, Path, str], tmp_path: Path) -> None:
    start, tuned, data = runs
    before, after = (load_checkpoint(run / BEST)[0]["network"] for run in (start, tuned))
    for fraction in (0.0, 0.25, 1.0):
        run = interpolate(start, tuned, fraction, data, tmp_path / f"between{fraction}")
        mixed, facts = load_checkpoint(run / BEST)
        for name, tensor in mixed["network"].items():
            if tensor.is_floating_point():
                expected = (1 - fraction) * before[name] + fraction * after[name]
                torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=1e-5)
        assert facts["interpolation"] == {"start": "tiny", "tuned": "tuned", "fraction": fraction}
        measured = facts["validation"]["accuracy"]
        if fraction != 0.25:
            assert measured == load_checkpoint((tuned if fraction else start) / BEST)[1]["validation"]["accuracy"]
        else:
            config = load_config(run / CONFIG)
            samples, spec = load_dataset(data, "val"), config.input.spec()
            found = predict(load_run(run, config)[0], prepare_images(samples, spec), spec)
            assert measured == (found.argmax(1) == samples.targets).mean()

    bundle = export(tmp_path / "between0.25", tmp_path / "bundles")
    training = Bundle(bundle).manifest.training
    assert training["interpolation"]["fraction"] == 0.25
    assert [recipe["name"] for recipe in (training["recipe"], *training["earlier_recipes"])] == ["between0.25", "tiny"]
    command = ["evaluate", "--model", str(bundle), "--dataset", data, "--split", "val", "--json", str(tmp_path / "val")]
    main(command)
    evaluated = json.loads((tmp_path / "val").read_text())["datasets"]["fer2013"]
    measured = load_checkpoint(tmp_path / "between0.25" / BEST)[1]["validation"]["accuracy"]
    assert evaluated["accuracy"] == pytest.approx(measured, abs=0.03)  # by ONNX Runtime, where a tie may turn


def test_runs_of_different_label_sets_become_a_network_of_both(
    trained: Path, session_config: Path, voted: Path, tmp_path: Path
) -> None:
    overrides = [f"data=ferplus:{voted}", "name=of_votes", f"pretrained={trained / BEST}", f"out={tmp_path}"]
    of_votes = train(load_config(session_config, overrides))
    data = f"ferplus+fer2013:{voted}"
    for fraction, same in ((1.0, of_votes), (0.0, trained)):
        run = interpolate(trained, of_votes, fraction, data, tmp_path / f"both{fraction}")
        facts, alone = (load_checkpoint(folder / BEST)[1] for folder in (run, same))
        assert {name: len(labels) for name, labels in facts["heads"].items()} == {"ferplus": 8, "fer2013": 7}
        assert len(facts["label_frequencies"]) == 15
        name = "ferplus" if fraction else "fer2013"
        assert facts["validation_of"][name]["confusion"] == alone["validation"]["confusion"]
        assert len(load_model(run, labels_of=name).labels) == len(facts["heads"][name])
    with pytest.raises(FerError, match="has other labels than"):
        interpolate(trained, of_votes, 0.5, f"fer2013+ferplus:{voted}", tmp_path / "no")
    with pytest.raises(FerError, match="both have learnt fer2013, and one of them more"):
        interpolate(trained, tmp_path / "both1.0", 0.5, data, tmp_path / "no")


def test_what_does_not_fit_is_refused(runs: tuple[Path, Path, str], config_file: Path, tmp_path: Path) -> None:
    start, tuned, data = runs
    wider = train(load_config(config_file, ["name=wider", "steps_per_epoch=1", "network.options.width=0.5"]))
    for message, arguments in (
        ("are different networks", (start, wider, 0.5, data, tmp_path / "out")),
        ("fraction 1.5: must lie between", (start, tuned, 1.5, data, tmp_path / "out")),
        ("exists. Choose another --out", (start, tuned, 0.5, data, tuned)),
    ):
        with pytest.raises(FerError, match=message):
            interpolate(*arguments)
    assert not (tmp_path / "out").exists()
