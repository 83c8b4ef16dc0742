"""The pipeline on the images of a bag, as fast as the machine allows; what was done is never done again.

Predictions are written in parts of some frames. An interrupted run goes on behind the last part: the tracker and the
smoother get their memory back from the predictions that are there.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from fer_perception.emotions.smoothing import Smoother
from fer_perception.faces.face import roll_rad
from fer_perception.faces.model_files import LANDMARKER_SHA256, detector_identity
from fer_perception.faces.single_face import OneFacePipeline
from fer_perception.faces.tracker import Tracker
from fer_perception.files import sha256_of
from fer_perception.images.stamps import seconds
from fer_perception.images.visibility import SensorRange
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_model
from fer_perception.pipeline import EmotionPipeline, Emotions, FacePipeline, Faces, Pipeline
from fer_perception.replay.bags import Bag, Frame, Selection, read_frames
from fer_perception.replay.prefetch import prefetch
from fer_perception.replay.results import BagFile, StreamFacts
from fer_perception.replay.tables import (
    EMOTIONS,
    FRAMES,
    KEYPOINT_COLUMNS,
    STREAM,
    Part,
    count_parts,
    emotion_schema,
    frame_schema,
    keypoints_of,
    read_parts,
)
from fer_perception.settings import ReplaySettings, values_of
from fer_perception.telemetry.timing import Stopwatch

FRAMES_PER_PART = 100
STREAM_FILE = "stream.json"
# What decides about the numbers beside the model.
LIBRARIES = ("cv2", "mediapipe", "numpy", "onnxruntime", "PIL")


@dataclass(frozen=True)
class Task:
    """One image topic of one bag, what to do with it, and the folder of the parts. Can be sent to another machine.

    ``name``: of the bag in tables and reports, the path as it was given; all other paths are absolute.
    """

    name: str
    bag: Path
    topic: str
    selection: Selection
    settings: ReplaySettings
    folder: Path

    @property
    def stream(self) -> tuple[str, str]:
        """Bag and topic, as the tables name them."""
        return self.name, self.topic


def make_task(bag: Path, topic: str, selection: Selection, settings: ReplaySettings, parts: Path) -> Task:
    """A task whose folder below ``parts`` is named by everything that decides about the predictions.

    Whatever changes gets another folder: the bag (told by its files' sizes and times of change), the topic, the
    selection, the settings, the models, the versions of the libraries, and the tables' columns.

    :raises FerError: a model cannot be used.
    """
    settings = settings.model_copy(update={"model": str(resolve_model(settings.model).resolve())})
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in bag_files(bag)]
    model = Bundle(settings.model).manifest.model_dump(mode="json", exclude={"training", "metrics"})
    libraries = {name: import_module(name).__version__ for name in LIBRARIES}
    columns = [*frame_schema().names, *emotion_schema([]).names]
    decisive = [str(bag.resolve()), files, topic, asdict(selection), values_of(settings), model, libraries, columns]
    faces = [LANDMARKER_SHA256, detector_identity(settings.detector_model)]
    digest = hashlib.sha256(json.dumps([*decisive, *faces, FRAMES_PER_PART]).encode()).hexdigest()
    folder = parts.resolve() / digest[:16]
    return Task(str(bag), bag.resolve(), topic, selection, settings, folder)


def bag_files(bag: Path) -> list[Path]:
    """The files of a bag, sorted."""
    return sorted(file for file in bag.iterdir() if file.is_file()) if bag.is_dir() else [bag]


def run(task: Task) -> StreamFacts:
    """Process the frames that are not processed yet.

    :raises BagError: the bag is damaged.
    :raises FerError: the model cannot be used.
    """
    done = task.folder / STREAM_FILE
    if done.exists():
        return StreamFacts.read(done).model_copy(update=dict(zip(STREAM, task.stream, strict=True)))
    task.folder.mkdir(parents=True, exist_ok=True)
    files: list[BagFile] = []
    hashing = threading.Thread(target=lambda: files.extend(hash_files(task.bag)), daemon=True)
    hashing.start()
    stage = OneFacePipeline if task.settings.one_face else FacePipeline
    with Bag(task.bag) as bag, closing(Pipeline.from_settings(task.settings, stage)) as pipeline:
        speed = _predict(task, bag, pipeline.faces, pipeline.emotions)
        messages = bag.counts[task.topic]
        # Of a part of the bag nobody knows how many there should be.
        missing = max(0, messages - bag.read[task.topic]) if task.selection.end_s == float("inf") else 0
        hashing.join()
        classifier = pipeline.emotions.classifier
        facts = StreamFacts(
            bag=task.name,
            topic=task.topic,
            model_id=classifier.model_id,
            labels=list(classifier.labels),
            engine=classifier.engine_name,
            files=files or hash_files(task.bag),
            start_ns=bag.start_ns,
            messages=messages,
            missing=missing,
            notes=bag.notes,
            frames_per_second=speed,
        )
    facts.write(done)
    return facts


def _predict(task: Task, bag: Bag, faces: FacePipeline, emotions: EmotionPipeline) -> float:
    """Process the frames that no part holds. Returns frames per second."""
    labels = emotions.classifier.labels
    number = count_parts(task.folder)
    sensor = SensorRange(task.settings.image_bits)
    last = _remember(task.folder, labels, faces.tracker, emotions.smoother, sensor)
    part, frames, begun = Part(labels), 0, time.perf_counter()
    # Three threads: one reads ahead, one finds the faces of the next image while this one reads emotions.
    with (
        closing(prefetch(read_frames(bag, task.topic, task.selection, last + 1, sensor))) as images,
        closing(prefetch(_find_faces(images, faces))) as found,
    ):
        for frame, its_faces, durations_ms in found:
            part.add(frame, *_read_emotions(frame, its_faces, durations_ms, emotions))
            frames += 1
            if len(part.frames) == FRAMES_PER_PART:
                part.write(task.folder, number)
                part, number = Part(labels), number + 1
    if part.frames or not number:
        part.write(task.folder, number)
    return frames / (time.perf_counter() - begun)


def _find_faces(
    images: Iterator[Frame], faces: FacePipeline
) -> Generator[tuple[Frame, Faces | None, dict[str, float]], None, None]:
    for frame in images:
        stopwatch = Stopwatch()
        found = None if frame.image is None else faces.process(frame.image, seconds(frame.taken.time_ns), stopwatch)
        yield frame, found, {"decode": frame.decode_ms, **stopwatch.stages_ms}


def _read_emotions(
    frame: Frame, found: Faces | None, durations_ms: dict[str, float], emotions: EmotionPipeline
) -> tuple[Faces | None, Emotions | None, dict[str, float]]:
    if found is None:
        return None, None, durations_ms
    stopwatch = Stopwatch()
    predictions = emotions.process(found, seconds(frame.taken.time_ns), stopwatch)
    durations_ms |= stopwatch.stages_ms
    return found, predictions, durations_ms | {"total": sum(durations_ms.values())}


def _remember(folder: Path, labels: tuple[str, ...], tracker: Tracker, smoother: Smoother, sensor: SensorRange) -> int:
    """Bring all three to where the written parts end. Returns the index of their last frame, or -1."""
    last = -1
    for frames, emotions in zip(read_parts(folder, FRAMES), read_parts(folder, EMOTIONS), strict=True):
        boxes = list(zip(*(emotions[name].to_pylist() for name in ("x", "y", "width", "height")), strict=True))
        columns = [emotions[label].to_numpy() for label in labels]
        probabilities = np.stack(columns, axis=1).astype(np.float32)
        keypoints = keypoints_of(emotions.select(KEYPOINT_COLUMNS).to_pandas())
        rolls_rad = [roll_rad(points) for points in keypoints]
        predicted = np.asarray(emotions["refusal"].to_pylist(), str) == ""
        row = 0
        for frame in frames.select(["frame", "taken_ns", "faces", "rejected", "image_bits"]).to_pylist():
            last, sensor.bits = frame["frame"], frame["image_bits"]
            if frame["rejected"]:
                continue
            rows = slice(row, row + frame["faces"])
            taken_s = seconds(frame["taken_ns"])
            track_ids = tracker.update(boxes[rows], taken_s, rolls_rad[rows])
            kept = predicted[rows]
            known = [track_id for track_id, is_kept in zip(track_ids, kept, strict=True) if is_kept]
            smoother.update(known, probabilities[rows][kept], taken_s)
            row += frame["faces"]
    return last


def hash_files(bag: Path) -> list[BagFile]:
    """The files of a bag."""
    return [BagFile(name=f.name, size=f.stat().st_size, sha256=sha256_of(f)) for f in bag_files(bag)]
