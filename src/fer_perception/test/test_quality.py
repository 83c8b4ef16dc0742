"""The quality gate on real faces, and what a refusal does to predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_perception.emotions.quality_gate import NOSE_DEPTH, QualityGate, Refusal, sharpness, strongest, yaw_deg
from fer_perception.faces.face import Face
from fer_perception.faces.finder import open_finder
from fer_perception.images.sources import open_source
from fer_perception.labels import EMOTIONS_7, UNKNOWN
from fer_perception.pipeline import Emotions, Pipeline
from fer_perception.settings import PipelineSettings
from fer_perception.visualization.drawing import UNKNOWN_COLOR, draw_results

# The limits that docs/privacy_and_audit.md proposes.
PROPOSED = PipelineSettings(min_face_px=40, min_sharpness=0.1, max_yaw_deg=45.0)


@pytest.fixture
def pipeline(face_model: Path) -> Iterator[Pipeline]:
    with closing(Pipeline.from_settings(PROPOSED.model_copy(update={"face_model": str(face_model)}))) as pipeline:
        yield pipeline


def only(pipeline: Pipeline, image: np.ndarray) -> tuple[Refusal | None, Emotions]:
    """The refusal of an image's one face, and the predictions."""
    found, emotions = pipeline.process(np.ascontiguousarray(image), 0.0)
    assert len(found.faces) == 1
    return emotions.refusal(0), emotions


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrunk, on a ground that keeps the image's size."""
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas = np.full_like(image, 128)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas


def test_a_good_portrait_is_answered(pipeline: Pipeline, portrait: np.ndarray) -> None:
    refusal, emotions = only(pipeline, portrait)
    assert refusal is None
    assert strongest(emotions.probabilities[0], EMOTIONS_7, refusal)[0] == "happy"


def test_a_small_face_is_refused_for_its_size(pipeline: Pipeline, portrait: np.ndarray) -> None:
    assert only(pipeline, resized(portrait[:256, 100:356], 0.35))[0] is Refusal.SMALL


@pytest.mark.parametrize("sigma", [2, 4])
def test_a_blurred_face_is_refused(pipeline: Pipeline, portrait: np.ndarray, sigma: float) -> None:
    refusal, emotions = only(pipeline, cv2.GaussianBlur(portrait, (0, 0), sigma))
    assert refusal is Refusal.BLURRED
    assert np.isnan(emotions.probabilities).all()  # the network was not asked
    assert strongest(emotions.probabilities[0], EMOTIONS_7, refusal) == (UNKNOWN, 0.0)


def test_a_dim_face_does_not_pass_for_a_blurred_one(pipeline: Pipeline, portrait: np.ndarray) -> None:
    assert only(pipeline, (portrait * 0.3).astype(np.uint8))[0] is None


def test_sharpness_falls_with_blur_and_not_with_contrast(portrait: np.ndarray) -> None:
    crop = cv2.resize(cv2.cvtColor(portrait[82:177, 177:272], cv2.COLOR_RGB2GRAY), (48, 48))
    values = [sharpness(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 1, 2, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 5 * values[-1]
    assert sharpness((crop * 0.5).astype(np.uint8)) == pytest.approx(sharpness(crop), rel=0.05)
    assert sharpness(np.dstack([crop] * 3)) == pytest.approx(sharpness(crop), rel=0.02)
    assert sharpness(np.full((48, 48), 90, np.uint8)) == 0.0


def yaw_by_mesh(face: Face) -> float:
    """Absolute, in degrees, of the head's orientation."""
    x, y, z, w = face.orientation or (0.0, 0.0, 0.0, 1.0)
    return abs(float(np.degrees(np.arctan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y)))))


def test_yaw_agrees_with_the_mesh_on_film_and_photograph(face_model: Path, media: Path) -> None:
    pairs = []
    with closing(open_finder()) as finder:
        for name in ("single_face.mp4", "face_noface.mov", "multi_face.jpg"):
            for image in islice(open_source(str(media / name), still_s=0.0).frames(), 0, 60, 4):
                faces = finder.find(image, mesh=True)
                pairs += [(yaw_deg(face), yaw_by_mesh(face)) for face in faces if face.orientation]
    measured, by_mesh = np.asarray(pairs).T
    assert len(pairs) > 20
    assert np.abs(measured - by_mesh).mean() < 6


def test_the_turned_ones_of_several_heads_are_refused(face_model: Path, media: Path) -> None:
    (image,) = islice(open_source(str(media / "multi_face.jpg"), still_s=0.0).frames(), 1)
    settings = PipelineSettings(face_model=str(face_model), max_yaw_deg=5)
    with closing(Pipeline.from_settings(settings)) as pipeline:
        found, emotions = pipeline.process(image, 0.0)
    refusals = [emotions.refusal(index) for index in range(len(found.faces))]
    assert refusals == [Refusal.TURNED if yaw_deg(face) > 5 else None for face in found.faces]
    assert set(refusals) == {Refusal.TURNED, None}


@pytest.mark.parametrize("degrees", [0, 20, 40, 60])
@pytest.mark.parametrize("roll", [0, 30])
def test_yaw_of_a_turned_head(degrees: float, roll: float) -> None:
    """Eyes and nose in space, turned about the upright axis and then in the image."""
    points = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.5, NOSE_DEPTH]]) * 60
    angle = np.radians(degrees)
    seen = np.column_stack([points[:, 0] * np.cos(angle) + points[:, 2] * np.sin(angle), points[:, 1]])
    turn = cv2.getRotationMatrix2D((0, 0), roll, 1)[:, :2]
    keypoints = np.zeros((5, 2), np.float32)
    keypoints[:3] = seen @ turn.T + 100
    assert yaw_deg(Face((0, 0, 90, 90), 0.9, keypoints)) == pytest.approx(degrees, abs=0.5)


def test_a_turned_head_is_refused_and_an_unknown_one_too() -> None:
    keypoints = np.array([[10, 10], [30, 10], [33, 20], [16, 30], [28, 30]], np.float32)
    gate, crop = QualityGate(max_yaw_deg=45), np.zeros((48, 48), np.uint8)
    turned = Face((0, 0, 40, 40), 0.9, keypoints)
    unknown = Face((0, 0, 40, 40), 0.9, np.full((5, 2), np.nan, np.float32))
    assert gate.inspect([turned, unknown], [crop, crop]) == [Refusal.TURNED] * 2
    assert QualityGate().inspect([turned, unknown], [crop, crop]) == [None, None]
    assert yaw_deg(Face((0, 0, 40, 40), 0.9, np.zeros((5, 2), np.float32))) == 90


def test_an_unsure_answer_is_withheld_but_kept(pipeline: Pipeline, portrait: np.ndarray) -> None:
    pipeline.emotions.gate = QualityGate(abstain_below=1.0)
    refusal, emotions = only(pipeline, portrait)
    assert refusal is Refusal.UNSURE
    assert emotions.probabilities[0].sum() == pytest.approx(1, abs=1e-5)
    assert np.isnan(emotions.smoothed).all()
    assert QualityGate().doubt(np.full(7, np.nan, np.float32)) is Refusal.UNSURE  # NaN is never a prediction


def test_the_average_rests_while_a_face_is_refused(pipeline: Pipeline, portrait: np.ndarray) -> None:
    blurred = cv2.GaussianBlur(portrait, (0, 0), 3)
    found, first = pipeline.process(portrait, 0.0)
    again, refused = pipeline.process(blurred, 0.1)
    _, last = pipeline.process(portrait, 0.2)
    assert again.track_ids == found.track_ids
    assert refused.refusal(0) is Refusal.BLURRED
    np.testing.assert_allclose(last.smoothed, first.smoothed, atol=1e-3)  # the same image: nothing else went in


def test_refused_faces_beside_answered_ones(pipeline: Pipeline, portrait: np.ndarray) -> None:
    head = portrait[:256, 100:356]
    found, emotions = pipeline.process(np.hstack([head, cv2.GaussianBlur(head, (0, 0), 3)]), 0.0)
    left_to_right = sorted(range(2), key=lambda index: found.faces[index].box[0])
    assert [emotions.refusal(index) for index in left_to_right] == [None, Refusal.BLURRED]
    _, alone = pipeline.process(np.hstack([head, np.zeros_like(head)]), 5.0)
    np.testing.assert_allclose(emotions.probabilities[left_to_right[0]], alone.probabilities[0], atol=0.02)


def test_a_refused_face_is_drawn_as_unknown(portrait: np.ndarray) -> None:
    face = Face((177, 82, 95, 95), 0.9, np.full((5, 2), np.nan, np.float32))
    drawn = draw_results(portrait, [face], np.full((1, 7), np.nan, np.float32), EMOTIONS_7)
    assert (drawn[82, 190:260] == UNKNOWN_COLOR).all()
    np.testing.assert_array_equal(drawn[185:200, 180:260], portrait[185:200, 180:260])  # no bars
