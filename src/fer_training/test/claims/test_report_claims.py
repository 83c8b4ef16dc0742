"""The paper's claims beside what was measured: every figure is that of its file, or has a reason for being absent."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_perception.__main__ import EXECUTABLES
from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import mean_recall
from fer_perception.evaluation.speed import EnginesResult
from fer_perception.replay.results import ReplayReport
from fer_training.__main__ import VERBS, main
from fer_training.evaluation.attention.results import Explanation
from fer_training.evaluation.evaluate import DatasetResult, EvaluationResult
from fer_training.evaluation.fairness import FairnessResult
from fer_training.evaluation.identity import IdentityResult
from fer_training.evaluation.robustness.stress import ALL, StressResult
from fer_training.reporting.paper import measuring_script, report_claims
from fer_training.reporting.paper.drawing import column_plots
from fer_training.reporting.paper.drawing import measured as figures_here
from fer_training.reporting.paper.figures import AXES, FIGURES
from fer_training.reporting.paper.folder import Folder
from fer_training.reporting.paper.matrix import TITLE as MATRIX
from fer_training.reporting.paper.measurements import BY_NAME, MEASUREMENTS, VARIANTS
from fer_training.reporting.paper.networks import SYSTEMS
from fer_training.reporting.paper.over_time import SECTION as OVER_TIME
from fer_training.reporting.paper.statements import BEYOND, TEXT
from fer_training.reporting.paper.tables import TABLES

ROOT = Path(__file__).resolve().parents[4]
MEASURED = ROOT / "docs" / "results" / "measured"
SECTIONS = (*TABLES, *FIGURES, OVER_TIME, TEXT, BEYOND)

# The paper's numbers, by the start of a section's title, in the order of rows and columns; "r": a ratio of ours.
NUMBERS = {
    "Table 4": "20 r r 50 .15 r  22 r r 45 .17 r  21 r r 47 .18 r  25 r r 40 .16 r  28 r r 35 .14 r",
    "Table 5": "78.2 76.5 81.0  81.0 79.4 83.8  82.5 80.9 85.1  82.1 80.5 84.8  81.8 80.2 84.5",
    "Table 6": "70.4 74.2 73.5  67.1 70.5 69.8  75.8 78.9 78.2",
    "Table 7": "52.0 61.5  58.3 65.2  45.7 53.8",
    "Table 8": "28 35 .14 -1.8",
    "Figure 2": "18 60 100  26 40 99  34 28 98",
    "Figure 4": "100 70  85 65  82 60  78 58  50 40  30 25  28 23",
    "Figure 5": ".35 .85  .60 .88  .80 .90",
    "Figure 6": ".22 .60  .11 .30  .09 .24",
}


def change(folder: Path, name: str, *keys: str, value: Any) -> None:
    """Set a value of a measurement's JSON."""
    file = folder / f"{name}.json"
    data = json.loads(file.read_text())
    inner = data
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    file.write_text(json.dumps(data))


def rows_of(text: str) -> dict[str, list[list[str]]]:
    """The cells of the tables' rows, by the section's title."""
    found: dict[str, list[list[str]]] = {}
    title = ""
    for line in text.splitlines():
        if line.startswith("## "):
            title = line[3:]
        if line.startswith("|") and not line.startswith(("| ---", "|  |  |")):
            found.setdefault(title, []).append([cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])])
    return found


def report(measured: Path, tmp_path: Path) -> dict[str, list[list[str]]]:
    """The rows of the page."""
    page = report_claims(measured, tmp_path / "out", tmp_path)[0]
    return rows_of(page.read_text(encoding="utf-8"))


def row(rows: dict[str, list[list[str]]], section: str, *start: str) -> list[str]:
    """The rest of the one row that starts so."""
    (found,) = (
        cells
        for title, all_rows in rows.items()
        if title.startswith(section)
        for cells in all_rows
        if tuple(cells[: len(start)]) == start
    )
    return found[len(start) :]


def number(cell: str) -> float:
    """The number that a cell starts with."""
    found = re.match(r"[+-]?[\d.]+", cell)
    assert found, cell
    return float(found[0])


@pytest.mark.parametrize("start", NUMBERS)
def test_the_papers_numbers_are_all_there(start: str) -> None:
    (section,) = (section for section in SECTIONS if section.title.startswith(start + ":"))
    expected = NUMBERS[start].split()
    assert len(section.cells) == len(expected)
    for cell, text in zip(section.cells, expected, strict=True):
        if text == "r":
            assert cell.unit.name == " times"
        else:
            assert number(cell.claimed_text) == float(text)


def test_every_section_is_on_the_page(measured: Path, tmp_path: Path) -> None:
    rows = report(measured, tmp_path)
    text = (tmp_path / "out" / "claims.md").read_text()
    for section in SECTIONS:
        assert [cells[:3] for cells in rows[section.title]] == [
            [c.row, c.column, c.claimed_text] for c in section.cells
        ]
        for sentence in section.contradictions:
            assert " ".join(sentence.split()) in " ".join(text.split())
    linked = set(re.findall(r"\]\(#([\w-]+)\)", text)) - {"commands", MATRIX.lower().replace(" ", "-")}
    assert linked == set(BY_NAME)
    assert all(f"\n### {name}\n" in text for name in BY_NAME)
    assert "base64" not in text
    images = re.findall(r"!\[[^]]*\]\((.*?)\)", text)
    assert images == [f"claims_figure{number}.png" for number in range(1, 7)]
    for image in images:
        assert cv2.imread(str(tmp_path / "out" / image)).std() > 10


def test_figures_are_those_of_their_files(measured: Path, tmp_path: Path) -> None:
    rows = report(measured, tmp_path)

    def of(name: str, dataset: str) -> DatasetResult:
        return EvaluationResult.read(measured / f"{name}.json").datasets[dataset]

    engines, board = (
        {(e.name, e.precision): e for e in EnginesResult.read(measured / f"{name}.json").engines}
        for name in ("engines", "engines_jetson")
    )
    stress = StressResult.read(measured / "stress.json")
    first, quantized = engines["baseline", "fp32"], engines["quantized", "int8"]
    folds = [of("ckplus_dual_adaptive", f"ckplus@{fold}").accuracy for fold in range(1, 11)]
    lost = [
        stress.clean[m].accuracy - stress.corruptions["dim_light"][m].accuracy for m in ("dual_adaptive", "baseline")
    ]
    expected = {  # section, row, column, which of the cells behind: the figure
        ("Table 4", "Quantized", "throughput", 2): quantized.batch_1.faces_per_s,
        ("Table 4", "Quantized", "throughput", 1): board["quantized", "int8"].batch_1.faces_per_s,
        ("Table 4", "Quantized", "of the Baseline's", 2): quantized.batch_1.speed_ratio / first.batch_1.speed_ratio,
        ("Table 4", "Dual-Adaptive", "latency", 2): engines["dual_adaptive", "fp32"].batch_1.p50_ms,
        ("Table 4", "Hybrid-Attention", "energy", 2): engines["hybrid_attention", "fp32"].batch_1.joules,
        ("Table 5", "Dual-Adaptive", "macro-F1", 1): 100 * of("affectnet_dual_adaptive", "affectnet7").macro_f1,
        ("Table 5", "Quantized", "accuracy", 2): 100 * of("domains_quantized", "ferplus").accuracy,
        ("Table 5", "Baseline", "AUROC", 2): 100 * (of("domains_baseline", "ferplus").auroc or 0),
        ("Table 6", "FER2013", "Baseline", 2): 100 * of("domains_baseline", "fer2013").accuracy,
        ("Table 6", "RAF-DB", "Baseline", 1): 100 * of("rafdb_baseline", "rafdb").accuracy,
        ("Table 6", "CK+", "Dual-Adaptive", 1): 10 * sum(folds),
        ("Table 7", "combined", "Baseline", 1): 100 * stress.corruptions["combined"]["baseline"].accuracy,
        ("Table 7", "occlusion (mask)", "Dual-Adaptive", 1): 100
        * stress.corruptions["mouth_mask"]["dual_adaptive"].accuracy,
        ("Table 8", "Quantized", "accuracy against Dual-Adaptive", 2): 100
        * (of("domains_quantized", "ferplus").accuracy - of("domains_dual_adaptive", "ferplus").accuracy),
        ("Figure 2", "FP16", "accuracy retained", 2): 100
        * of("domains_quantized_fp16", "ferplus").accuracy
        / of("domains_landmark_compressed", "ferplus").accuracy,
        ("Figure 4", "pruning", "compute", 1): 85 * engines["landmark_compressed", "fp32"].macs / first.macs,
        ("Figure 4", "quantization", "latency", 1): 65 * quantized.batch_1.p50_ms / first.batch_1.p50_ms,
        ("Figure 6", "Quantized", "carbon", 2): (quantized.batch_1.g_co2e_per_1000 or 0) / 1000,
        ("The text", "accuracy lost under dim lighting", "Dual-Adaptive's of the Baseline's", 1): lost[0] / lost[1],
        ("The text", "accuracy in another domain: wildfaces", "Dual-Adaptive over Baseline", 1): 100
        * (of("domains_dual_adaptive", "manifest").accuracy - of("domains_baseline", "manifest").accuracy),
    }
    for (section, name, column, place), value in expected.items():
        text = row(rows, section, name, column)[place]
        assert number(text) == pytest.approx(value, abs=0.051), (section, name, column)
    interval = of("domains_quantized", "ferplus").intervals["accuracy"]
    assert f"[{interval[0] * 100:.1f}, {interval[1] * 100:.1f}]" in row(rows, "Table 5", "Quantized", "accuracy")[2]
    assert "FER+ test, 300 images" in row(rows, "Table 5", "Quantized", "accuracy")[3]


def test_axes_of_the_radar_are_what_they_are_defined_to_be(measured: Path, tmp_path: Path) -> None:
    rows = report(measured, tmp_path)
    engines = EnginesResult.read(measured / "engines.json").engines
    known = {variant[1:] for variant in VARIANTS.values()}
    fastest = min(e.batch_1.p50_ms for e in engines if (e.name, e.precision) in known)
    for title, name, (bundle, precision) in (
        ("Baseline", "baseline", ("baseline", "fp32")),
        ("proposed", "landmark_compressed", ("quantized", "int8")),
    ):
        domains = EvaluationResult.read(measured / f"domains_{name}.json").datasets
        (engine,) = (e for e in engines if (e.name, e.precision) == (bundle, precision))
        stress = StressResult.read(measured / "stress.json")
        gaps = FairnessResult.read(measured / f"groups_{name}.json").columns.values()
        checks = Explanation.read(measured / f"attention_{name}.json").checks
        assert checks is not None
        found = checks.maps["grad_cam_last"]
        gain, area = found.gain["random"].deletion.mean, found.deletion.mean
        assert gain is not None
        assert area is not None
        expected = {
            "accuracy": domains["manifest"].macro_f1,
            "efficiency": fastest / engine.batch_1.p50_ms,
            "robustness": stress.families[ALL][name].accuracy,
            "fairness": 1 - max(column.gaps["accuracy"].difference for column in gaps),
            "interpretability": gain / (gain + area),
        }
        assert [axis.name for axis in AXES] == [*expected]
        for axis, value in expected.items():
            assert number(row(rows, "Figure 3", title, axis)[1]) == pytest.approx(value, abs=0.0051), axis
            assert 0 <= value <= 1
    privacy = IdentityResult.read(measured / "identity_dual_adaptive.json").identified["distribution"]
    best = max(privacy.linear_probe.fraction, privacy.nearest_neighbour.fraction)
    assert number(row(rows, "Figure 5", "adaptive", "privacy")[1]) == pytest.approx(1 - best, abs=0.0051)


def test_plots_have_each_figure_at_its_row(measured: Path) -> None:
    (section,) = (section for section in FIGURES if section.title.startswith("Figure 4"))
    folder = Folder(measured)
    found = figures_here(folder, section.cells)
    compute, latency = column_plots(section, found).axes
    for axes, column in ((compute, "compute"), (latency, "latency")):
        stages = [label.get_text() for label in axes.get_xticklabels()]
        drawn = {
            str(line.get_label()): dict(zip(np.take(stages, line.get_xdata()), line.get_ydata(), strict=True))
            for line in axes.lines
        }
        cells = [cell for cell in section.cells if cell.column == column]
        assert drawn["the paper"] == {cell.row: cell.claimed for cell in cells}
        assert drawn["measured here"] == {
            row: reading.value for (row, name), reading in found.items() if name == column
        }


def test_predictions_over_time_are_those_of_replay(measured: Path, tmp_path: Path) -> None:
    rows = report(measured, tmp_path)
    for column, key in ((1, "sequences"), (2, "films")):
        measures = ReplayReport.read(measured / f"{key}_quantized.json").all
        assert measures.truth is not None
        for kind, title in (("single", "single images"), ("smoothed", "smoothed")):
            found = getattr(measures.truth, kind)
            for name, value in (
                ("changes of expression that are predicted", 100 * found.detection.detected),
                ("median time until then", found.detection.median_s),
                ("flicker: changes of the label", measures.flicker_per_minute[kind]),  # type: ignore[index]
                ("accuracy of labelled images", 100 * found.frames.accuracy),
            ):
                cell = row(rows, "Table 2", "Quantized", f"{name}, {title}")[column]
                assert number(cell) == pytest.approx(value, abs=0.051), name
    change(measured, "films_quantized", "all", "flicker_per_minute", "single", value=None)
    cell = row(report(measured, tmp_path), "Table 2", "Quantized", "flicker: changes of the label, single images")[2]
    assert cell == "not measured: flicker is not defined there"


def test_the_matrix_has_all_domains_and_both_priors(measured: Path, tmp_path: Path) -> None:
    matrix = report(measured, tmp_path)[MATRIX]
    titles = ["FER+", "FER2013", "wildfaces", "FER+ by camera", "wildfaces by camera"]
    titles += ["AffectNet-7", "RAF-DB", "CK+, all ten folds"]
    assert [cells[0] for cells in matrix] == ["Accuracy", *titles, "by", "Macro-F1", *titles, "Mean recall", *titles]
    column = matrix[0].index("Dual-Adaptive")
    found = EvaluationResult.read(measured / "domains_dual_adaptive.json").datasets["camera/manifest"]
    accuracy, _, recall = (cells[column] for cells in matrix if cells[0] == "wildfaces by camera")
    assert accuracy == f"{found.accuracy * 100:.1f} / {found.accuracy * 100 - 1:.1f}"
    assert recall == f"{mean_recall(found) * 100:.1f} / {mean_recall(found) * 100:.1f}"
    folds = EvaluationResult.read(measured / "ckplus_dual_adaptive.json").datasets.values()
    macro_f1 = [cells[column] for cells in matrix if cells[0].startswith("CK+")][1]
    assert number(macro_f1) == pytest.approx(100 * np.mean([fold.macro_f1 for fold in folds]), abs=0.051)
    (measured / "ckplus_quantized.json").unlink()
    (measured / "domains_baseline.json").unlink()
    matrix = report(measured, tmp_path)[MATRIX]
    text = " ".join((tmp_path / "out" / "claims.md").read_text().split())
    assert "[ckplus_quantized](#ckplus_quantized); not measured: needs CK+, in the folder `$CKPLUS` " in text
    assert [cells[1] for cells in matrix[1:6]] == ["not measured"] * 5


def test_networks_have_accuracy_and_cost(measured: Path, tmp_path: Path) -> None:
    networks = report(measured, tmp_path)["Table 1: related work"]
    assert {cells[0] for cells in networks[1:]} == set(SYSTEMS) | set(VARIANTS)
    cells = row({"n": networks}, "n", "ddamfn")
    found = {
        precision: EvaluationResult.read(measured / f"compared_ddamfn{precision}.json").datasets["fer2013"]
        for precision in ("", "_int8")
    }
    assert number(cells[2]) == pytest.approx(100 * found[""].accuracy, abs=0.051)
    assert number(cells[3]) == pytest.approx(100 * found[""].macro_f1, abs=0.051)
    assert number(cells[4]) == pytest.approx(100 * found["_int8"].accuracy, abs=0.051)
    speeds = {
        e.precision: e for e in EnginesResult.read(measured / "engines_compared.json").engines if e.name == "ddamfn"
    }
    assert cells[7] == " / ".join(f"{speeds[key].batch_1.p50_ms:.2f}" for key in ("fp32", "int8"))
    assert row({"n": networks}, "n", "fer")[1] == "66%"


def test_the_committed_page_is_that_of_the_committed_measurements(tmp_path: Path) -> None:
    files = report_claims(MEASURED, tmp_path, ROOT)
    page = MEASURED.parent / "claims.md"
    assert files[0].read_bytes() == page.read_bytes()
    assert {file.name for file in files[1:]} == {file.name for file in page.parent.glob("claims_*.png")}
    again = report_claims(MEASURED, tmp_path / "again", ROOT)
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in files]


def test_text_of_a_measurement_cannot_harm_the_page(measured: Path, tmp_path: Path) -> None:
    change(measured, "engines", "machine", value="<script>document.title = 'taken'</script> a | board")
    on = row(report(measured, tmp_path), "Table 4", "Quantized", "throughput")[3]
    assert "<script>" not in (tmp_path / "out" / "claims.md").read_text()
    assert on.endswith(r"a \| board")


def test_without_measurements_every_figure_says_why(tmp_path: Path) -> None:
    (tmp_path / "src/fer_perception/models/baseline").mkdir(parents=True)
    (tmp_path / "src/fer_perception/models/baseline/fp32.onnx").write_bytes(b"weights")
    empty = tmp_path / "empty"
    empty.mkdir()
    rows = report(empty, tmp_path)
    for section in SECTIONS:
        for cells in rows[section.title]:
            figures = cells[3:-2]
            assert all(text == "-" or text.startswith("not measured: ") for text in figures)
    assert row(rows, "Table 6", "FER2013", "Baseline")[2] == "not measured: there is no `domains_baseline.json`"
    lacking = row(rows, "Table 5", "Dual-Adaptive", "accuracy")
    assert lacking[1] == "not measured: needs AffectNet, in the folder `$AFFECTNET`"
    assert lacking[2] == "not measured: there is no `domains_dual_adaptive.json`"
    assert row(rows, "Table 4", "Baseline", "latency")[1] == "not measured: needs a Jetson"
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(
    ("name", "keys", "value", "place", "reason"),
    [
        ("domains_quantized", ["precision"], "fp32", ("Table 5", "Quantized", "accuracy"), "not of the precision"),
        ("domains_baseline", ["model"], "a/b", ("Table 5", "Baseline", "accuracy"), "is not of the model `baseline`"),
        ("domains_baseline", ["split"], "val", ("Table 5", "Baseline", "accuracy"), "is not of the split `test`"),
        ("domains_baseline", ["datasets"], {}, ("Table 5", "Baseline", "accuracy"), "lacks ferplus"),
        ("stress", ["dataset"], "fer2013", ("Table 7", "combined", "Baseline"), "is not of the dataset `ferplus`"),
        ("stress", ["corruptions"], {}, ("Table 7", "combined", "Baseline"), "has no `baseline` under combined"),
        ("criteria", ["criteria"], [], ("Beyond", "accuracy: pruned by landmarks over pruned by magnitude",
                                        "Landmark-Compressed"), "`criteria.json` lacks landmark or magnitude"),
        ("attention_baseline", ["checks"], None, ("Figure 1", "Baseline", "deletion"), "has no checks of the map"),
        ("groups_baseline", ["columns"], {}, ("Figure 3", "Baseline", "fairness"), "has no two groups"),
        ("engines", ["engines"], [], ("Table 4", "Quantized", "latency"), "of `quantized` in int8 no speed"),
    ],
)  # fmt: skip
def test_what_a_figure_cannot_be_read_from_is_not_measured(
    measured: Path, tmp_path: Path, name: str, keys: list[str], value: Any, place: tuple[str, ...], reason: str
) -> None:
    change(measured, name, *keys, value=value)
    figures = row(report(measured, tmp_path), *place)[1:-2]
    assert figures[-1].startswith("not measured: ")
    assert reason in figures[-1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("[1]", "has schema version None"),
        ('{"schema_version": 0}', "has schema version 0, this program reads 1"),
        ('{"schema_version": 1}', "machine: Field required"),
    ],
)
def test_a_damaged_measurement_is_an_error(measured: Path, tmp_path: Path, text: str, reason: str) -> None:
    (measured / "engines.json").write_text(text)
    with pytest.raises(FerError, match=f"engines.json: .*{reason}.* Write it again by .*benchmark engines"):
        report(measured, tmp_path)


def test_figures_of_replaced_weights_are_not_measured(measured: Path, tmp_path: Path) -> None:
    weights = tmp_path / "src/fer_perception/models/baseline/fp32.onnx"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"first")
    baseline = BY_NAME["domains_baseline"]
    place = ("Table 5", "Baseline", "accuracy")
    assert not Folder(measured, tmp_path).is_recorded(baseline)
    command = f"sha256sum {weights.relative_to(tmp_path)} > measured/domains_baseline.sha256"
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert Folder(measured, tmp_path).is_recorded(baseline)
    assert number(row(report(measured, tmp_path), *place)[2])
    weights.write_bytes(b"second")
    reason = "`domains_baseline.json` is of an earlier `src/fer_perception/models/baseline/fp32.onnx`"
    assert row(report(measured, tmp_path), *place)[2] == f"not measured: {reason}"


def test_the_script_measures_what_is_missing(measured: Path, tmp_path: Path) -> None:
    for name in ("baseline", "dual_adaptive"):
        file = tmp_path / f"src/fer_perception/models/{name}/fp32.onnx"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    (measured / "domains_baseline.sha256").write_text("0" * 64 + "  elsewhere\n")
    (measured / "rafdb_baseline.json").unlink()
    (measured / "domains_quantized.json").unlink()
    script = measuring_script(measured, tmp_path)
    lines = script.splitlines()
    assert "# compared_fer: " not in script  # measured, and has no weights of its own
    assert "# domains_baseline: " in script  # of other weights
    assert "# domains_dual_adaptive: " in script  # of unknown weights
    start = next(number for number, line in enumerate(lines) if line.startswith("# domains_quantized: "))
    assert lines[start + 1].startswith("# needs src/fer_perception/models/quantized/int8.onnx")
    assert lines[start + 2] == "# restore it from git"
    start = next(number for number, line in enumerate(lines) if line.startswith("# rafdb_baseline: "))
    assert lines[start + 1].startswith('if [ -n "${RAFDB:-}" ]; then python -m fer_training evaluate')
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    failed = subprocess.run(["bash"], input=script, text=True, capture_output=True, env={"HOME": "/home"})
    assert failed.returncode
    assert "FER2013: set it, for example FER2013=/home/data/fer2013" in failed.stderr


def test_commands_are_those_of_the_suite(measured: Path, tmp_path: Path) -> None:
    """Verbs take the arguments, configurations exist, and the file is written where it is looked for."""
    folder = Folder(measured, tmp_path)
    verbs = []
    for measurement in MEASUREMENTS:
        command = folder.command(measurement)
        assert str(measured / f"{measurement.name}.json") in command
        for part in re.split(r"&&|\|\||;", f"{command} && {measurement.made_by}"):
            words = shlex.split(part)
            if words[:3] == ["python", "-m", "fer_training"]:
                verbs.append(words[3])
                parser = argparse.ArgumentParser()
                add, _ = VERBS[words[3]]
                add(parser)
                parsed = parser.parse_args(words[4:])
                assert "config" not in parsed or (ROOT / parsed.config).exists()
            elif words[:2] == ["python", "scripts/compare_peers.py"]:
                assert (ROOT / words[1]).exists()
            elif words[:1] == ["python"]:
                assert words[1:3] == ["-m", "fer_perception"]
                assert words[3] in EXECUTABLES
    assert {"evaluate", "prune", "export", "quantize", "stress", "fairness", "explain", "sequences"} < set(verbs)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "measured", tmp_path / "out"
    folder.mkdir()
    main(["report", "--claims", str(folder), "--out", str(out)])
    assert capsys.readouterr().out.split() == [str(out / "claims.md")]
    main(["report", "--claims", str(folder), "--commands"])
    assert "# stress: accuracy under fourteen corruptions" in capsys.readouterr().out
    for arguments, message in (
        (["--commands"], "--commands: which folder are they to fill"),
        (["--out", str(out)], "give --out FOLDER, and --bundles FOLDER, --claims or both"),
        (["--claims", str(folder)], "give --out FOLDER"),
        (["--claims", str(tmp_path / "none"), "--out", str(out)], "none: is no folder"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["report", *arguments])
