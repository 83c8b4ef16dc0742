"""Shows the scenes to the detectors, and measures what these find and what is read in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_perception.commands.benchmark.range.people import make_person, make_photograph
from fer_perception.commands.benchmark.range.photographs import LabelledFace, load_faces
from fer_perception.commands.benchmark.range.scenes import (
    KINDS,
    Kind,
    Scene,
    load_backgrounds,
    make_picture,
    make_scene,
)
from fer_perception.commands.benchmark.range.times import measure_times
from fer_perception.evaluation.range import (
    IMAGE_WIDTH_PX,
    DetectorResult,
    RangeResult,
    SceneResult,
    distance_m,
    focal_px,
)
from fer_perception.evaluation.results import rounded
from fer_perception.evaluation.speed import machine
from fer_perception.faces.face import LEFT_EYE, RIGHT_EYE
from fer_perception.faces.head_pose import PUPILS_M, Camera
from fer_perception.geometry import overlap
from fer_perception.models.shipped import BLAZEFACE, resolve_detector_model
from fer_perception.pipeline import Pipeline
from fer_perception.settings import PipelineSettings
from fer_perception.types import UInt8Image

CAMERA = Camera([[focal_px(), 0.0, IMAGE_WIDTH_PX / 2], [0.0, focal_px(), 240.0], [0.0, 0.0, 1.0]])
MIN_OVERLAP = 0.3  # with the true box; intersection over union
# The others are compared with the first. Range auto looks into the distance in an image that is alone: as range far.
DETECTORS: dict[str, dict[str, Any]] = {
    "blazeface": {"detector_model": BLAZEFACE},
    "yunet near": {"range": "near"},
    "yunet auto": {"range": "auto"},
}


class Judgement(NamedTuple):
    """Of a detector in a scene; errors, see :class:`SceneResult`, are NaN where the face was not found."""

    found: bool
    right: bool
    keypoint_error: float
    distance_error: float


def measure_range(
    settings: PipelineSettings,
    manifest: Path,
    split: str = "",
    count: int = 111,
    backgrounds: Path | None = None,
    rounds: int = 9,
    pictures: int = 200,
    kinds: Sequence[Kind] = KINDS,
) -> RangeResult:
    """How far away each detector finds people, what is read in their faces, and what that costs.

    :param settings: what runs the emotion network; detector and range are the benchmark's.
    :param count: at most so many labelled faces; one scene of each kind is made of each.
    :param rounds: of clocking.
    :param pictures: so many without people are searched for false faces.
    :raises FerError: the manifest, the backgrounds or a model cannot be used.
    """
    empty = load_backgrounds(backgrounds)
    with ExitStack() as opened:
        pipelines = {
            name: opened.enter_context(closing(Pipeline.from_settings(settings.model_copy(update=changes))))
            for name, changes in DETECTORS.items()
            if name == BLAZEFACE or resolve_detector_model(settings.detector_model)
        }
        classifier = pipelines[BLAZEFACE].emotions.classifier
        faces, looked_at = load_faces(manifest, split, count, classifier.labels)
        scenes = _judge_all(pipelines, faces, empty, kinds)
        false_faces = _count_false_faces(pipelines, empty, pictures)
        nobody = [make_picture(empty, np.random.default_rng(seed)) for seed in range(rounds)]
        times = measure_times(pipelines, nobody, rounds)
        return RangeResult(
            machine=machine(),
            model=classifier.model_id,
            manifest=manifest.name,
            split=split,
            photographs=looked_at,
            faces=len(faces),
            pictures=pictures,
            detectors=[
                DetectorResult(name=name, scenes=scenes[name], false_faces=false_faces[name], times=times[name])
                for name in pipelines
            ],
        )


def judge(pipeline: Pipeline, scene: Scene, label: str) -> Judgement:
    """Whether the face of a scene is found, as a single image, and its emotion predicted."""
    found = pipeline.faces.finder.find(scene.image)
    face = max(found, key=lambda face: overlap(face.box, scene.box), default=None)
    if face is None or overlap(face.box, scene.box) <= MIN_OVERLAP:
        return Judgement(False, False, float("nan"), float("nan"))
    classifier = pipeline.emotions.classifier
    probabilities = classifier.classify(pipeline.faces.crop(scene.image, [face]))[0]
    eyes = float(np.linalg.norm(scene.keypoints[LEFT_EYE] - scene.keypoints[RIGHT_EYE]))
    error = float(np.linalg.norm(face.keypoints - scene.keypoints, axis=1).mean()) / eyes
    pose = CAMERA.pose_of(face)
    distance = float("inf") if pose is None else float(pose.position_m[2])
    distance_error = abs(distance * eyes / (PUPILS_M * focal_px()) - 1)
    return Judgement(True, classifier.labels[probabilities.argmax()] == label, error, distance_error)


def _judge_all(
    pipelines: dict[str, Pipeline], faces: Sequence[LabelledFace], empty: list[UInt8Image], kinds: Sequence[Kind]
) -> dict[str, list[SceneResult]]:
    judged: dict[tuple[str, Kind], list[Judgement]] = {(name, kind): [] for name in pipelines for kind in kinds}
    for seed, face in enumerate(tqdm(faces, desc="scenes", unit="face")):
        person, photograph = make_person(face), make_photograph(face)
        for kind in kinds:
            scene = make_scene(photograph if kind.hard_edge else person, kind, empty, seed)
            for name, pipeline in pipelines.items():
                judged[name, kind].append(judge(pipeline, scene, face.label))
    return {name: [summarise(kind, judged[name, kind]) for kind in kinds] for name in pipelines}


def summarise(kind: Kind, judgements: Iterable[Judgement]) -> SceneResult:
    """The result of one detector in all scenes of a kind."""
    found, right, keypoint, distance = (np.asarray(values) for values in zip(*judgements, strict=True))
    return SceneResult(
        width_px=kind.width,
        distance_m=round(distance_m(kind.width), 2),
        hard_edge=kind.hard_edge,
        roll_deg=kind.roll_deg,
        found=rounded(float(found.mean()), 4),
        accuracy=rounded(float(right[found].mean()), 4) if found.any() else None,
        found_and_right=rounded(float(right.mean()), 4),
        keypoint_error=rounded(float(np.median(keypoint[found])), 4) if found.any() else None,
        distance_error=_median_and_p90(distance[found]) if found.any() else None,
    )


def _median_and_p90(errors: npt.NDArray[np.float64]) -> tuple[float, float]:
    median, most = (round(float(np.percentile(errors, percent)), 4) for percent in (50, 90))
    return median, most


def _count_false_faces(pipelines: dict[str, Pipeline], empty: list[UInt8Image], pictures: int) -> dict[str, int]:
    counts = dict.fromkeys(pipelines, 0)
    for seed in tqdm(range(pictures), desc="without people", unit="picture"):
        picture = make_picture(empty, np.random.default_rng(seed))
        for name, pipeline in pipelines.items():
            counts[name] += len(pipeline.faces.finder.find(picture))
    return counts
