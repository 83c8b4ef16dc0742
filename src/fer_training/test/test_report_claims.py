"""The paper's claims beside what was measured: every figure is that of its file, or has a reason for being absent.

The measurements are those of the repository, changed where a test needs it.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import pytest

from fer_perception.errors import FerError
from fer_perception.evaluation.speed import EnginesResult, LiveResult, OverheadResult
from fer_training.__main__ import VERBS, main
from fer_training.evaluation.attention.results import Explanation
from fer_training.evaluation.evaluate import DatasetResult, EvaluationResult
from fer_training.evaluation.fairness import FairnessResult
from fer_training.evaluation.identity import IdentityResult
from fer_training.evaluation.robustness.stress import StressResult
from fer_training.reporting.paper import measuring_script, report_claims
from fer_training.reporting.paper.claims import CLAIMS, POINTS, Claim, Reading
from fer_training.reporting.paper.folder import Folder
from fer_training.reporting.paper.measurements import BASELINE, COMPRESSED, MEASUREMENTS, ROBUST
from fer_training.training.pruning.comparison import CriteriaResult

ROOT = Path(__file__).resolve().parents[3]
MEASURED = ROOT / "docs" / "results" / "measured"


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """The repository's measurements, to be changed; their weights are not below ``tmp_path``."""
    return Path(shutil.copytree(MEASURED, tmp_path / "measured"))


def change(folder: Path, name: str, *keys: str, value: Any) -> None:
    """Set a value of a measurement's JSON."""
    file = folder / f"{name}.json"
    data = json.loads(file.read_text())
    inner = data
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    file.write_text(json.dumps(data))


def claims_in(text: str) -> dict[str, list[str]]:
    """The cells of the claims' rows after the first, by it."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        for line in text.splitlines()
        if line[:1] == "|"
    ]
    texts = {claim.text for claim in CLAIMS}
    return {row[0]: row[1:] for row in rows if row[0] in texts}


def report(measured: Path, tmp_path: Path) -> dict[str, list[str]]:
    """The claims of the page."""
    page = report_claims(measured, tmp_path / "out", tmp_path)[0]
    return claims_in(page.read_text(encoding="utf-8"))


def cell(rows: dict[str, list[str]], start: str) -> list[str]:
    (found,) = (cells for text, cells in rows.items() if text.startswith(start))
    return found


def only(name: str) -> DatasetResult:
    (metrics,) = EvaluationResult.read(MEASURED / f"{name}.json").datasets.values()
    return metrics


def points(after: str, before: str, key: str = "accuracy") -> float:
    return 100 * (getattr(only(after), key) - getattr(only(before), key))


def test_every_claim_has_the_figure_of_its_file(measured: Path, tmp_path: Path) -> None:
    rows = report(measured, tmp_path)
    assert len(rows) == len(CLAIMS)
    engines = {(e.name, e.precision): e for e in EnginesResult.read(MEASURED / "engines.json").engines}
    xception = EnginesResult.read(MEASURED / "engines_xception.json").engines
    stress = StressResult.read(MEASURED / "stress.json")
    explanation = Explanation.read(MEASURED / "attention.json")
    assert explanation.checks is not None
    gains = explanation.checks.maps["attention_stage5"].gain
    identity = IdentityResult.read(MEASURED / "identity.json").identified
    criteria = {row.criterion: row for row in CriteriaResult.read(MEASURED / "criteria.json").criteria}
    coverage = only("robust").risk_coverage
    assert coverage is not None
    best = {
        name: 100 * max(entry.nearest_neighbour.fraction, entry.linear_probe.fraction)
        for name, entry in identity.items()
    }
    expected: dict[str, tuple[float | None, str]] = {
        "macro-F1: hybrid": (points("with_attention", "without_attention", "macro_f1"), "+2.90 points"),
        "accuracy: robust": (points("robust", "baseline"), "no figure known to us"),
        "accuracy in another": (points("adapted", "unadapted"), "no figure known to us"),
        "accuracy: pruned": (
            100 * (criteria["landmark"].accuracy - criteria["magnitude"].accuracy),
            "no figure known to us",
        ),
        "accuracy lost": (points("robust", "quantized"), "+1.80 points"),
        "operations": (100 * engines[COMPRESSED, "fp32"].macs / engines[ROBUST, "fp32"].macs, "64.10%"),
        "throughput: pruned and INT8 over the baseline": (
            engines[COMPRESSED, "int8"].batch_1.speed_ratio,
            "1.40 times",
        ),
        "throughput: pruned and INT8 over Light-FER": (
            next(e for e in xception if e.precision == "int8" and e.name == COMPRESSED).batch_1.speed_ratio,
            "5.10 times",
        ),
        "images a second": (LiveResult.read(MEASURED / "live.json").modes["keypoints"].peak_fps, "28.0 images/s"),
        "energy": (None, "undefined"),
        "CPU time": (engines[ROBUST, "fp32"].batch_1.cpu_ms, "no figure known to us"),
        "mouth or eyes": (100 * (stress.families["mouth or eyes"][ROBUST].gain or 0), "+9.50 points"),
        "dim light": (100 * (stress.corruptions["dim_light"][ROBUST].gain or 0), "+6.90 points"),
        "combined": (100 * (stress.corruptions["combined"][ROBUST].gain or 0), "+8.10 points"),
        "attention on": (100 * explanation.maps["attention_stage5"].fraction, "undefined"),
        "attention that matters": (gains["random"].deletion.mean, "undefined"),
        "the same, than of fixed": (gains["landmarks"].deletion.mean, "undefined"),
        "privacy sensitivity: persons named by the prob": (best["distribution"], "undefined"),
        "privacy sensitivity: persons named by the netw": (best["embedding"], "undefined"),
        "fairness": (
            100 * FairnessResult.read(MEASURED / "groups.json").columns["photograph"].gaps["accuracy"].difference,
            "no figure known to us",
        ),
        "abstention": (100 * coverage.at_80.gain, "no figure known to us"),
        "median latency": (100 * (OverheadResult.read(MEASURED / "overhead.json").ratio - 1), "no figure known to us"),
    }
    assert len(expected) == len(CLAIMS)
    for start, (value, claimed) in expected.items():
        cells = cell(rows, start)
        assert cells[0] == claimed
        if value is None:
            assert cells[1].startswith("not measured: no INA3221 (Jetson)")
            continue
        number = re.match(r"[+-]?[\d.]+", cells[1])
        assert number is not None, start
        assert float(number[0]) == pytest.approx(value, abs=0.051 if "images/s" in cells[1] else 0.0051), start
    low, high = stress.corruptions["dim_light"][ROBUST].interval or (0.0, 0.0)
    assert f"[{low * 100:+.2f}, {high * 100:+.2f}]" in cell(rows, "dim light")[1]
    assert cell(rows, "dim light")[3] == "fer2013 test, 3,555 images"
    assert cell(rows, "throughput: pruned and INT8 over the b")[2] == "better"
    assert "; chance " in cell(rows, "privacy sensitivity: persons named by the p")[1]


def test_the_committed_page_is_that_of_the_committed_measurements(tmp_path: Path) -> None:
    page, plot = report_claims(MEASURED, tmp_path, ROOT)
    assert page.read_bytes() == (MEASURED.parent / "claims.md").read_bytes()
    assert cv2.imread(str(plot)).std() > 10
    again = report_claims(MEASURED, tmp_path / "again", ROOT)
    assert [file.read_bytes() for file in again] == [page.read_bytes(), plot.read_bytes()]


def test_text_of_a_measurement_cannot_harm_the_page(measured: Path, tmp_path: Path) -> None:
    change(measured, "engines", "machine", value="<script>document.title = 'taken'</script> a | board")
    cells = cell(report(measured, tmp_path), "throughput: pruned and INT8 over the b")
    assert "<script>" not in (tmp_path / "out" / "claims.md").read_text()
    assert cells[3].endswith(r"a \| board")


def test_without_measurements_every_claim_says_why(tmp_path: Path) -> None:
    (tmp_path / f"src/fer_perception/models/{BASELINE}").mkdir(parents=True)
    (tmp_path / f"src/fer_perception/models/{BASELINE}/fp32.onnx").write_bytes(b"weights")
    empty = tmp_path / "empty"
    empty.mkdir()
    rows = report(empty, tmp_path)
    text = (tmp_path / "out" / "claims.md").read_text()
    assert len(rows) == len(CLAIMS)
    for claim in CLAIMS:
        cells = rows[claim.text]
        assert cells[1].startswith("not measured: there is no `"), claim.text
        assert cells[2:4] == ["", ""]
        for source in claim.sources:
            assert f"[{source}](#{source})" in cells[4]
            assert f"\n### {source}\n" in text
    assert cell(rows, "accuracy: robust")[1] == "not measured: there is no `baseline.json`"
    assert cell(rows, "accuracy lost")[1].endswith(f"nor the weights `src/fer_perception/models/{ROBUST}/fp32.onnx`")
    assert not (tmp_path / "out" / "claims.png").exists()


@pytest.mark.parametrize(
    ("name", "keys", "value", "claim", "reason"),
    [
        ("quantized", ["precision"], "fp32", "accuracy lost", "`quantized.json` is not of the precision `int8`"),
        ("robust", ["model"], "some/other", "abstention", f"`robust.json` is not of the model `{ROBUST}`"),
        ("baseline", ["split"], "val", "accuracy: robust", "one was measured on fer2013 val, 3,555 images, the other"),
        ("stress", ["baseline"], "other", "dim light", f"`stress.json` does not compare `{ROBUST}` with `{BASELINE}`"),
        ("criteria", ["criteria"], [], "accuracy: pruned by", "`criteria.json` lacks landmark or magnitude"),
        ("attention", ["checks"], None, "attention that", "`attention.json` has no checks of the map"),
        ("groups", ["columns"], {}, "fairness", "`groups.json` has no two groups"),
        ("engines", ["engines"], [], "CPU time", f"of `{ROBUST}` in fp32 no speed was measured"),
        ("live", ["modes"], {}, "images a second", "`live.json` lacks the face mode keypoints"),
    ],
)
def test_what_a_claim_cannot_be_read_from_is_not_measured(
    measured: Path, tmp_path: Path, name: str, keys: list[str], value: Any, claim: str, reason: str
) -> None:
    change(measured, name, *keys, value=value)
    cells = cell(report(measured, tmp_path), claim)
    assert cells[1].startswith(f"not measured: {reason}")
    assert cells[2] == ""


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
    weights = tmp_path / f"src/fer_perception/models/{ROBUST}/fp32.onnx"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"first")
    robust = next(measurement for measurement in MEASUREMENTS if measurement.name == "robust")
    (measured / "robust.sha256").unlink()
    assert not Folder(measured, tmp_path).is_recorded(robust)
    command = f"sha256sum {weights.relative_to(tmp_path)} > measured/robust.sha256"
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert Folder(measured, tmp_path).is_recorded(robust)
    assert cell(report(measured, tmp_path), "abstention")[1].startswith("+")
    weights.write_bytes(b"second")
    reason = f"`robust.json` is of an earlier `src/fer_perception/models/{ROBUST}/fp32.onnx`"
    assert cell(report(measured, tmp_path), "abstention")[1] == f"not measured: {reason}"


def test_the_script_measures_what_is_missing(measured: Path, tmp_path: Path) -> None:
    for name in (BASELINE, ROBUST):
        file = tmp_path / f"src/fer_perception/models/{name}/fp32.onnx"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    (measured / "baseline.sha256").write_text(
        "9e6c9a1fcb5ddcc1cdd0fa3f4f4b4ae53c25e5d7a2a6d1c8f9e0d3d1e4f8d6b1  elsewhere\n"
    )
    (measured / "robust.sha256").unlink()
    (measured / "quantized.json").unlink()
    script = measuring_script(measured, tmp_path)
    lines = script.splitlines()
    assert "# criteria: " not in script  # measured, of weights that are not here
    assert "# baseline: " in script  # of other weights
    assert "# robust: " in script  # of unknown weights
    start = next(number for number, line in enumerate(lines) if line.startswith("# quantized: "))
    assert all(line.startswith("# ") for line in lines[start : start + 3])  # what makes the weights is long
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    failed = subprocess.run(["bash"], input=script, text=True, capture_output=True, env={"HOME": "/home"})
    assert failed.returncode
    assert "FER2013: set it, for example FER2013=fer2013:/home/data/fer2013" in failed.stderr


def test_commands_are_those_of_the_suite(measured: Path, tmp_path: Path) -> None:
    """Verbs take the arguments, configurations exist, and the file is written where it is looked for."""
    folder = Folder(measured, tmp_path)
    verbs = []
    for measurement in MEASUREMENTS:
        command = folder.command(measurement).replace("$SPLIT", "test")
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
            elif words[:1] == ["python"]:
                assert words[1:4] == ["-m", "fer_perception", "benchmark"]
    assert {"evaluate", "train", "adapt", "prune", "export", "quantize", "stress", "fairness", "explain"} < set(verbs)


@pytest.mark.parametrize(
    ("better", "claimed", "value", "interval", "expected"),
    [
        ("higher", 0.05, 0.06, None, "better"),
        ("higher", 0.05, 0.04, (0.03, 0.045), "worse"),
        ("lower", 0.05, 0.04, None, "better"),
        ("lower", 0.05, 0.06, None, "worse"),
        ("higher", 0.05, 0.04, (0.03, 0.05), "agrees within the interval"),
        ("higher", 0.05, 0.0502, None, "agrees"),
        ("higher", "undefined", 0.04, None, "nothing to compare with"),
    ],
)
def test_verdict(better: Any, claimed: float | str, value: float, interval: Any, expected: str) -> None:
    def read() -> Reading:
        return Reading(value, "a board", interval)

    assert Claim("", "", claimed, POINTS, better, (), read).verdict(read()) == expected


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "measured", tmp_path / "out"
    folder.mkdir()
    main(["report", "--measured", str(folder), "--out", str(out)])
    assert capsys.readouterr().out.split() == [str(out / "claims.md")]
    main(["report", "--measured", str(folder), "--commands"])
    assert "# stress: accuracy under fourteen corruptions" in capsys.readouterr().out
    for arguments, message in (
        (["--commands"], "--commands: which folder are they to fill"),
        (["--out", str(out)], "give --out FOLDER, and --bundles FOLDER, --measured FOLDER or both"),
        (["--measured", str(folder)], "give --out FOLDER"),
        (["--measured", str(tmp_path / "none"), "--out", str(out)], "none: is no folder"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["report", *arguments])
