"""The comparison of attention designs: its runs, its bootstrap, and what it writes."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_perception.labels import EMOTIONS_7
from fer_training.datasets import Samples
from fer_training.runs.config import load_config
from fer_training.training.supervised import train

SCRIPT = Path(__file__).parents[3] / "scripts" / "compare_attention.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = spec_from_file_location("compare_attention", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic looks its types up there
    spec.loader.exec_module(module)
    return module


def samples_of(targets: np.ndarray) -> Samples:
    images = [np.zeros((48, 48), np.uint8)] * len(targets)
    return Samples("fer2013", "val", EMOTIONS_7, images, targets, [str(index) for index in range(len(targets))])


def test_a_design_that_is_right_more_often_is_better_beyond_chance_and_an_equal_one_is_not(script: Any) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 7, 2000)

    def predictions(share: float, seeds: int = 3) -> list[list[np.ndarray]]:
        return [[np.where(rng.random(2000) < share, targets, rng.integers(0, 7, 2000))] for _ in range(seeds)]

    found = script.bootstrap(
        samples_of(targets), {"none": predictions(0.5), "better": predictions(0.6), "equal": predictions(0.5)}
    )
    assert set(found) == {"better", "equal"}
    low, high = found["better"]
    assert 0.04 < low < 0.0857 < high < 0.14  # 0.1 of the images, of which a seventh was right by chance
    low, high = found["equal"]
    assert low < 0 < high


def test_images_count_by_their_weights(script: Any) -> None:
    targets = np.asarray([0, 0, 1, 1])
    predicted = np.asarray([0, 1, 1, 1])
    assert script.macro_f1(samples_of(targets), [predicted], np.ones(4)) == pytest.approx((2 / 3 + 0.8) / 2)
    assert script.macro_f1(samples_of(targets), [predicted], np.asarray([1.0, 0, 3, 2])) == 1


def test_designs_are_trained_once_and_compared(
    script: Any, tmp_path: Path, session_config: Path, voted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"ferplus+fer2013:{voted}"
    network = ["network.options.stem_stride=1", "network.options.width=1.0", "steps_per_epoch=1"]
    run = train(load_config(session_config, [f"data={data}", f"out={tmp_path}", "name=baseline", *network]))
    arguments = ["--baseline", str(run), "--data", data, "--out", str(tmp_path), "--seeds", "0", "--steps", "1"]
    override = ["--override", "batch_size=4", "mixed_precision=false", "frozen_stages=0"]
    for _ in range(2):
        script.main([*arguments, "--json", str(tmp_path / "result.json"), *override])
    result = json.loads((tmp_path / "result.json").read_text())
    assert [design["design"] for design in result["designs"]] == list(script.DESIGNS)
    none, *others = result["designs"]
    assert none["difference"] is None
    for design in others:
        assert design["parameters"] > none["parameters"]
        assert design["interval"][0] <= design["difference"] + 1e-9
    assert len(list(tmp_path.glob("design*_0/history.csv"))) == len(script.DESIGNS)
    assert "| none |" in capsys.readouterr().out
