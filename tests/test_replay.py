"""Replay against the training's evaluation, the bare pipeline, and ``kill -9``."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_perception.images.sources import open_source
from fer_perception.labels import EMOTIONS_8
from fer_perception.models.shipped import resolve_model
from fer_perception.pipeline import Pipeline
from fer_perception.replay.evaluate_bags import Options, evaluate_bags
from fer_perception.replay.storage.new_bag import Item, write_bag
from fer_perception.replay.tables import read_predictions
from fer_perception.settings import ReplaySettings
from fer_training.evaluation.evaluate import evaluate

MODEL = resolve_model("")
IMAGES = 100
MAX_MEMORY_KB = 1_000_000


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fer_perception", *map(str, arguments)]


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=240)


def peak_memory_kb(*arguments: object) -> int:
    """Run a command to its end. A process starts with the peak of the one that began it, so a small one begins this."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command(*arguments)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture(scope="module")
def wildfaces(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first test images as a dataset of their own."""
    folder = tmp_path_factory.mktemp("wildfaces")
    (folder / "images").symlink_to(data / "wildfaces" / "images")
    with open(data / "wildfaces" / "labels.csv", newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"][:IMAGES]
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_film_and_labelled_pictures_in_one_command(data: Path, wildfaces: Path, tmp_path: Path) -> None:
    film, images, out = tmp_path / "film", tmp_path / "images", tmp_path / "out"
    (tmp_path / "film.csv").write_text("start_s,end_s,label\n0,0.6,neutral\n0.6,2.5,happy\n")
    labels = ("--labels", tmp_path / "film.csv")
    assert call("make_bag", data / "media" / "single_face.mp4", *labels, "--out", film).returncode == 0
    assert call("make_bag", wildfaces / "labels.csv", "--split", "test", "--out", images).returncode == 0
    options = ("--one-face", "--precision", "fp32", "--prior", "training", "--no-bag")
    result = call("replay", film, images, *options, "--out", out)
    assert result.returncode == 0, result.stderr
    by_film, by_images = json.loads((out / "report.json").read_text())["streams"]

    truth = by_film["truth"]
    assert (truth["labelled"], truth["coverage"]) == (72, 1.0)
    assert truth["single"]["frames"]["accuracy"] > 0.9
    assert truth["smoothed"]["intervals"] == {"n": 2, "accuracy": 1.0}
    assert 0 <= truth["single"]["detection"]["median_s"] <= truth["smoothed"]["detection"]["median_s"] < 1

    expected = evaluate(MODEL, [f"manifest:{wildfaces}"], "test").datasets["manifest"]
    found = by_images["truth"]["single"]["frames"]
    assert found["n"] == expected.n == IMAGES - sum(expected.left_out.values())
    assert found["confusion"] == expected.confusion
    for metric in ("accuracy", "macro_f1", "macro_f1_common", "auroc", "ece"):
        assert found[metric] == pytest.approx(getattr(expected, metric), abs=1e-6), metric
    assert by_images["truth"]["left_out"] == expected.left_out


def test_replay_predicts_what_the_bare_pipeline_does(tmp_path: Path) -> None:
    images = list(islice(open_source("astronaut").frames(), 12))
    write_bag((Item(image) for image in images), tmp_path / "bag", 30.0)
    folder = tmp_path / "replayed"
    settings = ReplaySettings(model=str(MODEL), precision="fp32")
    evaluate_bags([tmp_path / "bag"], folder, settings, options=Options(images=False))
    found = read_predictions(folder).emotions
    with closing(Pipeline.from_settings(settings)) as pipeline:
        expected = [pipeline.process(image, index / 30)[1].probabilities[0] for index, image in enumerate(images)]
    np.testing.assert_allclose(found[[*EMOTIONS_8]].to_numpy(), expected, atol=1e-6)


@pytest.mark.slow
def test_kill_and_resume_in_constant_memory(tmp_path: Path) -> None:
    """Raw images of together 740 MB, so that a run which kept them would show."""
    items = (Item(image) for image in islice(cycle(open_source("astronaut").frames()), 800))
    write_bag(items, tmp_path / "bag", 30.0)
    plain = ("--no-bag", "--no-images")
    assert peak_memory_kb("replay", tmp_path / "bag", *plain, "--out", tmp_path / "whole") < MAX_MEMORY_KB
    out = tmp_path / "out"
    process = subprocess.Popen(command("replay", tmp_path / "bag", *plain, "--out", out), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob("parts/*/frames-*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "report.json").exists()
    assert peak_memory_kb("replay", tmp_path / "bag", *plain, "--out", out) < MAX_MEMORY_KB
    assert (out / "emotions.parquet").read_bytes() == (tmp_path / "whole" / "emotions.parquet").read_bytes()
    columns = ["frame", "stamp_ns", "time_ns", "faces"]
    frames = [pd.read_parquet(folder / "frames.parquet")[columns] for folder in (out, tmp_path / "whole")]
    pd.testing.assert_frame_equal(*frames)
    assert frames[0]["frame"].tolist() == list(range(800))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "replay: nowhere: there is no such bag"),
        (["--compare", "a", "b"], "replay: a: holds no result of replay"),
        (["."], "replay: .: holds no .mcap or .db3 file"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = subprocess.run(command("replay", *arguments), cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stderr
