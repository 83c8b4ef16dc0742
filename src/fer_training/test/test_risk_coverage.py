"""Abstaining: curve, threshold, intervals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_perception.emotions.quality_gate import make_gate
from fer_perception.errors import BundleError
from fer_perception.models.bundle import Bundle, write_manifest
from fer_perception.models.shipped import resolve_model
from fer_perception.settings import EmotionSettings
from fer_training.evaluation.risk_coverage import (
    AtThreshold,
    accuracy_by_coverage,
    measure_risk_coverage,
    plot_risk_coverage,
    threshold_for,
)


def rows(confidences: list[float]) -> np.ndarray:
    """Two labels, the first one predicted."""
    return np.asarray([[c, 1 - c] for c in confidences], np.float32)


def test_a_curve_by_hand() -> None:
    confidences, right = np.array([0.6, 0.9, 0.8, 0.7]), np.array([False, True, True, False])
    np.testing.assert_allclose(accuracy_by_coverage(confidences, right), [1, 1, 2 / 3, 1 / 2])
    measured = measure_risk_coverage(np.array([1, 0, 0, 1]), rows([0.6, 0.9, 0.8, 0.7]), threshold=0.75)
    assert measured.aurc == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert measured.accuracy == 0.5
    assert measured.at_80.coverage == 1.0  # 80% of four are all of them
    assert measured.at_threshold == AtThreshold(threshold=0.75, coverage=0.5, accuracy=1.0)
    assert measured.curve.coverage[-1] == 1.0
    assert measured.curve.accuracy[-1] == 0.5
    nothing = measure_risk_coverage(np.array([0]), rows([0.6]), 0.9).at_threshold
    assert nothing == AtThreshold(threshold=0.9, coverage=0.0, accuracy=None)


@pytest.mark.parametrize(("count", "coverage", "expected"), [(5, 0.8, 4), (10, 0.8, 8), (7, 0.8, 6), (3, 1.0, 3)])
def test_a_threshold_covers_at_least_what_was_asked(count: int, coverage: float, expected: int) -> None:
    confidences = np.linspace(0.2, 0.9, count)
    assert (confidences >= threshold_for(confidences, coverage)).sum() == expected
    assert (np.full(count, 0.5) >= threshold_for(np.full(count, 0.5), coverage)).all()  # equal ones go together


def test_confidence_that_knows_gains_and_confidence_that_does_not_gains_nothing() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.5, 1, 4000)
    knowing = measure_risk_coverage((rng.random(4000) > confidences).astype(np.int64), rows(list(confidences)))
    low, high = knowing.at_80.intervals["gain"]
    assert low > 0.02
    assert low < knowing.at_80.gain < high
    blind = measure_risk_coverage((rng.random(4000) > 0.75).astype(np.int64), rows(list(confidences)))
    low, high = blind.at_80.intervals["gain"]
    assert low < 0 < high
    assert knowing.aurc < blind.aurc


def test_a_bundle_without_a_threshold_says_how_to_get_one(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(resolve_model("baseline"), bundle)
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update={"abstention": None, "balanced_abstention": None}))
    with pytest.raises(BundleError, match="python -m fer_training calibrate"):
        make_gate(Bundle(bundle), EmotionSettings(abstain_below=-1.0))
    assert make_gate(Bundle(bundle), EmotionSettings()).abstain_below == 0.0


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    measured = measure_risk_coverage(np.array([0, 0, 1, 0, 0] * 20), rows([0.6, 0.9, 0.7, 0.8, 0.65] * 20), 0.7)
    file = plot_risk_coverage(measured, "a title", tmp_path / "new" / "curve.png")
    assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert file.stat().st_size > 10_000
