from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fer_perception.faces.face import Face
from fer_perception.labels import EMOTIONS_7
from fer_perception.pipeline import Pipeline
from fer_perception.settings import PipelineSettings
from fer_perception.telemetry.timing import Stopwatch
from fer_perception.visualization.drawing import COLORS, draw_results


@pytest.fixture
def pipeline(face_model: Path, tiny_bundle: Path) -> Iterator[Pipeline]:
    settings = PipelineSettings(model=str(tiny_bundle), face_model=str(face_model))
    with closing(Pipeline.from_settings(settings)) as pipeline:
        yield pipeline


def test_one_row_of_probabilities_per_face(pipeline: Pipeline, portrait: np.ndarray) -> None:
    watch = Stopwatch()
    head = portrait[:256, 100:356]
    found, emotions = pipeline.process(np.hstack([head, head]), 0.0, watch)
    assert len(found.faces) == len(found.crops) == 2
    assert emotions.probabilities.shape == (2, 7)
    assert len(set(found.track_ids)) == 2
    again, _ = pipeline.process(np.hstack([head, head]), 0.03)
    assert set(again.track_ids) == set(found.track_ids)
    np.testing.assert_allclose(emotions.probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(emotions.probabilities[0], emotions.probabilities[1], atol=0.02)  # the same face twice
    assert list(watch.stages_ms) == ["detect", "align", "infer"]


def test_an_image_without_faces(pipeline: Pipeline) -> None:
    found, emotions = pipeline.process(np.zeros((480, 640, 3), np.uint8), 0.0)
    assert found.faces == []
    assert emotions.probabilities.shape == emotions.smoothed.shape == (0, 7)


def test_flaws_that_alternate_are_told_and_end(pipeline: Pipeline, portrait: np.ndarray) -> None:
    told = []
    for number in range(30):
        image = np.full((480, 640, 3), 0 if number % 2 else 255, np.uint8)
        pipeline.faces.process(image, number / 10, Stopwatch())
        told.append(pipeline.faces.flaw)
    assert told[:20] == [""] * 20
    assert {*told[20:]} == {"nearly black", "nearly white"}
    pipeline.faces.process(portrait, 3.0, Stopwatch())
    assert pipeline.faces.flaw == ""


def test_a_mesh_changes_nothing_else(pipeline: Pipeline, portrait: np.ndarray) -> None:
    pipeline.process(portrait, 0.0)  # followed from then on
    found, emotions = pipeline.process(portrait, 0.02)
    with_mesh, same = pipeline.process(portrait, 0.04, mesh=True)
    assert found.faces[0].mesh is None
    assert with_mesh.faces[0].mesh is not None
    np.testing.assert_array_equal(with_mesh.crops[0], found.crops[0])
    np.testing.assert_array_equal(same.probabilities, emotions.probabilities)


def test_drawing_marks_the_face_and_leaves_the_original(portrait: np.ndarray) -> None:
    before = portrait.copy()
    face = Face((177, 82, 95, 95), 0.9, np.full((6, 2), 150, np.float32))
    row = np.array([[0.02, 0.02, 0.02, 0.9, 0.02, 0.01, 0.01]], np.float32)
    drawn = draw_results(portrait, [face], row, EMOTIONS_7)
    np.testing.assert_array_equal(portrait, before)
    changed = (drawn != before).any(axis=2)
    assert changed[82, 200]  # the box
    assert changed[148:153, 148:153].all()  # a key point
    assert changed[60:80, 180:250].any()  # the label above the box
    panel = drawn[82:230, 276:430]
    bars = [(panel == color).all(axis=2) for color in COLORS[:7]]
    assert [int(bar.any(axis=0).sum()) for bar in bars] == [2, 2, 2, 59, 2, 2, 2]  # as long as they are probable
    assert all(bar.any(axis=1).sum() >= 10 for bar in bars)  # and high enough to be seen
    assert not changed[:50].any()
    assert not changed[240:].any()


def test_panels_stay_in_the_image_and_are_small_where_there_are_many_faces(portrait: np.ndarray) -> None:
    faces = [Face((x, 82, 60, 60), 0.9, np.full((5, 2), np.nan, np.float32)) for x in (20, 220, 440)]
    row = np.array([0.3, 0.02, 0.02, 0.5, 0.02, 0.04, 0.1], np.float32)
    drawn = draw_results(portrait, faces, np.tile(row, (3, 1)), EMOTIONS_7)
    for left in (84, 284, 302):  # of the last one to the left of its box
        panel = drawn[82:140, left : left + 136]
        assert [(panel == color).all(axis=2).any() for color in COLORS[:7]] == [
            True,
            *[False] * 2,
            True,
            *[False] * 2,
            True,
        ]


def test_drawing_at_the_very_edge_of_a_tiny_image() -> None:
    face = Face((0, 0, 20, 20), 0.9, np.zeros((6, 2), np.float32), mesh=np.zeros((478, 3), np.float32))
    assert draw_results(np.zeros((20, 20, 3), np.uint8), [face], np.full((1, 7), 1 / 7), EMOTIONS_7).shape == (
        20,
        20,
        3,
    )
