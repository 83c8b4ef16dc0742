"""The offline run: the same predictions as the pipeline itself, the same bytes every time, and nothing done twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from fer_perception.commands.replay import format_report
from fer_perception.errors import BagError, FaceModelError, FerError
from fer_perception.labels import EMOTIONS_7
from fer_perception.models import shipped
from fer_perception.models.bundle import Bundle, write_manifest
from fer_perception.pipeline import Pipeline
from fer_perception.replay import offline
from fer_perception.replay.bags import Selection
from fer_perception.replay.evaluate_bags import Options, evaluate_bags, evaluate_recording
from fer_perception.replay.message_types import typestore
from fer_perception.replay.offline import make_task, run
from fer_perception.replay.prefetch import prefetch
from fer_perception.replay.results import StreamFacts
from fer_perception.replay.storage.new_bag import TOPIC, Item, write_bag
from fer_perception.replay.tables import merge_parts, read_predictions
from fer_perception.settings import PipelineSettings, ReplaySettings

PLAIN = Options(write_bags=False, images=False)


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "FRAMES_PER_PART", 5)


def emotions_after(bag: Path, model: Path, out: Path, selection: Selection | None = None) -> bytes:
    task = make_task(bag, TOPIC, selection or Selection(), ReplaySettings(model=str(model)), out / "parts")
    result = run(task)
    merge_parts({task.stream: task.folder}, result.labels, out)
    return (out / "emotions.parquet").read_bytes()


def test_the_same_predictions_as_the_pipeline(
    portrait_bag: Path, moving_portrait: list[np.ndarray], tiny_bundle: Path, face_model: Path, tmp_path: Path
) -> None:
    emotions_after(portrait_bag, tiny_bundle, tmp_path)
    predictions = read_predictions(tmp_path)
    settings = PipelineSettings(model=str(tiny_bundle), face_model=str(face_model), id_seed=0)
    with closing(Pipeline.from_settings(settings)) as pipeline:
        expected = [pipeline.process(image, 1e9 + n / 10) for n, image in enumerate(moving_portrait)]
    assert predictions.labels == EMOTIONS_7
    assert predictions.frames["faces"].tolist() == [len(found.faces) for found, _ in expected] == [1] * 24
    assert predictions.emotions["track_id"].tolist() == [found.track_ids[0] for found, _ in expected]
    boxes = predictions.emotions[["x", "y", "width", "height"]].to_numpy().tolist()
    assert boxes == [list(found.faces[0].box) for found, _ in expected]
    np.testing.assert_array_equal(
        predictions.emotions[list(EMOTIONS_7)].to_numpy(np.float32), [values.probabilities[0] for _, values in expected]
    )
    smoothed = predictions.emotions[[f"smoothed_{label}" for label in EMOTIONS_7]].to_numpy(np.float32)
    np.testing.assert_allclose(smoothed, [values.smoothed[0] for _, values in expected], atol=1e-6)


@pytest.mark.usefixtures("short_parts")
def test_two_runs_give_the_same_bytes(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    one, other = (emotions_after(portrait_bag, tiny_bundle, tmp_path / name) for name in ("one", "other"))
    assert one == other
    assert len(list((tmp_path / "one" / "parts").glob("*/frames-*.parquet"))) == 5


@pytest.fixture
def tilted_bag(tmp_path: Path, portrait: np.ndarray) -> Path:
    """A head on its side, far away: it is followed because it is known how far it is turned."""
    turn = cv2.getRotationMatrix2D((223.0, 120.0), -70, 0.5)
    turn[:, 2] += [97, 120]
    shift = np.asarray([[0, 0, 3], [0, 0, 2]])
    items = [Item(cv2.warpAffine(portrait, turn + n * shift, (640, 480))) for n in range(24)]
    write_bag(items, tmp_path / "tilted", 10.0)
    return tmp_path / "tilted"


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize(
    ("bag_name", "frames_done"),
    [
        ("portrait_bag", 3),
        ("portrait_bag", 5),
        ("portrait_bag", 12),
        ("portrait_bag", 23),
        ("tilted_bag", 7),
        ("infrared_bag", 8),
    ],
)
def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
    bag_name: str,
    frames_done: int,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    bag = request.getfixturevalue(bag_name)
    whole = emotions_after(bag, tiny_bundle, tmp_path / "whole")
    process, seen = offline._read_emotions, []

    def interrupted(frame: offline.Frame, *rest: object) -> object:
        if len(seen) == frames_done:
            raise KeyboardInterrupt
        seen.append(frame.index)
        return process(frame, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(offline, "_read_emotions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        emotions_after(bag, tiny_bundle, tmp_path / "out")
    resumed: list[int] = []

    def watched(frame: offline.Frame, *rest: object) -> object:
        resumed.append(frame.index)
        return process(frame, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(offline, "_read_emotions", watched)
    assert emotions_after(bag, tiny_bundle, tmp_path / "out") == whole
    assert resumed == list(range(frames_done // 5 * 5, 24))


@pytest.fixture
def infrared_bag(tmp_path: Path, moving_portrait: list[np.ndarray]) -> Path:
    """Of a 12-bit camera, as mono16; the first three images need 10 bits only, the last eight are nearly black."""
    types = typestore().types
    with Writer(tmp_path / "infrared", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(TOPIC, "sensor_msgs/msg/Image", typestore=typestore())
        for number, image in enumerate(moving_portrait):
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint16)
            wide = grey << (2 if number < 3 else 4) if number < 16 else grey >> 5
            height, width = wide.shape
            time_ns = 1_000_000_000_000 + number * 100_000_000
            stamp = types["builtin_interfaces/msg/Time"](sec=time_ns // 10**9, nanosec=time_ns % 10**9)
            message = types["sensor_msgs/msg/Image"](
                header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="infrared"),
                height=height,
                width=width,
                encoding="mono16",
                is_bigendian=0,
                step=2 * width,
                data=wide.view(np.uint8).ravel(),
            )
            writer.write(connection, time_ns, typestore().serialize_cdr(message, connection.msgtype))
    return tmp_path / "infrared"


@pytest.mark.usefixtures("face_model")
def test_images_of_12_bits_show_faces_and_those_that_are_black_are_reported(
    infrared_bag: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = evaluate_bags([infrared_bag], out, ReplaySettings(model=str(tiny_bundle)), options=PLAIN)
    frames = read_predictions(out).frames
    assert frames["image_bits"].tolist() == [10] * 3 + [12] * 21
    assert frames["faces"].tolist() == [1] * 16 + [0] * 8
    assert report.all.flaws == {"nearly black": 8}
    said = f"{report.streams[0].bag}: 8 of 24 images show no face and are nearly black: is the lens covered"
    assert said in format_report(report)
    assert "8 of 24 images show no face and are nearly black" in (out / "report.html").read_text(encoding="utf-8")

    settings = ReplaySettings(model=str(tiny_bundle), image_bits=16)
    report = evaluate_bags([infrared_bag], out, settings, options=PLAIN)
    assert report.all.flaws["nearly black"] >= 8 + 3  # whose 10 bits give 4 of 256 grey values


def test_what_is_done_is_not_done_again_until_something_changes(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emotions_after(portrait_bag, tiny_bundle, tmp_path)
    calls: list[int] = []
    predict = offline._predict
    monkeypatch.setattr(offline, "_predict", lambda *arguments: (calls.append(1), predict(*arguments))[1])
    emotions_after(portrait_bag, tiny_bundle, tmp_path)
    assert calls == []
    emotions_after(portrait_bag, tiny_bundle, tmp_path, Selection(every=2))
    assert calls == [1]
    assert read_predictions(tmp_path).frames["frame"].tolist() == list(range(0, 24, 2))


@pytest.mark.usefixtures("detector_model")
def test_another_detector_is_another_run(portrait_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(**settings: str) -> Path:
        return make_task(portrait_bag, TOPIC, Selection(), ReplaySettings(**settings), tmp_path).folder

    known = folder()
    assert folder() == known
    assert folder(detector_model="blazeface") != known
    with pytest.raises(FaceModelError, match=r"yunet\.onnx: cannot be read"):
        folder(detector_model=str(tmp_path / "yunet.onnx"))
    monkeypatch.setattr(shipped, "DETECTOR_MODEL", "never_fetched.onnx")
    assert folder() != known  # the same settings, and yet BlazeFace serves


def test_another_prior_and_a_new_calibration_are_other_runs(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    def folder(prior: str = "balanced") -> Path:
        settings = ReplaySettings(model=str(tiny_bundle), prior=prior)
        return make_task(portrait_bag, TOPIC, Selection(), settings, tmp_path).folder

    known = folder()
    assert folder(prior="training") != known
    manifest = Bundle(tiny_bundle).manifest
    for change in ({"temperature": 1.5}, {"label_frequencies": (0.4, *[0.1] * 6)}, {"metrics": {"validation": {}}}):
        write_manifest(tiny_bundle, manifest.model_copy(update=change))
        assert (folder() == known) == ("metrics" in change)


def test_the_stream_file_tells_what_was_read(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    task = make_task(portrait_bag, TOPIC, Selection(), ReplaySettings(model=str(tiny_bundle)), tmp_path)
    result = run(task)
    assert {file.name for file in result.files} == {"metadata.yaml", "portrait.mcap"}
    assert result.messages == 24
    assert result.missing == 0
    assert result.model_id.startswith("tiny-fp32-")
    assert StreamFacts.read(task.folder / "stream.json") == run(task) == result


def test_messages_that_the_metadata_promise_are_missed(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "portrait.mcap").write_bytes((portrait_bag / "portrait.mcap").read_bytes())
    text = (portrait_bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace("message_count: 24", "message_count: 30"))
    result = run(make_task(bag, TOPIC, Selection(), ReplaySettings(model=str(tiny_bundle)), tmp_path / "parts"))
    assert result.missing == 6


def test_a_damaged_part_is_named(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    task = make_task(portrait_bag, TOPIC, Selection(), ReplaySettings(model=str(tiny_bundle)), tmp_path)
    result = run(task)
    (task.folder / "frames-000000.parquet").write_bytes(b"no parquet")
    with pytest.raises(BagError, match=r"frames-000000.parquet: cannot be read .*Delete .* and run it again"):
        merge_parts({task.stream: task.folder}, result.labels, tmp_path)


def test_one_face_mode_predicts_for_every_image(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    settings = ReplaySettings(model=str(tiny_bundle), one_face=True)
    report = evaluate_bags([portrait_bag], tmp_path / "out", settings, Selection(), PLAIN)
    assert report.all.with_face == report.all.faces == 24


def test_csv_holds_the_same_rows(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    options = Options(write_bags=False, images=False, csv=True)
    evaluate_bags([portrait_bag], tmp_path / "out", ReplaySettings(model=str(tiny_bundle)), Selection(), options)
    by_csv = pd.read_csv(tmp_path / "out" / "emotions.csv").fillna({"refusal": ""})
    pd.testing.assert_frame_equal(by_csv, read_predictions(tmp_path / "out").emotions, check_dtype=False, rtol=1e-6)


def test_refused_faces_are_told_of_in_tables_bag_and_report(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    settings = ReplaySettings(model=str(tiny_bundle), min_face_px=8000)
    report = evaluate_bags([portrait_bag], tmp_path / "out", settings)
    emotions = read_predictions(tmp_path / "out").emotions
    assert set(emotions["refusal"]) == {"small"}
    assert set(emotions["label"]) == set(emotions["smoothed_label"]) == {"unknown"}
    assert emotions[["happy", "smoothed_happy"]].isna().all().all()
    assert report.all.refused == {"small": 24}
    assert (report.all.with_face, report.all.truth.coverage) == (24, 0.0)
    (bag,) = (tmp_path / "out" / "bags").iterdir()
    options = Options(predictions_topic=f"/replay{TOPIC}/emotions", write_bags=False, images=False)
    again = evaluate_recording(portrait_bag, bag, tmp_path / "recorded", options=options)
    assert again.all.refused == {"small": 24}


def test_prefetch_hands_on_items_and_errors_and_ends_early() -> None:
    assert list(prefetch(number for number in range(10))) == list(range(10))

    def failing() -> Generator[int, None, None]:
        yield 1
        raise BagError("broken")

    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(BagError, match="broken"):
        next(items)
    made: list[int] = []

    def endless() -> Generator[int, None, None]:
        while True:
            made.append(1)
            yield 1

    with closing(prefetch(endless())) as items:
        next(items)
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count < 10  # reads a few ahead, and stops when nobody takes them


def test_a_bag_among_the_results_is_not_deleted(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    settings, out = ReplaySettings(model=str(tiny_bundle)), tmp_path / "out"
    evaluate_bags([portrait_bag], out, settings)
    kept = sorted(out.rglob("*"))
    (copy,) = (out / "bags").iterdir()
    with pytest.raises(FerError, match=r"where the last results are deleted\. Choose another --out"):
        evaluate_bags([copy], out, settings)
    with pytest.raises(FerError, match="there is no such bag"):
        evaluate_bags([tmp_path / "misspelt"], out, settings)
    assert sorted(out.rglob("*")) == kept


def test_labels_of_another_recording_cost_only_their_bag(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("run.1", "run.2"):
        shutil.copytree(portrait_bag, tmp_path / name)
        (tmp_path / f"{name}.csv").write_text("start_s,end_s,label\n0,1,happy\n")
    (tmp_path / "run.2.csv").write_text("start_s,end_s,label\n1700000000,1700000001,happy\n")
    options = Options(labels=[tmp_path / "run.1.csv", tmp_path / "run.2.csv"])
    monkeypatch.chdir(tmp_path / "run.1")
    settings = ReplaySettings(model=str(tiny_bundle))
    report = evaluate_bags([Path(), tmp_path / "run.2"], tmp_path / "out", settings, options=options)
    (failure,) = report.failures
    assert "run.2.csv: is from 1700000000 to 1700000001 s" in failure
    assert [folder.name for folder in (tmp_path / "out" / "bags").iterdir()] == ["run.1"]
    missing = replace(options, labels=(), rrd=tmp_path / "none" / "x.rrd")
    with pytest.raises(FerError, match=r"there is no folder .*/none\. Make it, or choose another --rrd"):
        evaluate_bags([tmp_path / "run.2"], tmp_path / "out", settings, options=missing)
