"""What replay writes: reports without recognisable faces, bags with the predictions, comparisons, and clear errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import Reader

from fer_perception.commands.replay import main
from fer_perception.errors import BagError, FerError, LabelsError
from fer_perception.files import room_in
from fer_perception.models.shipped import resolve_model
from fer_perception.replay import jobs
from fer_perception.replay.bags import Bag, Selection
from fer_perception.replay.comparison import compare
from fer_perception.replay.evaluate_bags import Options, evaluate_bags
from fer_perception.replay.jobs import run_tasks
from fer_perception.replay.message_types import typestore
from fer_perception.replay.offline import make_task
from fer_perception.replay.results import ReplayReport
from fer_perception.replay.storage.new_bag import TOPIC, Item, write_bag
from fer_perception.replay.tables import read_predictions
from fer_perception.settings import ReplaySettings
from fer_perception.visualization.drawing import SQUARES, redact

PICTURE = "data:image/jpeg"
BROWSER = Path("/usr/bin/chromium")
BROWSER_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def settings() -> ReplaySettings:
    return ReplaySettings(model=str(resolve_model("baseline")))


@pytest.fixture(scope="module")
def result(portrait_bag: Path, settings: ReplaySettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replay") / "out"
    evaluate_bags([portrait_bag], out, settings, Selection(), Options(command="replay BAG"))
    return out


def look_at(page: Path, image: Path) -> tuple[list[str], dict[str, object]]:
    """Open a page in Chromium. Returns all that it complained about or loaded, and some of what it shows."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements/dev.txt)")
    if not BROWSER.exists():
        pytest.skip(f"{BROWSER} is not on this machine (Debian: apt install chromium)")
    events: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(BROWSER), args=BROWSER_ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1150, "height": 900})
        tab.on("console", lambda message: events.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: events.append(f"error: {error}"))
        tab.on("request", lambda request: events.append(f"request: {request.url}"))
        tab.set_default_timeout(90_000)  # on a busy machine
        tab.goto(page.as_uri())
        tab.wait_for_selector(".plotly-graph-div .main-svg")
        shown = tab.evaluate(
            "() => ({title: document.title, text: document.body.innerText,"
            " bars: document.querySelectorAll('.bars path').length,"
            " lines: document.querySelectorAll('.scatterlayer .js-line').length,"
            " images: [...document.images].filter(i => i.naturalWidth > 0).length})"
        )
        tab.screenshot(path=str(image), full_page=True)
        browser.close()
    events.remove(f"request: {page.as_uri()}")
    return [event for event in events if not event.startswith("request: data:")], shown


def test_the_report_renders_in_a_browser_and_loads_nothing(result: Path, tmp_path: Path) -> None:
    complaints, shown = look_at(result / "report.html", tmp_path / "report.png")
    assert complaints == []
    (stream,) = ReplayReport.read(result / "report.json").streams
    assert shown["title"] == f"Replay of 1 stream(s) with {stream.model_id}"
    assert "24 frames are labelled, 24 of them have a prediction (100.00%)" in str(shown["text"])
    assert shown["lines"] >= 7
    assert shown["bars"] > 4
    assert shown["images"] == html_images(result) > 0
    assert (tmp_path / "report.png").stat().st_size > 50_000


def html_images(out: Path) -> int:
    return (out / "report.html").read_text(encoding="utf-8").count(f'src="{PICTURE}')


def test_report_json_has_everything(result: Path, portrait_bag: Path) -> None:
    report = json.loads((result / "report.json").read_text())
    (stream,) = report["streams"]
    assert stream["bag"] == str(portrait_bag)
    assert {file["name"] for file in stream["files"]} == {"metadata.yaml", "portrait.mcap"}
    assert report["model"]["sha256"]["fp32.onnx"].startswith(report["model"]["id"].rsplit("-", 1)[1])
    assert report["all"]["truth"]["single"]["frames"]["n"] == 24
    assert np.sum(report["all"]["truth"]["single"]["frames"]["confusion"]) == 24
    assert report["command"] == "replay BAG"


def test_the_bag_holds_the_originals_and_the_predictions(result: Path, portrait_bag: Path) -> None:
    predictions = read_predictions(result)
    store = typestore()
    with Bag(portrait_bag) as source, Bag(result / "bags" / "portrait") as bag:
        for topic in source.counts:
            originals = [(time_ns, raw) for _, time_ns, raw in source.messages([topic])]
            assert [(time_ns, bytes(raw)) for _, time_ns, raw in bag.messages([topic])] == originals
        emotions = list(bag.messages([f"/replay{TOPIC}/emotions"]))
        latencies = list(bag.messages([f"/replay{TOPIC}/latency"]))
    assert len(emotions) == len(latencies) == 24
    for (_, time_ns, raw), (_, row) in zip(emotions, predictions.emotions.iterrows(), strict=True):
        message = store.deserialize_cdr(raw, "fer_msgs/msg/EmotionArray")
        assert time_ns == row.time_ns
        assert message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec == row.stamp_ns
        assert message.header.frame_id == "camera_optical_frame"
        (face,) = message.emotions
        assert (face.track_id, face.label, face.smoothed_label) == (row.track_id, row.label, row.smoothed_label)
        np.testing.assert_array_equal(face.probabilities, [row[label] for label in predictions.labels])
        assert (face.roi.x_offset, face.roi.width) == (row.x, row.width)
    latency = store.deserialize_cdr(latencies[3][2], "fer_msgs/msg/Latency")
    assert latency.detect_ms == predictions.frames["detect_ms"][3]
    assert latency.faces == 1
    assert np.isnan(latency.age_at_receipt_ms)


def test_no_images_leaves_no_picture_anywhere(portrait_bag: Path, settings: ReplaySettings, tmp_path: Path) -> None:
    evaluate_bags([portrait_bag], tmp_path / "out", settings, Selection(), Options(images=False))
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or PICTURE.encode() not in file.read_bytes(), file
    with Reader(tmp_path / "out" / "bags" / "portrait") as bag:
        assert sorted(bag.topics) == [f"/replay{TOPIC}/emotions", f"/replay{TOPIC}/latency"]


def test_redacted_faces_are_a_few_squares(portrait: np.ndarray) -> None:
    x, y, width, height = box = (177, 82, 95, 95)
    before = portrait.copy()
    redacted = redact(portrait, [box])
    np.testing.assert_array_equal(portrait, before)
    face = redacted[y : y + height, x : x + width]
    assert len(np.unique(face.reshape(-1, 3), axis=0)) <= SQUARES**2
    np.testing.assert_array_equal(redacted[300:], portrait[300:])


def test_images_are_redacted_unless_faces_are_asked_for(
    portrait_bag: Path, result: Path, settings: ReplaySettings
) -> None:
    page = (result / "report.html").read_text(encoding="utf-8")
    assert "Faces that were found are redacted" in page
    evaluate_bags([portrait_bag], result, settings, Selection(), Options(write_bags=False, show_faces=True))
    shown = (result / "report.html").read_text(encoding="utf-8")
    assert "Faces are shown as they are" in shown
    # A face has finer detail than six squares, so its JPEGs are larger.
    assert sum(map(len, shown.split(PICTURE)[1:])) > 1.02 * sum(map(len, page.split(PICTURE)[1:]))


def test_comparison(portrait_bag: Path, settings: ReplaySettings, tmp_path: Path) -> None:
    for name, smoothing_s, model in (("a", 0.5, settings.model), ("b", 5.0, settings.model)):
        evaluate_bags(
            [portrait_bag],
            tmp_path / name,
            settings.model_copy(update={"model": model, "smoothing_s": smoothing_s}),
            Selection(),
            Options(write_bags=False, images=False),
        )
    found = compare((tmp_path / "a", tmp_path / "b"), tmp_path / "out")
    assert found.frames == 24
    assert found.agreement == 1.0  # by themselves the frames are the same
    assert found.paired is not None
    single = found.paired["single"]
    assert (single.n, single.only_a_right, single.only_b_right) == (24, 0, 0)
    assert single.accuracy.difference == 0.0
    assert single.accuracy.interval == (0.0, 0.0)
    assert found.differ_most == []
    runs = [read_predictions(tmp_path / name) for name in "ab"]
    right = [float((run.emotions["smoothed_label"] == ["neutral"] * 12 + ["happy"] * 12).mean()) for run in runs]
    assert found.paired["smoothed"].accuracy.difference == pytest.approx(right[1] - right[0])


def test_comparison_of_two_models_shows_where_they_differ(
    portrait_bag: Path, settings: ReplaySettings, write_tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    tiny = ReplaySettings(model=str(write_tiny_bundle(tmp_path / "tiny", outputs=8)))
    quiet = Options(write_bags=False, images=False)
    evaluate_bags([portrait_bag], tmp_path / "a", settings, Selection(), quiet)
    evaluate_bags([portrait_bag], tmp_path / "b", tiny, Selection(), quiet)
    assert main(["--compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    single = found["paired"]["single"]
    assert single["only_a_right"] + single["only_b_right"] > 0
    difference = (single["only_b_right"] - single["only_a_right"]) / single["n"]
    assert single["accuracy"]["difference"] == pytest.approx(difference)
    low, high = single["accuracy"]["interval"]
    assert low <= difference <= high
    distances = [row["distance"] for row in found["differ_most"]]
    assert distances == sorted(distances, reverse=True)
    assert len(distances) == 3  # one of each second
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert page.count(PICTURE) == 3
    evaluate_bags(
        [portrait_bag],
        tmp_path / "b",
        tiny,
        Selection(),
        Options(label_topic="/none"),
    )
    with pytest.raises(FerError, match="have different ground truth"):
        compare((tmp_path / "a", tmp_path / "b"), tmp_path / "out")
    with pytest.raises(FerError, match="nowhere: holds no result of replay"):
        compare((tmp_path / "a", tmp_path / "nowhere"), tmp_path / "out")


def test_a_bag_that_cannot_be_used_does_not_end_the_others(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    arguments = [
        str(broken),
        str(portrait_bag),
        "--model",
        str(tiny_bundle),
        "--out",
        str(tmp_path / "out"),
        "--no-bag",
    ]
    assert main([*arguments, "--no-images"]) == 1
    assert "not evaluated" in capsys.readouterr().out
    report = ReplayReport.read(tmp_path / "out" / "report.json")
    assert report.all.frames == 24
    assert "broken: holds no .mcap or .db3 file" in report.failures[0]
    assert "Not evaluated" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    with pytest.raises(FerError, match=r"broken: holds no .mcap or .db3 file"):
        main([str(broken), "--out", str(tmp_path / "out2")])


def test_rejected_images_are_counted_and_all_of_them_are_an_error(
    moving_portrait: list[np.ndarray], tiny_bundle: Path, tmp_path: Path
) -> None:
    source, folder = tmp_path / "source", tmp_path / "bag"
    write_bag([Item(image) for image in moving_portrait[:4]], source, 10.0)
    from rosbags.rosbag2 import StoragePlugin, Writer

    kind, store = "sensor_msgs/msg/Image", typestore()
    for name, bad in (("some", {1, 2}), ("all", {0, 1, 2, 3})):
        with Bag(source) as bag, Writer(folder / name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connection = writer.add_connection(TOPIC, kind, typestore=store)
            for index, (_, time_ns, raw) in enumerate(bag.messages([TOPIC])):
                message = store.deserialize_cdr(raw, kind)
                if index in bad:
                    message.encoding = "8UC3"
                writer.write(connection, time_ns, store.serialize_cdr(message, kind))
    quiet = Options(images=False)
    report = evaluate_bags(
        [folder / "some"], tmp_path / "out", ReplaySettings(model=str(tiny_bundle)), Selection(), quiet
    )
    assert report.all.rejected == {"encoding '8UC3' is not known: publish rgb8, bgr8 or mono8": 2}
    assert report.all.with_face == 2
    with Bag(tmp_path / "out" / "bags" / "some") as bag:
        assert bag.counts == {f"/replay{TOPIC}/emotions": 2, f"/replay{TOPIC}/latency": 2}
    with pytest.raises(FerError, match=r"all, /camera/image_raw: no image was processed: encoding '8UC3' is not known"):
        evaluate_bags([folder / "all"], tmp_path / "out", ReplaySettings(model=str(tiny_bundle)), Selection(), quiet)
    assert not (tmp_path / "out" / "report.json").exists()


def write_messages(folder: Path, kind: str, messages: list[tuple[int, bytes]], topic: str) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(topic, kind, typestore=typestore())
        for time_ns, raw in messages:
            writer.write(connection, time_ns, raw)


def test_topics_that_cannot_be_copied_are_named(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, kind = tmp_path / "robot.mcap", "sensor_msgs/msg/Image"
    with Bag(portrait_bag) as bag, file.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start("ros2")
        images, things = (
            writer.register_channel(topic, "cdr", writer.register_schema(name, "ros2msg", b""))
            for topic, name in ((TOPIC, kind), ("/things", "robot_msgs/msg/Thing"))
        )
        for _, time_ns, raw in bag.messages([TOPIC]):
            writer.add_message(images, time_ns, raw, time_ns)
            writer.add_message(things, time_ns, bytes(8), time_ns)
        writer.finish()
    note = f"{file}: not in the copy, as nothing tells how their messages are built: /things"
    out = tmp_path / "out"
    assert main([str(file), "--model", str(tiny_bundle), "--every", "8", "--out", str(out)]) == 0
    assert note in capsys.readouterr().out.splitlines()
    assert note in (out / "report.html").read_text(encoding="utf-8")
    assert ReplayReport.read(out / "report.json").topics_not_copied == {str(file): ["/things"]}
    with Bag(out / "bags" / "robot") as bag:
        assert bag.counts == {TOPIC: 24, f"/replay{TOPIC}/emotions": 3, f"/replay{TOPIC}/latency": 3}


def test_a_bag_without_results_is_not_evaluated_and_the_others_are(
    portrait_bag: Path,
    moving_portrait: list[np.ndarray],
    tiny_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing in the selection; every image rejected; a damaged message of labels; a library's error."""
    write_bag([Item(image) for image in moving_portrait[:4]], tmp_path / "short", 10.0)
    write_messages(tmp_path / "rejected", "sensor_msgs/msg/Image", [(n * 10**9, bytes(9)) for n in range(9)], TOPIC)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a_0.db3").write_bytes(b"SQLite format 3\x00" + bytes(5000))
    bags = [tmp_path / name for name in ("short", "rejected", "odd")]
    arguments = [*map(str, [*bags, portrait_bag]), "--model", str(tiny_bundle), "--from", "1", "--no-images"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    report = ReplayReport.read(tmp_path / "out" / "report.json")
    assert [stream.bag for stream in report.streams] == [str(portrait_bag)]
    assert report.all.frames == 14
    reasons = sorted(failure.removeprefix(f"{tmp_path}/") for failure in report.failures)
    assert "odd: cannot be read" in reasons[0]
    assert f"rejected, {TOPIC}: no image was processed: 9 bytes are no sensor_msgs/msg/Image" in reasons[1]
    assert reasons[2] == f"short, {TOPIC}: no image was processed: no image lies between --from and --to"
    assert capsys.readouterr().out.count("not evaluated: ") == 3
    assert set(read_predictions(tmp_path / "out").frames["bag"]) == {str(portrait_bag)}
    assert [path.name for path in (tmp_path / "out" / "bags").iterdir()] == ["portrait"]


def test_a_copy_that_cannot_be_written_costs_no_report_and_leaves_nothing(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The topic of the predictions is taken: an earlier copy is given for a recording."""
    arguments = ["--model", str(tiny_bundle), "--no-images"]
    assert main([str(portrait_bag), *arguments[:2], "--out", str(tmp_path / "first")]) == 0
    copy, out = tmp_path / "first" / "bags" / "portrait", tmp_path / "second"
    shutil.copytree(copy, tmp_path / "copy")
    result = main([str(tmp_path / "copy"), str(portrait_bag), *arguments[:2], "--topic", TOPIC, "--out", str(out)])
    report = ReplayReport.read(out / "report.json")
    assert report.all.frames == 48
    assert report.bags_not_written is not None
    assert list(report.bags_not_written) == [str(tmp_path / "copy")]
    assert result == 1
    assert "copy not written: " in capsys.readouterr().out
    assert [path.name for path in (out / "bags").iterdir()] == ["portrait"]


def test_stamps_that_do_not_serve_are_told_of(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bag(portrait_bag) as bag:
        messages = [(time_ns, raw) for _, time_ns, raw in bag.messages([TOPIC])]
    same = [(time_ns, messages[0][1][:12] + raw[12:]) for time_ns, raw in messages]
    write_messages(tmp_path / "same", "sensor_msgs/msg/Image", same, TOPIC)
    settings = ["--model", str(tiny_bundle), "--no-bag", "--no-images", "--out", str(tmp_path / "out")]
    assert main([str(tmp_path / "same"), str(portrait_bag), *settings]) == 0
    note = "same: 23 of 24 images: their stamps repeat or hardly advance; their time of recording served"
    assert note in capsys.readouterr().out
    assert "23 of 24 images: their stamps repeat" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    emotions = read_predictions(tmp_path / "out").emotions
    columns = ["smoothed_confidence", "smoothed_label", "confidence", "track_id"]
    same_rows, right_rows = (rows[columns].reset_index(drop=True) for _, rows in emotions.groupby("bag", sort=False))
    np.testing.assert_allclose(same_rows["smoothed_confidence"], right_rows["smoothed_confidence"], rtol=1e-4)
    assert same_rows["track_id"].nunique() == right_rows["track_id"].nunique()


def test_labels_that_cannot_be_used_are_told_before_any_work(
    portrait_bag: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("start_s,end_s,label\n0,1,bored\n")
    arguments = [str(portrait_bag), "--model", str(tiny_bundle), "--labels", str(labels)]
    with pytest.raises(LabelsError, match=r"holds no label.*'bored' is no label"):
        main([*arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_full_disk_names_folder_and_remedy(tmp_path: Path) -> None:
    told = rf"{tmp_path}: the disk is full. Free some space, or take another --out"
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(FerError, match=told),
        room_in(tmp_path, "take another --out"),
    ):
        full.write(b"x")
    with pytest.raises(FileNotFoundError), room_in(tmp_path, "take another --out"):
        (tmp_path / "none").read_bytes()


def test_an_odd_error_is_confined_to_its_stream(tasks: list[jobs.Task]) -> None:
    tasks[0].folder.parent.mkdir(exist_ok=True)
    tasks[0].folder.write_text("no folder")
    error = jobs.run_task(tasks[0])
    assert isinstance(error, FerError)
    assert "FileExistsError" in str(error)


def test_wrong_use(portrait_bag: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    bag, model = str(portrait_bag), ["--model", str(tiny_bundle), "--out", str(tmp_path / "out")]
    with pytest.raises(FerError, match="a bag is given twice"):
        main([bag, bag, *model])
    with pytest.raises(FerError, match="--from -5: must be 0 or more"):
        main([str(portrait_bag), "--from", "-5", "--out", str(tmp_path / "out")])
    (tmp_path / "file").write_text("")
    with pytest.raises(FerError, match=r"file/out: cannot be written \(Not a directory\). Choose another --out"):
        main([str(portrait_bag), "--out", str(tmp_path / "file" / "out")])
    with pytest.raises(FerError, match="--from 3 --to 2: no time lies between them"):
        main([bag, *model, "--from", "3", "--to", "2"])
    with pytest.raises(FerError, match="no image lies between --from and --to"):
        main([bag, *model, "--from", "50"])
    with pytest.raises(FerError, match=r"no_model/manifest.yaml: cannot be read"):
        main([bag, "--model", str(tmp_path / "no_model"), "--out", str(tmp_path / "out3")])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(FerError, match=r"mine: exists and is no output of replay"):
        main([bag, "--out", str(tmp_path / "mine")])
    assert (tmp_path / "mine" / "thesis.txt").exists()
    for arguments in ([], [bag, "--compare", "a", "b"], [bag, "--every", "0"], [bag, "--smoothing-s", "nan"]):
        with pytest.raises(SystemExit):
            main(arguments)


@pytest.fixture
def tasks(moving_portrait: list[np.ndarray], tiny_bundle: Path, tmp_path: Path) -> list[jobs.Task]:
    bags = []
    for number in range(3):
        bags.append(tmp_path / "bags" / str(number))
        write_bag([Item(image) for image in moving_portrait[number : number + 4]], bags[-1], 10.0)
    return [
        make_task(bag, TOPIC, Selection(), ReplaySettings(model=str(tiny_bundle)), tmp_path / "parts") for bag in bags
    ]


def killed_once(task: jobs.Task) -> object:
    """Ends its process as ``kill -9`` would, at the first try of the task."""
    marker = task.folder.with_suffix(".tried")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return jobs.run(task)


def test_a_killed_worker_costs_nothing_but_time_and_an_error_only_its_stream(
    tasks: list[jobs.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tasks[1].bag / "1.mcap").write_bytes(b"")
    assert isinstance(jobs.run_task(tasks[1]), BagError)
    tasks[0].folder.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(jobs, "run_task", killed_once)
    (result,) = run_tasks(tasks[:1], jobs=2)
    assert result.bag == tasks[0].name  # type: ignore[union-attr]
    assert tasks[0].folder.with_suffix(".tried").exists()
    assert tasks[0].folder.is_dir()


@pytest.mark.slow
def test_killed_workers_cost_nothing_but_time(tasks: list[jobs.Task], monkeypatch: pytest.MonkeyPatch) -> None:
    tasks[0].folder.parent.mkdir()
    monkeypatch.setattr(jobs, "run_task", killed_once)
    results = run_tasks(tasks, jobs=2)
    assert [result.bag for result in results] == [task.name for task in tasks]  # type: ignore[union-attr]
    assert Counter(path.suffix for path in tasks[0].folder.parent.iterdir()) == {".tried": 3, "": 3}


def killed_by_the_second(task: jobs.Task) -> object:
    if task.bag.name == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return jobs.run(task)


@pytest.mark.slow
def test_a_stream_that_kills_its_process_does_not_take_the_others_with_it(
    tasks: list[jobs.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "run_task", killed_by_the_second)
    monkeypatch.setattr(jobs, "ATTEMPTS", 2)
    first, killed, last = run_tasks(tasks, jobs=2)
    assert [result.bag for result in (first, last)] == [tasks[0].name, tasks[2].name]  # type: ignore[union-attr]
    assert "its process died 2 times" in str(killed)


@pytest.mark.slow
def test_errors_of_streams_in_processes_are_their_results(tasks: list[jobs.Task]) -> None:
    (tasks[1].bag / "1.mcap").write_bytes(b"")
    assert [isinstance(result, BagError) for result in run_tasks(tasks, jobs=2)] == [False, True, False]


def test_a_dask_cluster_gives_the_results_in_the_order_of_the_tasks(tasks: list[jobs.Task]) -> None:
    from distributed import LocalCluster

    (tasks[1].bag / "1.mcap").write_bytes(b"")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        first, broken, last = run_tasks(tasks, scheduler=cluster.scheduler_address)
    assert isinstance(broken, BagError)
    assert [result.bag for result in (first, last)] == [tasks[0].name, tasks[2].name]  # type: ignore[union-attr]


@pytest.mark.slow
def test_dask_gives_the_same_bytes_even_when_a_worker_is_killed(
    moving_portrait: list[np.ndarray], tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths as people give them; the workers are elsewhere
    bags = []
    for number in range(4):
        bags.append(Path("bags") / str(number))
        write_bag([Item(image) for image in moving_portrait * 5], bags[-1], 10.0)
    settings, quiet = ReplaySettings(model=str(tiny_bundle)), Options(write_bags=False, images=False)
    evaluate_bags(bags, tmp_path / "plain", settings, Selection(), quiet)
    processes = []

    def start(*command: str) -> None:
        processes.append(subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.DEVNULL, cwd="/"))

    address_file = tmp_path / "scheduler.json"
    start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
          "--scheduler-file", str(address_file))  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not address_file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        for _ in range(2):
            start("distributed.cli.dask_worker", "--scheduler-file", str(address_file), "--nthreads", "1", "--no-nanny",
                  "--no-dashboard", "--local-directory", str(tmp_path / "dask"))  # fmt: skip
        address = json.loads(address_file.read_text())["address"]
        command = [sys.executable, "-m", "fer_perception", "replay", *map(str, bags), "--model", str(tiny_bundle)]
        command += ["--out", "out", "--no-bag", "--no-images", "--scheduler", address]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(client)
        while not list((tmp_path / "out").glob("parts/*/frames-*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.poll() is None
        processes[1].kill()
        _, errors = client.communicate(timeout=120)
        assert client.returncode == 0, errors
    finally:
        for process in processes[::-1]:
            process.kill()
            process.wait()
    assert (tmp_path / "out/emotions.parquet").read_bytes() == (tmp_path / "plain/emotions.parquet").read_bytes()


def test_a_scheduler_that_is_not_there(tasks: list[jobs.Task], monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(FerError, match="is not reached"):
        run_tasks(tasks, scheduler="tcp://127.0.0.1:9")
