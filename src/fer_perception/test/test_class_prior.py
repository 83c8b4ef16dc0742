"""The class prior: what is added to the logits, worked out by hand and through a real network."""

import logging
from pathlib import Path

import numpy as np
import pytest

from fer_perception.emotions.class_prior import balancing_bias, parse_frequencies, prior_bias
from fer_perception.emotions.classifier import EmotionClassifier, acquire, release, softmax
from fer_perception.emotions.quality_gate import make_gate
from fer_perception.errors import BundleError, FerError
from fer_perception.models.bundle import Abstention, Bundle, write_manifest
from fer_perception.settings import EmotionSettings

FREQUENCIES = (0.125, 0.0625, 0.0625, 0.25, 0.125, 0.125, 0.25)  # two classes of 1/16, three of 1/8, two of 1/4
UNIFORM = ",".join(["0.142857"] * 7)
CROPS = [np.full((48, 48), 255, np.uint8), np.full((48, 48), 100, np.uint8)]


def change(bundle: Path, **values: object) -> Path:
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update=values))
    return bundle


@pytest.fixture
def skewed(tiny_bundle: Path) -> Path:
    return change(tiny_bundle, label_frequencies=FREQUENCIES, prior_strength=0.5, temperature=2.0)


def test_the_bias_worked_out_by_hand(skewed: Path) -> None:
    # In units of log 2 the frequencies are -3, -4, -4, -2, -3, -3, -2: their mean is -3.
    units = np.array([0, 1, 1, -1, 0, 0, -1]) * np.log(2)
    bias = prior_bias(Bundle(skewed), "balanced")
    np.testing.assert_allclose(bias, 0.5 * units, atol=1e-6)
    assert bias is not None
    assert bias.dtype == np.float32
    np.testing.assert_allclose(balancing_bias(Bundle(skewed).manifest, 1.0), units, atol=1e-6)
    np.testing.assert_allclose(prior_bias(Bundle(skewed), UNIFORM), units, atol=1e-5)  # a list: all of it
    same = prior_bias(Bundle(skewed), ",".join(map(str, FREQUENCIES)))
    np.testing.assert_allclose(same, np.zeros(7), atol=1e-6)
    assert prior_bias(Bundle(skewed), "training") is None


def test_probabilities_are_those_of_the_other_prior(skewed: Path) -> None:
    """Bayes: of calibrated probabilities the trained prior is divided out and the wanted one multiplied in."""
    plain, balanced, listed = (
        EmotionClassifier(skewed, prior=prior) for prior in ("training", "balanced", "0.4,0.1,0.1,0.1,0.1,0.1,0.1")
    )
    before = plain.classify(CROPS)
    for found, ratio in (
        (balanced.classify(CROPS), np.power(FREQUENCIES, -0.5)),
        (listed.classify(CROPS), np.array([0.4, *[0.1] * 6]) / FREQUENCIES),
    ):
        expected = before * ratio
        np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
    assert balanced.classify(CROPS[:1]).argmax() != balanced.classify(CROPS[1:]).argmax()
    np.testing.assert_allclose(before, softmax(plain.logits(CROPS) / 2), rtol=1e-6)
    np.testing.assert_array_equal(balanced.logits(CROPS), plain.logits(CROPS))
    assert balanced.model_id == plain.model_id
    assert EmotionClassifier(skewed, prior="balanced").classify([]).shape == (0, 7)


def test_uniform_frequencies_and_strength_0_change_nothing(skewed: Path) -> None:
    plain = EmotionClassifier(skewed).classify(CROPS)
    change(skewed, label_frequencies=(1 / 7,) * 7, prior_strength=1.0)
    np.testing.assert_array_equal(EmotionClassifier(skewed, prior="balanced").classify(CROPS), plain)
    change(skewed, label_frequencies=FREQUENCIES, prior_strength=0.0)
    np.testing.assert_array_equal(EmotionClassifier(skewed, prior="balanced").classify(CROPS), plain)


def test_a_bundle_without_frequencies_says_so_and_stays_as_it_is(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (tiny_bundle / "manifest.yaml").read_text()
    assert "label_frequencies" not in text
    assert "prior" not in text
    assert Bundle(tiny_bundle).manifest.prior_strength == 0.5
    with caplog.at_level(logging.WARNING):
        classifier = EmotionClassifier(tiny_bundle, prior="training")
        assert not caplog.records
        balanced = EmotionClassifier(tiny_bundle, prior="balanced")
    (record,) = caplog.records
    assert "no label_frequencies, so predictions are not balanced" in record.message
    np.testing.assert_array_equal(balanced.classify(CROPS), classifier.classify(CROPS))
    with pytest.raises(FerError, match=r"has no label_frequencies to replace.*set prior to training"):
        EmotionClassifier(tiny_bundle, prior=UNIFORM)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "use balanced, training or one frequency for each of angry, disgust, .*, neutral, as numbers"),
        ("Balanced", "prior is 'Balanced': use balanced, training"),
        ("0.5;0.5", "as numbers with commas between them"),
        ("0.5,0.5", "of angry, disgust, fear, happy, sad, surprise, neutral: these are 7, not 2"),
        ("0.4,0.1,0.1,0.1,0.1,0.1,0", "each above 0"),
        ("0.6,0.1,0.1,0.1,0.1,0.1,-0.1", "each above 0"),
        ("nan,0.1,0.1,0.1,0.1,0.1,0.1", "each above 0"),
        ("inf,0.1,0.1,0.1,0.1,0.1,0.1", "sum to 1, not to inf"),
        ("0.5,0.1,0.1,0.1,0.1,0.1,0.1", r"sum to 1, not to 1\.1"),
    ],
)
def test_what_is_no_prior_is_refused(skewed: Path, text: str, message: str) -> None:
    with pytest.raises(FerError, match=message):
        EmotionClassifier(skewed, prior=text)


def test_frequencies_may_be_rounded_and_spaced() -> None:
    assert parse_frequencies(" 0.33, 0.33 ,0.33", ("a", "b", "c")) == [0.33] * 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_frequencies": (0.5, 0.5)}, "label_frequencies: .*2 numbers for 7 labels"),
        ({"label_frequencies": (0.0, *[1 / 6] * 6)}, "label_frequencies: .*must be positive and sum to 1"),
        ({"label_frequencies": (0.5,) * 7}, "label_frequencies: .*must be positive and sum to 1"),
        ({"label_frequencies": (float("nan"),) * 7}, "label_frequencies: .*must be positive"),
        ({"label_frequencies": FREQUENCIES, "prior_strength": 1.5}, "prior_strength"),
    ],
)
def test_an_invalid_manifest_names_the_field(tiny_bundle: Path, values: dict, message: str) -> None:
    change(tiny_bundle, **values)
    with pytest.raises(BundleError, match=message):
        Bundle(tiny_bundle)


def test_the_manifest_is_read_back(skewed: Path) -> None:
    manifest = Bundle(skewed).manifest
    assert manifest.label_frequencies == FREQUENCIES
    assert manifest.prior_strength == 0.5


def test_each_prior_has_its_network_and_each_its_threshold(skewed: Path) -> None:
    thresholds = [Abstention(threshold=value, coverage=0.8, dataset="fer2013") for value in (0.4, 0.3)]
    change(skewed, abstention=thresholds[0], balanced_abstention=thresholds[1])
    common = {"model": str(skewed), "precision": "fp32", "backend": "onnxruntime", "abstain_below": -1.0}
    balanced, training = EmotionSettings(**common), EmotionSettings(**common, prior="training")
    assert balanced.prior == "balanced"
    one, other = acquire(balanced), acquire(training)
    try:
        assert one is not other
        assert (one.classify(CROPS) != other.classify(CROPS)).any()
    finally:
        release(balanced)
        release(training)
    assert make_gate(Bundle(skewed), balanced).abstain_below == 0.3
    assert make_gate(Bundle(skewed), training).abstain_below == 0.4
    with pytest.raises(BundleError, match="no threshold for abstaining with frequencies of your own"):
        make_gate(Bundle(skewed), EmotionSettings(**common, prior=UNIFORM))
    change(skewed, balanced_abstention=None)
    with pytest.raises(BundleError, match="no threshold for abstaining with prior balanced"):
        make_gate(Bundle(skewed), balanced)
    change(skewed, label_frequencies=None)  # predictions carry the training prior then
    assert make_gate(Bundle(skewed), balanced).abstain_below == 0.4


@pytest.mark.parametrize("name", ["baseline", "hybrid_attention_lite0"])
def test_shipped_bundles_have_balanced_predictions(name: str) -> None:
    manifest = Bundle(Path(__file__).parents[1] / "models" / name).manifest
    assert manifest.label_frequencies is not None
    rarest = min(zip(manifest.label_frequencies, manifest.labels, strict=True))[1]
    assert rarest in ("disgust", "contempt")
    assert manifest.balanced_abstention is not None
    bias = balancing_bias(manifest, 1.0)
    assert bias is not None
    assert manifest.labels[int(bias.argmax())] == rarest
