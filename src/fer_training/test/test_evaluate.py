"""Evaluation with a network whose predictions are known: an emotion's logit is the brightness of its left bar."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import accuracy_score, recall_score

from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.errors import FerError
from fer_perception.files import sha256_of
from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_perception.models.bundle import Bundle, Manifest, ModelFile, write_manifest
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.preprocessing.normalization import InputSpec
from fer_training.__main__ import main
from fer_training.datasets import Samples, load_dataset
from fer_training.evaluation import evaluate as module
from fer_training.evaluation.calibration import calibrate
from fer_training.evaluation.evaluate import EvaluationResult, evaluate, format_result, record
from fer_training.reporting.entries import read_entry

HEIGHT = 6  # of a bar, in pixels
TOP = np.exp(4) / (np.exp(4) + 6)  # probability of a white bar among six black ones: logits 2 and -2
HAPPY, SAD, CONTEMPT = (EMOTIONS_8.index(label) for label in ("happy", "sad", "contempt"))


def image_of(left: dict[int, int], right: dict[int, int] | None = None) -> np.ndarray:
    """48 x 48 grey, black but for bars of a brightness by emotion."""
    image = np.zeros((48, 48), np.uint8)
    for columns, bars in ((slice(0, 24), left), (slice(24, 48), right or {})):
        for emotion, brightness in bars.items():
            image[emotion * HEIGHT : (emotion + 1) * HEIGHT, columns] = brightness
    return image


def write_bundle(folder: Path, labels: tuple[str, ...] = EMOTIONS_7) -> Path:
    masks = np.stack([image_of({emotion: 1}) for emotion in range(len(labels))]).reshape(len(labels), -1)
    weights = numpy_helper.from_array((masks / (HEIGHT * 24)).astype(np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["crops"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights"], ["logits"], transB=1),
        ],
        "bars",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(labels)])],
        [weights],
    )
    folder.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "fp32.onnx")
    write_manifest(
        folder,
        Manifest(
            schema_version=1,
            name="bars",
            labels=labels,
            input=InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25]),
            alignment=AlignmentTemplate(right_eye=(0.3, 0.4), left_eye=(0.7, 0.4), mouth=(0.5, 0.8)),
            files={"fp32": ModelFile(name="fp32.onnx", sha256=sha256_of(folder / "fp32.onnx"))},
            parameters=1,
            macs=1,
            training={},
            metrics={},
        ),
    )
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bars")


def write_folders(folder: Path) -> Path:
    """Ten images of each emotion in its folder; three show the next emotion, so seven of ten are classified right."""
    for emotion, label in enumerate(EMOTIONS_7):
        (folder / "val" / label).mkdir(parents=True)
        for number in range(10):
            shown = emotion if number < 7 else (emotion + 1) % 7
            cv2.imwrite(str(folder / "val" / label / f"{number}.png"), image_of({shown: 255}))
    return folder


def give(monkeypatch: pytest.MonkeyPatch, *datasets: Samples) -> list[str]:
    """Let evaluate find these samples; returns what to pass as its datasets."""
    by_name = {samples.dataset: samples for samples in datasets}
    monkeypatch.setattr(
        module, "load_dataset", lambda dataset, split, *_: replace(by_name[dataset.partition(":")[0]], split=split)
    )
    return [f"{name}:nowhere" for name in by_name]


def samples_of(name: str, labels: tuple[str, ...], images: list[np.ndarray], targets: list[int]) -> Samples:
    return Samples(name, "val", labels, images, np.array(targets))


def test_all_options_end_to_end(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file, plots = write_folders(tmp_path / "data"), tmp_path / "result.json", tmp_path / "plots"
    command = ["evaluate", "--model", str(bundle), "--dataset", f"fer2013:{data}", "--split", "val"]
    main([*command, "--flip", "--record", "--json", str(file), "--plots", str(plots)])
    result = EvaluationResult.read(file)
    found = result.datasets["fer2013"]
    assert (result.temperature, found.n) == (1.0, 70)
    assert found.ece == pytest.approx(TOP - 0.7, abs=1e-5)
    assert found.accuracy == pytest.approx(0.7)
    assert found.intervals["accuracy"][0] < 0.7 < found.intervals["accuracy"][1]
    assert sum(found.reliability.count) == 70
    assert found.flip is not None
    assert found.flip.accuracy == pytest.approx(0.7)
    # The mirror images have nothing on the left, thus seven equal probabilities.
    assert found.flip.ece == pytest.approx(abs(0.7 - (TOP + 1 / 7) / 2), abs=1e-3)
    assert found.risk_coverage is not None
    assert found.risk_coverage.at_threshold is None

    assert "fer2013, with mirror image" in capsys.readouterr().out
    for name in ("fer2013_val", "fer2013_val_risk_coverage"):
        plot = cv2.imread(str(plots / f"{name}.png"))
        assert plot is not None
        assert plot.std() > 10

    recorded = Bundle(bundle).manifest.metrics["fer2013/val/fp32"]
    assert recorded["temperature"] == 1.0
    assert recorded["intervals"] == {name: list(ends) for name, ends in found.intervals.items()}
    assert not {"reliability", "without_duplicates"} & set(recorded)
    assert "reliability" not in recorded["flip"]
    assert "curve" not in recorded["risk_coverage"]

    main([*command, "--json", str(file)])
    assert EvaluationResult.read(file).datasets["fer2013"].flip is None


def test_calibration_is_written_into_the_manifest(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model_id = write_folders(tmp_path / "data"), EmotionClassifier(bundle).model_id
    before = (bundle / "manifest.yaml").read_text()
    main(["calibrate", "--bundle", str(bundle), "--dataset", f"fer2013:{data}"])
    assert "temperature 1.51" in capsys.readouterr().out
    manifest = Bundle(bundle).manifest
    assert manifest.temperature == pytest.approx(4 / np.log(0.7 * 6 / 0.3), abs=1e-3)
    assert manifest.abstention is not None
    assert manifest.abstention.threshold == pytest.approx(0.7, abs=2e-4)  # all predictions are alike
    assert manifest.abstention.coverage >= 0.8
    assert manifest.abstention.dataset == "fer2013"
    assert EmotionClassifier(bundle).model_id == model_id
    kept = [line for line in (bundle / "manifest.yaml").read_text().splitlines() if line in before.splitlines()]
    assert len(kept) >= len(before.splitlines()) - 1  # nothing but the temperature has changed

    result = evaluate(bundle, [f"fer2013:{data}"], "val")
    found = result.datasets["fer2013"]
    assert result.temperature == manifest.temperature
    assert found.ece == pytest.approx(0, abs=1e-3)
    assert found.risk_coverage is not None
    assert found.risk_coverage.at_threshold is not None
    assert found.risk_coverage.at_threshold.threshold == manifest.abstention.threshold


def test_calibration_compares_before_and_after(bundle: Path, tmp_path: Path) -> None:
    before, after, _, balance = calibrate(bundle, f"fer2013:{write_folders(tmp_path / 'data')}")
    assert (before.temperature, before.ece) == (1.0, pytest.approx(TOP - 0.7, abs=1e-5))
    assert after.ece == pytest.approx(0, abs=1e-3)
    assert after.nll < before.nll
    assert balance is None  # the bundle has no label frequencies
    assert "prior_strength" not in (bundle / "manifest.yaml").read_text()


def with_frequencies(bundle: Path, strength: float = 0.5) -> Path:
    """Of 100 training images 94 are happy and each other emotion has one."""
    frequencies = tuple(0.94 if emotion == HAPPY else 0.01 for emotion in range(7))
    changes = {"label_frequencies": frequencies, "prior_strength": strength}
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update=changes))
    return bundle


def write_unbalanced(folder: Path) -> Path:
    """Twenty happy faces, two of them looking sad, and ten sad ones of which eight look a little happier than sad."""
    shown = {
        "happy": [{HAPPY: 255}] * 18 + [{SAD: 255}] * 2,
        "sad": [{SAD: 255}] * 2 + [{HAPPY: 220, SAD: 128}] * 8,
    }
    for label, bars in shown.items():
        (folder / "val" / label).mkdir(parents=True)
        for number, one in enumerate(bars):
            cv2.imwrite(str(folder / "val" / label / f"{number:02}.png"), image_of(one))
    return folder


def test_both_priors_are_reported(bundle: Path, tmp_path: Path) -> None:
    # Happy leads sad by 4 x 92 / 255 = 1.44 where it is the brighter; half of log 94 is 2.27, which turns that around.
    data = write_unbalanced(tmp_path / "data")
    result = evaluate(with_frequencies(bundle), [f"fer2013:{data}"], "val")
    found = result.datasets["fer2013"]
    assert found.priors is not None
    training, balanced = found.priors["training"], found.priors["balanced"]
    assert (training.strength, balanced.strength) == (0.0, 0.5)
    assert (training.accuracy, training.macro_f1) == (found.accuracy, found.macro_f1)
    assert training.recall == found.recall
    assert training.mean_recall == pytest.approx((18 / 20 + 2 / 10) / 2)
    assert (balanced.recall["happy"], balanced.recall["sad"], balanced.recall["fear"]) == (0.9, 1.0, None)
    assert (balanced.accuracy, balanced.mean_recall) == (pytest.approx(28 / 30), pytest.approx(0.95))
    lines = [line for line in format_result(result).splitlines() if "strength" in line]
    assert lines[1].split()[:6] == ["balanced,", "strength", "0.5", "93.33%", "95.00%", "92.82%"]

    record(bundle, result)
    assert Bundle(bundle).manifest.metrics["fer2013/val/fp32"]["priors"]["balanced"]["macro_f1"] == balanced.macro_f1
    assert read_entry(bundle).figures  # the recorded metrics are those that a report reads


def test_labels_that_the_data_lack_take_no_part_in_the_balance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "eight", EMOTIONS_8)
    frequencies = (0.02, 0.02, 0.02, 0.3, 0.3, 0.02, 0.02, 0.3)
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update={"label_frequencies": frequencies}))
    images = [image_of({HAPPY: 255}), image_of({SAD: 200, 0: 128})]  # angry is rare: it wins by sqrt(15), thus by 1.35
    seven = samples_of("seven", EMOTIONS_7, images, [HAPPY, 0])
    priors = evaluate(bundle, give(monkeypatch, seven), "val").datasets["seven"].priors
    assert priors is not None
    assert (priors["training"].accuracy, priors["balanced"].accuracy) == (0.5, 1.0)


@pytest.mark.parametrize("faint_and_happy", [0, 10])
def test_the_prior_strength_is_that_of_the_best_recall_at_little_cost(
    faint_and_happy: int, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_unbalanced(tmp_path / "data")
    for number in range(faint_and_happy):  # happy faces that balanced predictions call sad
        cv2.imwrite(str(data / "val" / "happy" / f"faint{number}.png"), image_of({HAPPY: 220, SAD: 128}))
    main(["calibrate", "--bundle", str(with_frequencies(bundle)), "--dataset", f"fer2013:{data}"])
    calibrated = Bundle(bundle).manifest
    assert f"prior strength {calibrated.prior_strength:g} is now in the manifest" in capsys.readouterr().out
    samples = load_dataset(f"fer2013:{data}", "val")
    accuracy, recall = {}, {}
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        write_manifest(bundle, calibrated.model_copy(update={"prior_strength": strength}))
        probabilities = EmotionClassifier(bundle, prior="balanced").classify(samples.images)
        predicted = probabilities.argmax(1)
        accuracy[strength] = accuracy_score(samples.targets, predicted)
        recall[strength] = recall_score(samples.targets, predicted, labels=[HAPPY, SAD], average="macro")
        if strength == calibrated.prior_strength:
            threshold = calibrated.balanced_abstention.threshold if calibrated.balanced_abstention else np.nan
            assert (probabilities.max(1) >= threshold).mean() == pytest.approx(calibrated.balanced_abstention.coverage)
    affordable = [strength for strength, value in accuracy.items() if value >= accuracy[0.0] - 0.015]
    assert calibrated.prior_strength == max(affordable, key=lambda strength: (recall[strength], -strength))
    if faint_and_happy:
        assert max(recall.values()) > recall[calibrated.prior_strength]  # it would cost too much
    else:
        assert recall[calibrated.prior_strength] > recall[0.0]
        assert calibrated.abstention != calibrated.balanced_abstention


def test_the_temperature_is_that_of_the_training_prior(bundle: Path, tmp_path: Path) -> None:
    data = f"fer2013:{write_unbalanced(tmp_path / 'data')}"
    plain = calibrate(bundle, data)
    balanced = calibrate(with_frequencies(bundle), data)
    assert balanced.after.temperature == plain.after.temperature
    assert balanced.abstention == plain.abstention
    assert calibrate(bundle, data).balance == balanced.balance  # what was chosen before changes nothing


def test_mirror_images_are_reported_beside_the_single_view(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Left a grey bar, right a white one: the mirror image is the surer of the two.
    images = [image_of({SAD: 128}, {HAPPY: 255}), image_of({SAD: 255}, {HAPPY: 128})]
    result = evaluate(bundle, give(monkeypatch, samples_of("d", EMOTIONS_7, images, [HAPPY, SAD])), "val", flip=True)
    single = result.datasets["d"]
    assert single.flip is not None
    assert (single.accuracy, single.flip.accuracy) == (0.5, 1.0)
    classify = EmotionClassifier(bundle).classify
    both = (classify(images) + classify([image[:, ::-1].copy() for image in images])) / 2
    # Both means have the same top probability, thus one bin, and both are right.
    assert single.flip.ece == pytest.approx(1 - both[0, HAPPY], abs=1e-5)


def test_near_duplicates_of_training_pictures_are_taken_out(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    seen, unseen = (cv2.GaussianBlur(rng.integers(0, 256, (48, 48)).astype(np.uint8), (0, 0), 3) for _ in range(2))
    test = samples_of("d", EMOTIONS_7, [seen, unseen, seen], [HAPPY, SAD, HAPPY])
    monkeypatch.setattr(
        "fer_training.evaluation.evaluate.load_dataset",
        lambda name, split, alignment: samples_of("d", EMOTIONS_7, [seen], [0]) if split == "train" else test,
    )
    result = evaluate(bundle, ["d:x"], "test", training_data="d:x")
    found = result.datasets["d"]
    assert found.without_duplicates is not None
    assert (found.n, found.without_duplicates.n, found.without_duplicates.removed) == (3, 1, 2)
    assert sum(map(sum, found.without_duplicates.confusion)) == 1
    assert "d, without near-duplicates" in format_result(result)


def test_samples_of_a_label_that_the_model_lacks_are_left_out(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [image_of({emotion: 255}) for emotion in (HAPPY, CONTEMPT, SAD, CONTEMPT)]
    eight = samples_of("eight", EMOTIONS_8, images, [HAPPY, CONTEMPT, HAPPY, CONTEMPT])
    result = evaluate(bundle, give(monkeypatch, eight), "test")
    found = result.datasets["eight"]
    assert (found.n, found.accuracy, found.left_out) == (2, 0.5, {"contempt": 2})
    assert found.labels == list(EMOTIONS_7)
    assert np.sum(found.confusion) == 2
    assert "left out, as the model lacks the label: 2 of contempt" in format_result(result)
    with pytest.raises(FerError, match="no sample has one of the model's labels"):
        evaluate(bundle, give(monkeypatch, replace(eight, targets=np.full(4, CONTEMPT))), "test")


def test_labels_that_the_data_lack_get_no_probability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "eight", EMOTIONS_8)
    image = image_of({CONTEMPT: 255, HAPPY: 128})
    happy = np.exp(4 * 128 / 255) / (np.exp(4 * 128 / 255) + 6)  # among the seven emotions that the data have
    seven = samples_of("seven", EMOTIONS_7, [image] * 2, [HAPPY, SAD])
    eight = samples_of("eight", EMOTIONS_8, [image] * 2, [HAPPY, CONTEMPT])
    result = evaluate(bundle, give(monkeypatch, seven, eight), "val")
    restricted, whole = result.datasets["seven"], result.datasets["eight"]
    assert restricted.unused_labels == ["contempt"]
    assert restricted.left_out == whole.left_out == {}
    assert restricted.accuracy == 0.5
    assert restricted.ece == pytest.approx(happy - 0.5, abs=1e-5)
    assert whole.confusion[HAPPY][CONTEMPT] == 1
    assert whole.labels == list(EMOTIONS_8)
    assert whole.unused_labels == []
    assert "contempt: the model's, not this dataset's" in format_result(result)


def test_the_matrix_has_one_line_per_dataset(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = [
        samples_of(name, EMOTIONS_7, [image_of({HAPPY: 255})] * 4, targets)
        for name, targets in (("one", [HAPPY] * 4), ("another", [HAPPY, HAPPY, HAPPY, SAD]))
    ]
    text = format_result(evaluate(bundle, give(monkeypatch, *datasets), "val"))
    header, one, another = text.splitlines()[-3:]
    assert header.split() == ["accuracy", "macro-F1", "AUROC", "ECE", "images"]
    assert one.split() == ["one", *["100.00%", "[100.00,", "100.00]"] * 2, "not", "defined", "9.90%", "4"]
    assert another.startswith("another")
    assert "75.00% [25.00, 100.00]" in another
    assert len(header) == len(one) == len(another)


def test_a_dataset_may_be_given_with_several_paths(bundle: Path, tmp_path: Path) -> None:
    paths = [f"fer2013:{write_folders(tmp_path / name)}" for name in ("lab", "street")]
    assert list(evaluate(bundle, paths, "val").datasets) == ["fer2013:lab", "fer2013:street"]
    with pytest.raises(FerError, match="'fer2013:lab' was already given"):
        evaluate(bundle, [paths[0], paths[0]], "val")


def test_options_that_do_not_fit_end_in_one_line(bundle: Path, config_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(config_file.read_text())
    for arguments, message in (
        (["--model", str(run), "--record"], "--record: .* is no bundle"),
        (["--model", str(run), "--precision", "int8"], "a training run has the precision fp32 only"),
        (["--model", str(bundle), "--precision", "int8"], "has no precision 'int8'"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["evaluate", "--dataset", f"fer2013:{tmp_path}", *arguments])
    with pytest.raises(SystemExit, match=r"calibrate: .* is no bundle"):
        main(["calibrate", "--bundle", str(run), "--dataset", f"fer2013:{tmp_path}"])
