"""What ``replay`` does, from bags to a report: choose topics, predict or take recorded predictions, measure, write."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from fer_perception.errors import BagError, FerError, LabelsError
from fer_perception.files import made_folder, room_in
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_model
from fer_perception.replay.bags import Bag, Selection, bag_name, choose_topic, choose_topics
from fer_perception.replay.evaluation import Truth, evaluate
from fer_perception.replay.ground_truth import LABEL_TOPIC, Interval, check_labels, file_for, read_labels, read_truth
from fer_perception.replay.jobs import run_tasks
from fer_perception.replay.offline import FRAMES_PER_PART, LIBRARIES, Task, make_task
from fer_perception.replay.output_bag import topics_to_lose, write_bag
from fer_perception.replay.recorded import PREDICTIONS_TOPIC, read_recording
from fer_perception.replay.report import write_report
from fer_perception.replay.results import LiveRun, ModelFacts, ReplayReport, StreamFacts, StreamResult
from fer_perception.replay.tables import FRAMES, STREAM, Predictions, merge_parts, read_frame_rows, read_predictions
from fer_perception.settings import ReplaySettings, Value, values_of

PARTS, RECORDED, BAGS, TRUTH = "parts", "recorded", "bags", "truth.parquet"
REPORT, PAGE = "report.json", "report.html"
RESULTS = ("emotions.parquet", "emotions.csv", "frames.parquet", TRUTH, REPORT, PAGE)
POLL_S = 0.5


@dataclass(frozen=True)
class Options:
    """How to run and what to write; the names are those of the command line. ``rrd``: for one image topic of one bag.
    ``command``: is quoted in the report.
    """

    topic: Sequence[str] = ()
    labels: Sequence[Path] = ()
    label_topic: str = LABEL_TOPIC
    predictions_topic: str = PREDICTIONS_TOPIC
    jobs: int = 1
    scheduler: str = ""
    csv: bool = False
    write_bags: bool = True
    images: bool = True
    show_faces: bool = False
    rrd: Path | None = None
    command: str = ""


def evaluate_bags(
    bags: Sequence[Path],
    out: Path,
    settings: ReplaySettings,
    selection: Selection | None = None,
    options: Options | None = None,
) -> ReplayReport:
    """Evaluate bags and write all results into a folder.

    A bag that cannot be evaluated is left out and named in ``failures`` of the report.

    :raises FerError: no bag can be evaluated; or model, labels or folder cannot be used.
    """
    selection, options = selection or Selection(), options or Options()
    if len({bag.resolve() for bag in bags}) < len(bags):
        raise FerError("a bag is given twice")
    for bag in bags:
        file_for(bag, bags, options.labels)
    for file in options.labels:  # before hours of work
        read_labels(file)
    if options.rrd and not options.rrd.absolute().parent.is_dir():
        raise FerError(f"{options.rrd}: there is no folder {options.rrd.parent}. Make it, or choose another --rrd")
    tasks, totals, failures = _plan(bags, out, settings, selection, options)
    prepare(out, bags)
    if options.rrd and len(tasks) > 1:
        raise FerError(f"{options.rrd}: a recording is of one image topic, these are {len(tasks)}. Choose by --topic")
    with _progress(tasks, totals):
        results = run_tasks(tasks, options.jobs, options.scheduler)
    failures += [str(result) for result in results if isinstance(result, FerError)]
    streams = [result for result in results if not isinstance(result, FerError)]
    folders = {task.stream: task.folder for task in tasks}
    run = _Run(
        sha256={file.name: file.sha256 for file in Bundle(resolve_model(settings.model)).manifest.files.values()},
        settings=values_of(settings),
        software={name: import_module(name).__version__ for name in LIBRARIES},
        failures=failures,
    )
    return _conclude(bags, out, selection, options, folders, streams, run)


def evaluate_recording(
    bag: Path,
    recording: Path,
    out: Path,
    selection: Selection | None = None,
    options: Options | None = None,
    settings: Mapping[str, Value] | None = None,
) -> ReplayReport:
    """Evaluate predictions that were recorded while a live pipeline was shown a bag's images; write the same results.

    :param recording: a bag with the predictions, see :func:`read_recording`.
    :param settings: what is known of the live pipeline's, for the report.
    :raises FerError: the bag, the recording, labels or folder cannot be used, or no image was processed.
    """
    selection, options = selection or Selection(), options or Options()
    topic = choose_labelled_topic(bag, options.topic, options.labels)
    prepare(out, [bag])
    folder = out / PARTS / RECORDED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    stream = read_recording(bag, topic, selection, recording, options.predictions_topic, folder)
    live = LiveRun(recording=str(recording), predictions_topic=options.predictions_topic)
    run = _Run(settings=dict(settings or {}), live=live)
    return _conclude([bag], out, selection, options, {(str(bag), topic): folder}, [stream], run)


@dataclass(frozen=True)
class _Run:
    """Of the report, what is known of the run: see :class:`ReplayReport`."""

    sha256: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Value] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    live: LiveRun | None = None


def _conclude(
    bags: Sequence[Path],
    out: Path,
    selection: Selection,
    options: Options,
    folders: Mapping[tuple[str, str], Path],
    streams: Sequence[StreamFacts],
    run: _Run,
) -> ReplayReport:
    """From the parts of the streams to tables, measures, report and bags.

    :param folders: of the parts, by stream.
    """
    failures, usable = list(run.failures), []
    truth: dict[tuple[str, str], list[Interval]] = {}
    for stream in streams:
        name = (stream.bag, stream.topic)
        try:
            intervals, notes = _truth(name, folders[name], bags, options)
        except FerError as error:
            failures.append(str(error))
            continue
        usable.append(stream.model_copy(update={"notes": [*stream.notes, *notes]}))
        truth |= {name: intervals} if intervals else {}
    if not usable:
        raise FerError("no bag was evaluated. " + " | ".join(dict.fromkeys(failures)))
    labels, model_id = tuple(usable[0].labels), usable[0].model_id
    with room_in(out, "choose another --out, and run it again: it goes on where it is now"):
        merge_parts({(s.bag, s.topic): folders[s.bag, s.topic] for s in usable}, labels, out, options.csv)
        predictions = read_predictions(out)
        rows = [(*stream, *interval) for stream, intervals in truth.items() for interval in intervals]
        pd.DataFrame(rows, columns=[*STREAM, *Interval._fields]).to_parquet(out / TRUTH)
        report = _report(usable, predictions, truth, selection, options, run, failures)
        write_report(out / PAGE, report, predictions, truth, options.images, options.show_faces)
        report.write(out / REPORT)
        if options.rrd:
            from fer_perception.replay.report.rerun_file import write_rerun_file  # needs requirements/view.txt

            shown = next(iter(truth.values()), [])
            write_rerun_file(options.rrd, predictions, shown, selection, options.images, options.show_faces)
        if options.write_bags:  # behind all else: a copy that fails costs nothing but itself
            not_written = _write_bags(out / BAGS, predictions, model_id, options.images)
            report = report.model_copy(update={"bags_not_written": not_written})
            report.write(out / REPORT)
    return report


def _report(
    streams: Sequence[StreamFacts],
    predictions: Predictions,
    truth: Truth,
    selection: Selection,
    options: Options,
    run: _Run,
    failures: list[str],
) -> ReplayReport:
    measures, everything = evaluate(predictions, truth)
    return ReplayReport(
        command=options.command,
        model=ModelFacts(id=streams[0].model_id, engine=streams[0].engine, sha256=run.sha256),
        settings=run.settings,
        selection=_described(selection),
        software=run.software,
        failures=failures,
        live=run.live,
        streams=[StreamResult(**dict(f), **dict(m)) for f, m in zip(streams, measures, strict=True)],
        all=everything,
        topics_not_copied=_not_copied({stream.bag for stream in streams}, options),
    )


def _not_copied(bags: Collection[str], options: Options) -> dict[str, list[str]] | None:
    """See :class:`ReplayReport`; known before anything is copied."""
    if not options.write_bags:
        return None
    lost = {bag: topics_to_lose(Path(bag)) if options.images else [] for bag in sorted(bags)}
    return {bag: topics for bag, topics in lost.items() if topics}


def read_truth_table(folder: Path) -> Truth:
    """The intervals that an earlier run was measured against."""
    table = pd.read_parquet(folder / TRUTH)
    return {
        (str(bag), str(topic)): [
            Interval(*row) for row in rows[["start_ns", "end_ns", "label"]].itertuples(index=False)
        ]
        for (bag, topic), rows in table.groupby(list(STREAM), sort=False)
    }


def prepare(out: Path, bags: Sequence[Path]) -> None:
    """Delete an earlier run's results, so that they are never taken for this one's; its parts stay.

    :raises FerError: the folder holds something else, or one of the bags, or cannot be written.
    """
    if inside := [bag for bag in bags if bag.resolve().is_relative_to(out.resolve())]:
        raise FerError(f"{inside[0]}: lies in {out}, where the last results are deleted. Choose another --out")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / PARTS).is_dir())):
        raise FerError(f"{out}: exists and is no output of replay. Move it away, or choose another --out")
    with made_folder(out):
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / BAGS, ignore_errors=True)


def _plan(
    bags: Sequence[Path], out: Path, settings: ReplaySettings, selection: Selection, options: Options
) -> tuple[list[Task], list[int], list[str]]:
    """Tasks, about how many frames each has, and the bags that cannot be used."""
    tasks, totals, failures = [], [], []
    for path in bags:
        try:
            with Bag(path) as bag:
                length_s = max((bag.end_ns - bag.start_ns) * 1e-9, 1e-9)
                fraction = min(1.0, (min(selection.end_s, length_s) - selection.start_s) / length_s)
                topics = choose_topics(bag, options.topic)
                _check_labels(path, bags, bag, options.labels, topics)
                for topic in topics:
                    tasks.append(make_task(path, topic, selection, settings, out / PARTS))
                    totals.append(max(1, round(bag.counts[topic] * max(0.0, fraction) / selection.every)))
        except (BagError, LabelsError) as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"{path}: {error}")
    if not tasks:
        raise FerError(" | ".join(dict.fromkeys(failures)))
    return tasks, totals, failures


def choose_labelled_topic(path: Path, wanted: Sequence[str], labels: Sequence[Path]) -> str:
    """The one image topic of a bag to play, once its labels were compared with it.

    :raises FerError: the bag, topic or labels cannot be used.
    """
    with Bag(path) as bag:
        topic = choose_topic(bag, wanted)
        _check_labels(path, [path], bag, labels, [topic])
    return topic


def _check_labels(path: Path, bags: Sequence[Path], bag: Bag, files: Sequence[Path], topics: Sequence[str]) -> None:
    """:raises LabelsError: a bag's file of labels cannot be used, or is of another recording."""
    if file := file_for(path, bags, files):
        most = max(bag.counts[topic] for topic in topics)
        check_labels(read_labels(file), file, (bag.end_ns - bag.start_ns) * 1e-9, most)


@contextmanager
def _progress(tasks: Sequence[Task], totals: Sequence[int]) -> Iterator[None]:
    """A bar with the remaining time. It counts the parts on disk, whichever process or machine writes them."""

    def done() -> int:
        parts = [len(list(task.folder.glob(f"{FRAMES}-*.parquet"))) for task in tasks]
        return sum(min(count * FRAMES_PER_PART, total) for count, total in zip(parts, totals, strict=True))

    ended = threading.Event()
    with tqdm(total=sum(totals), initial=done(), unit="frame", desc="replay") as bar:

        def poll() -> None:
            while not ended.wait(POLL_S):
                bar.update(done() - bar.n)

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            bar.update(done() - bar.n)


def _truth(
    stream: tuple[str, str], folder: Path, bags: Sequence[Path], options: Options
) -> tuple[list[Interval], list[str]]:
    """What was shown in a stream, and what is odd about its labels.

    :param folder: of its parts.
    :raises FerError: none of its images was processed, or its labels cannot be used.
    """
    path, topic = Path(stream[0]), stream[1]
    frames = read_frame_rows(folder)
    unprocessed = frames["rejected"].where(~frames["dropped"], "none of its predictions is in the recording")
    if (unprocessed != "").all():
        reason = unprocessed.iloc[0] if len(unprocessed) else "no image lies between --from and --to"
        raise BagError(f"{path}, {topic}: no image was processed: {reason}")
    with Bag(path) as bag:
        return read_truth(bag, frames, file_for(path, bags, options.labels), options.label_topic)


def _write_bags(folder: Path, predictions: Predictions, model_id: str, images: bool) -> dict[str, str]:
    """Write a bag for each bag. Returns by bag why it was not written."""
    not_written = {}
    taken: set[Path] = set()
    for name, frames in predictions.frames.groupby("bag", sort=False):
        source = Path(str(name))
        out = folder / bag_name(source)
        while out in taken:  # bags of several robots can have the same name
            out = out.with_name(f"{out.name}_")
        taken.add(out)
        emotions = predictions.emotions[predictions.emotions["bag"] == name]
        streams = {
            str(topic): (emotions[emotions["topic"] == topic], rows)
            for topic, rows in frames.groupby("topic", sort=False)
        }
        try:
            with room_in(folder, "leave the copies out: --no-bag, or --no-images"):
                write_bag(source, out, streams, predictions.labels, model_id, originals=images)
        except Exception as error:  # also of rosbags' writer
            shutil.rmtree(out, ignore_errors=True)  # half a bag is none
            not_written[str(name)] = str(error) if isinstance(error, FerError) else f"{type(error).__name__}: {error}"
    return not_written


def _described(selection: Selection) -> str:
    end = "the end" if selection.end_s == float("inf") else f"{selection.end_s:g} s"
    which = "every frame" if selection.every == 1 else f"every {selection.every}th frame"
    return f"{which} from {selection.start_s:g} s to {end}"
