"""The paper's claims beside what was measured: every figure is that of its file, or has a reason for being absent."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_perception.emotions.classifier import softmax
from fer_perception.evaluation.metrics import reliability
from fer_perception.labels import EMOTIONS_7
from fer_training.__main__ import VERBS, main
from fer_training.evaluation.evaluate import _metrics
from fer_training.evaluation.fairness import measure_groups
from fer_training.evaluation.risk_coverage import measure_risk_coverage
from fer_training.evaluation.robustness.corruptions import CORRUPTIONS
from fer_training.evaluation.robustness.stress import summarise
from fer_training.reporting.paper import measuring_script, report_claims
from fer_training.reporting.paper.claims import CLAIMS, POINTS, Claim, Reading, verdict
from fer_training.reporting.paper.measurements import BASELINE, COMPRESSED, FLAGSHIP, MEASUREMENTS, XCEPTION, Folder

BROWSER = Path("/usr/bin/chromium")
IMAGES = 140


def evaluation(name: str, seed: int, precision: str = "fp32", **parts: Any) -> dict[str, Any]:
    """What evaluate finds of answers that are better the larger ``seed`` is."""
    rng = np.random.default_rng(seed)
    targets = np.arange(IMAGES) % 7
    logits = rng.standard_normal((IMAGES, 7))
    logits[np.arange(IMAGES), targets] += 1 + seed / 4
    probabilities = softmax(logits.astype(np.float32))
    metrics = {
        **_metrics(targets, probabilities, EMOTIONS_7),
        "labels": list(EMOTIONS_7),
        "reliability": reliability(targets, probabilities),
        "risk_coverage": measure_risk_coverage(targets, probabilities),
        **parts,
    }
    if "groups" in parts:
        values = np.where(np.arange(IMAGES) < 70, "grey", "colour")
        metrics["groups"] = {
            "photograph": measure_groups(targets, probabilities.argmax(axis=1), EMOTIONS_7, values.astype(np.str_))
        }
    return {
        "model": f"some/where/{name}",
        "precision": precision,
        "split": "test",
        "temperature": 1.0,
        "datasets": {"fer2013": metrics},
    }


def stress() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 7, IMAGES)

    def answers(*shape: int, wrong: float) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.where(rng.random((*shape, IMAGES)) < wrong, (targets + 1) % 7, targets)

    clean = np.stack([answers(wrong=0.3), answers(wrong=0.2)])
    corrupted = {name: np.stack([answers(5, wrong=0.5), answers(5, wrong=0.4)]) for name in CORRUPTIONS}
    facts = {"dataset": "fer2013", "split": "test", "n": IMAGES, "labels": list(EMOTIONS_7)}
    return {**facts, **summarise([BASELINE, FLAGSHIP], targets, clean, corrupted)}


def attention() -> dict[str, Any]:
    rng = np.random.default_rng(0)

    def mean(value: float) -> dict[str, Any]:
        return {"n": 70, "mean": value, "interval": [value - 0.01, value + 0.02]}

    def entry(value: float) -> dict[str, Any]:
        curves = {kind: {**mean(value), "curve": rng.random(13).tolist()} for kind in ("deletion", "insertion")}
        return {"size": [6, 6], "share": mean(value), "pointing": mean(value), **curves}

    gain = {name: {"deletion": mean(0.125), "insertion": mean(0.25)} for name in ("random", "centre", "landmarks")}
    maps = {name: {**entry(0.3), "gain": gain} for name in ("attention_stage3", "attention_stage5")}
    shuffled = [{"mean": 0.1, "lowest": 0.0, "highest": 0.2}] * 2
    checks = {
        "n": 70,
        "of": IMAGES,
        "steps": 12,
        "maps": maps,
        "controls": {name: entry(0.2) for name in ("random_6x6", "centre", "landmarks")},
        "randomised": {"n": 64, "draws": 3, "depths": [0.5, 1.0], "maps": {"attention_stage5": shuffled}},
    }
    share = {"n": IMAGES, "share": 0.2914, "interval": [0.2813, 0.3015]}
    return {"reference": 0.181, "maps": {"attention_stage5": share}, "absent": {}, "checks": checks}


def engine(name: str, precision: str, ms: float, macs: int, joules: float | None = None) -> dict[str, Any]:
    speed = {"p50_ms": ms, "faces_per_s": 1000 / ms, "speed_ratio": 3 / ms, "cpu_ms": ms - 0.125, "joules": joules}
    energy = {"reason": "no sensor was found"} if joules is None else {"sensor": "RAPL", "idle_w": 5.0}
    sizes = {"parameters": 2_200_000, "macs": macs, "bytes": 8_900_000}
    row = {"name": name, "precision": precision, **sizes, "accuracy": {"fer2013": 0.65}, "energy": energy}
    return {**row, "batch_1": speed, "batch_8": speed}


def everything() -> dict[str, Any]:
    """The contents of all measurements, by name."""
    hits = {"share": 0.0482, "interval": [0.0262, 0.0725]}
    fewer = {"share": 0.0335, "interval": [0.0199, 0.05]}
    features = {"nearest_neighbour": fewer, "linear_probe": hits, "mode": "strict", "values": 7}
    return {
        "baseline": evaluation(BASELINE, 1),
        "flagship": evaluation(FLAGSHIP, 5),
        "without_attention": evaluation("mobilenet_v2_long", 2),
        "with_attention": evaluation("hybrid_attention", 3),
        "compressed": evaluation(COMPRESSED, 4),
        "quantized": evaluation(COMPRESSED, 3, "int8"),
        "criteria": [
            {"criterion": name, "macs_share": 0.5, "accuracy": accuracy}
            for name, accuracy in (("landmark", 0.6875), ("magnitude", 0.6625))
        ],
        "unadapted": evaluation("hybrid_attention_lite0_ferplus", 1),
        "adapted": evaluation("dual_adaptive", 2),
        "engines": {
            "machine": "a board",
            "engines": [
                engine(BASELINE, "fp32", 3.0, 53_700_000),
                engine(FLAGSHIP, "fp32", 4.0, 70_000_000, 0.0125),
                engine(COMPRESSED, "fp32", 2.0, 35_000_000),
                engine(COMPRESSED, "int8", 1.0, 35_000_000),
            ],
        },
        "engines_xception": {
            "machine": "a board",
            "engines": [engine(XCEPTION, "fp32", 3.0, 212_000_000), engine(COMPRESSED, "int8", 0.5, 35_000_000)],
        },
        "live": {"machine": "a board", "keypoints": {"peak_fps": 143.75, "rates": {"30": {"p50_ms": 8.25}}}},
        "stress": stress(),
        "groups": evaluation(FLAGSHIP, 2, groups={}),
        "attention": evaluation(FLAGSHIP, 5, attention=attention()),
        "identity": {
            "model": f"models/{FLAGSHIP}",
            "persons": 321,
            "asked_pictures": 477,
            "chance": {"most_frequent": 0.0105, "uniform": 0.0031},
            "emotion_accuracy": {"n": 382, "mean": 0.634, "interval": [0.58, 0.68]},
            "identified": {"distribution": features, "embedding": {**features, "mode": ""}},
        },
        "overhead": {
            "images": 600,
            "median_ms": {"without": 5.0, "with": 5.05},
            "ratio": 1.0125,
            "interval": [1.0025, 1.0225],
        },
    }


def write(folder: Path, measured: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in measured.items():
        (folder / f"{name}.json").write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


@pytest.fixture(scope="module")
def measured_once() -> dict[str, Any]:
    """See :func:`everything`. The machine's name is one that could do harm in a page."""
    measured = everything()
    measured["engines"]["machine"] = "<script>document.title = 'taken'</script> a | board"
    return measured


@pytest.fixture
def measured(measured_once: dict[str, Any]) -> dict[str, Any]:
    """The same, to be changed."""
    return copy.deepcopy(measured_once)


@pytest.fixture(scope="module")
def whole(measured_once: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the report of all measurements, and these in its folder ``measured``."""
    folder = tmp_path_factory.mktemp("whole")
    report(measured_once, folder)
    return folder


def claims_in(text: str) -> dict[str, list[str]]:
    """The cells of the claims' rows after the first, by it."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        for line in text.splitlines()
        if line[:1] == "|"
    ]
    texts = {claim.text for claim in CLAIMS}
    return {row[0]: row[1:] for row in rows if row[0] in texts}


def report(measured: dict[str, Any], tmp_path: Path, root: Path | None = None) -> str:
    page, _ = report_claims(write(tmp_path / "measured", measured), tmp_path / "out", root or tmp_path)
    return page.read_text(encoding="utf-8")


def cell(rows: dict[str, list[str]], start: str) -> list[str]:
    (found,) = (cells for text, cells in rows.items() if text.startswith(start))
    return found


def test_every_claim_has_the_figure_of_its_file(measured: dict[str, Any], whole: Path) -> None:
    assert set(measured) == {measurement.name for measurement in MEASUREMENTS}
    text = (whole / "out" / "claims.md").read_text(encoding="utf-8")
    rows = claims_in(text)
    assert len(rows) == len(CLAIMS)
    assert "Not measured" not in text
    assert not any(cells[1].startswith("not measured") for cells in rows.values())

    def points(after: str, before: str, key: str = "accuracy") -> float:
        new, old = (measured[name]["datasets"]["fer2013"][key] for name in (after, before))
        return 100 * (new - old)

    corruptions, families = measured["stress"]["corruptions"], measured["stress"]["families"]
    gap = measured["groups"]["datasets"]["fer2013"]["groups"]["photograph"]["gaps"]["accuracy"]
    coverage = measured["flagship"]["datasets"]["fer2013"]["risk_coverage"]["at_80"]
    expected: dict[str, tuple[float, str]] = {
        "macro-F1: hybrid": (points("with_attention", "without_attention", "macro_f1"), "+2.90 points"),
        "accuracy: flagship": (points("flagship", "baseline"), "no figure known to us"),
        "accuracy in another": (points("adapted", "unadapted"), "no figure known to us"),
        "accuracy: pruned": (2.5, "no figure known to us"),
        "accuracy lost": (points("flagship", "quantized"), "+1.80 points"),
        "operations": (50.0, "64.10%"),
        "throughput: pruned and INT8 over the baseline": (3.0, "1.40 times"),
        "throughput: pruned and INT8 over Light-FER": (6.0, "5.10 times"),
        "images a second": (143.75, "28.0 images/s"),
        "energy": (12.5, "undefined"),
        "CPU time": (3.875, "no figure known to us"),
        "mouth or eyes": (100 * families["mouth or eyes"][FLAGSHIP]["gain"], "+9.50 points"),
        "dim light": (100 * corruptions["dim_light"][FLAGSHIP]["gain"], "+6.90 points"),
        "combined": (100 * corruptions["combined"][FLAGSHIP]["gain"], "+8.10 points"),
        "attention on": (29.14, "undefined"),
        "attention that matters": (0.125, "undefined"),
        "the same, than of fixed": (0.125, "undefined"),
        "privacy sensitivity: persons named by the prob": (4.82, "undefined"),
        "privacy sensitivity: persons named by the netw": (4.82, "undefined"),
        "fairness": (100 * gap["difference"], "no figure known to us"),
        "abstention": (100 * coverage["gain"], "no figure known to us"),
        "median latency": (1.25, "no figure known to us"),
    }
    assert len(expected) == len(CLAIMS)
    for start, (value, claimed) in expected.items():
        cells = cell(rows, start)
        number = re.match(r"[+-]?[\d.]+", cells[1])
        assert number is not None, start
        assert float(number[0]) == pytest.approx(value, abs=0.051 if "images/s" in cells[1] else 0.0051), start
        assert cells[0] == claimed
    dim = corruptions["dim_light"][FLAGSHIP]["interval"]
    assert f"[{dim[0] * 100:+.2f}, {dim[1] * 100:+.2f}]" in cell(rows, "dim light")[1]
    assert cell(rows, "dim light")[3] == f"fer2013 test, {IMAGES} images"
    assert cell(rows, "throughput: pruned and INT8 over the b")[2] == "better"
    assert cell(rows, "throughput: pruned and INT8 over the b")[3].endswith(r"a \| board")
    assert cell(rows, "images a second")[2:4] == ["better", "a board"]
    assert "by the linear probe; chance 1.05%" in cell(rows, "privacy sensitivity: persons named by the p")[1]
    assert cell(rows, "energy")[1] == "12.500 mJ; above 5.00 W idle, by RAPL"
    assert cell(rows, "median latency")[1].startswith("+1.25% [+0.25, +2.25]; 5.05 after 5.00 ms")
    engines = [line for line in text.splitlines() if line.startswith(f"| {BASELINE} fp32 |")]
    assert "| not measured: no sensor was found |" in engines[0]


def test_the_same_measurements_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    files = sorted(file for file in (whole / "out").rglob("*") if file.is_file())
    pictures = [file for file in files if file.suffix == ".png"]
    assert {file.name for file in pictures} == {
        *("claims.png", "confusion.png", "speed.png", "fer2013_test_stress.png", "attention.png", "identity.png"),
        *("fer2013_test_groups_photograph.png", "abstention.png"),
    }
    assert all(cv2.imread(str(picture)).std() > 10 for picture in pictures)
    report_claims(whole / "measured", tmp_path / "out", whole)
    for file in files:
        assert (tmp_path / "out" / file.relative_to(whole / "out")).read_bytes() == file.read_bytes(), file.name
    text = (whole / "out" / "claims.md").read_text()
    assert str(whole) not in text
    assert all(f"](claims/{picture.name})" in text for picture in pictures)


def test_without_measurements_every_claim_says_why(tmp_path: Path) -> None:
    (tmp_path / f"src/fer_perception/models/{BASELINE}").mkdir(parents=True)
    (tmp_path / f"src/fer_perception/models/{BASELINE}/fp32.onnx").write_bytes(b"weights")
    text = report({}, tmp_path)
    rows = claims_in(text)
    assert len(rows) == len(CLAIMS)
    for claim in CLAIMS:
        cells = rows[claim.text]
        assert cells[1].startswith("not measured: there is no `"), claim.text
        assert cells[2:4] == ["", ""]
        for source in claim.sources:
            assert f"[{source}](#{source})" in cells[4]
            assert f"\n### {source}\n" in text
    assert cell(rows, "accuracy: flagship")[1] == "not measured: there is no `baseline.json`"
    assert cell(rows, "accuracy lost")[1].endswith(f"nor the weights `src/fer_perception/models/{FLAGSHIP}/fp32.onnx`")
    assert not list((tmp_path / "out" / "claims").iterdir())


def older_engines(data: Any) -> None:
    for row in data["engines"]:
        for key in ("cpu_ms", "joules"):
            del row["batch_1"][key]


def no_sensor(data: Any) -> None:
    data["engines"][1] = engine(FLAGSHIP, "fp32", 4.0, 70_000_000)


def other_split(data: Any) -> None:
    data["split"] = "val"


def not_finite(data: Any) -> None:
    data["ratio"] = float("nan")


DAMAGES: list[dict[str, tuple[Callable[[Any], None] | str | dict[str, Any], str, str]]] = [
    # Of each file what is changed or in its place, the claim, and why it is not measured.
    {
        "engines": (older_engines, "CPU time", "`engines.json` is not what its command writes: it lacks 'cpu_ms'"),
        "quantized": (
            evaluation(COMPRESSED, 1),
            "accuracy lost",
            "`quantized.json` is not of the precision `int8`",
        ),
        "baseline": (
            other_split,
            "accuracy: flagship",
            "one was measured on fer2013 val, 140 images, the other on",
        ),
        "stress": ('{"models": []}', "dim light", "`stress.json` is not what its command writes: it lacks 'baseline'"),
        "identity": ("{}", "privacy sensitivity: persons named by the p", "`identity.json` is not of the model"),
        "overhead": (not_finite, "median latency", "`overhead.json` has no finite figure"),
        "criteria": ('[{"criterion": "<b>"}]', "accuracy: pruned by", "it lacks 'landmark'"),
    },
    {
        "engines": (no_sensor, "energy", "no sensor was found, on &lt;script&gt;"),
        "flagship": ("[]", "abstention", f"`flagship.json` is not of the model `{FLAGSHIP}`"),
    },
    {
        "engines": ("", "operations", "`engines.json` is not JSON"),
        "flagship": (evaluation(BASELINE, 1), "abstention", f"`flagship.json` is not of the model `{FLAGSHIP}`"),
    },
    {"engines": ("[1]", "operations", "`engines.json` is not what its command writes")},
]


@pytest.mark.parametrize("damages", DAMAGES, ids=lambda damages: ", ".join(damages))
def test_damaged_older_and_foreign_files_are_not_measured(
    tmp_path: Path,
    measured: dict[str, Any],
    damages: dict[str, tuple[Callable[[Any], None] | str | dict[str, Any], str, str]],
) -> None:
    kept = {key: measured[key] for key in {"baseline", "flagship", *damages}}
    for name, (change, _, _) in damages.items():
        if callable(change):
            change(kept[name])
        else:
            kept[name] = change
    rows = claims_in(report(json.loads(json.dumps(kept)), tmp_path))
    for _, claim, reason in damages.values():
        cells = cell(rows, claim)
        assert cells[1].startswith(f"not measured: {reason}") or f" {reason}" in cells[1]
        assert cells[2] == ""


def test_figures_of_replaced_weights_are_not_measured(tmp_path: Path) -> None:
    weights = tmp_path / f"src/fer_perception/models/{FLAGSHIP}/fp32.onnx"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"first")
    folder = write(tmp_path / "measured", {"flagship": evaluation(FLAGSHIP, 5)})
    flagship = next(measurement for measurement in MEASUREMENTS if measurement.name == "flagship")
    assert not Folder(folder, tmp_path).is_recorded(flagship)
    subprocess.run(
        f"sha256sum {weights.relative_to(tmp_path)} > measured/flagship.sha256", shell=True, check=True, cwd=tmp_path
    )
    assert Folder(folder, tmp_path).is_recorded(flagship)
    assert cell(claims_in(report({}, tmp_path)), "abstention")[1].startswith("+")
    weights.write_bytes(b"second")
    reason = f"`flagship.json` is of an earlier `src/fer_perception/models/{FLAGSHIP}/fp32.onnx`"
    assert cell(claims_in(report({}, tmp_path)), "abstention")[1] == f"not measured: {reason}"


def test_the_script_measures_what_is_missing(measured: dict[str, Any], tmp_path: Path) -> None:
    weights = {name: tmp_path / f"src/fer_perception/models/{name}/fp32.onnx" for name in (BASELINE, FLAGSHIP)}
    for file in weights.values():
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    folder = write(tmp_path / "with space", {name: measured[name] for name in ("baseline", "flagship", "adapted")})
    digest = hashlib.sha256(b"weights").hexdigest()
    (folder / "baseline.sha256").write_text(f"{digest}  src/fer_perception/models/{BASELINE}/fp32.onnx\n")
    script = measuring_script(folder, tmp_path)
    lines = script.splitlines()
    assert "# baseline: " not in script  # measured, of these weights
    assert "# flagship: " in script  # of unknown weights
    assert "# adapted: " in script  # of unknown weights, which are not here
    assert "# quantized: " in script
    start = next(number for number, line in enumerate(lines) if line.startswith("# quantized: "))
    assert all(line.startswith("# ") for line in lines[start : start + 3])  # what makes the weights is long
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    failed = subprocess.run(["bash"], input=script, text=True, capture_output=True, env={"HOME": "/home"})
    assert failed.returncode
    assert "FER2013: set it, for example FER2013=fer2013:/home/data/fer2013" in failed.stderr


def test_commands_are_those_of_the_suite(tmp_path: Path) -> None:
    """Verbs take the arguments, scripts and configurations exist, and the file is written where it is looked for."""
    root = Path(__file__).resolve().parents[3]
    folder = Folder(write(tmp_path, {}), tmp_path)
    verbs = []
    for measurement in MEASUREMENTS:
        command = folder.command(measurement).replace("$SPLIT", "test")
        assert str(tmp_path / f"{measurement.name}.json") in command
        for part in re.split(r"&&|\|\||;", f"{command} && {measurement.made_by}"):
            words = shlex.split(part)
            if words[:3] == ["python", "-m", "fer_training"]:
                verbs.append(words[3])
                parser = argparse.ArgumentParser()
                VERBS[words[3]](parser)
                parsed = parser.parse_args(words[4:])
                assert "config" not in parsed or (root / parsed.config).exists()
            elif words[:1] == ["python"] and words[1] != "-m":
                assert (root / words[1]).exists()
    assert set(verbs) == {"evaluate", "train", "adapt", "prune", "export", "quantize"}


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

    assert verdict(Claim("", "", claimed, POINTS, better, (), read), read()) == expected


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = write(tmp_path / "measured", {}), tmp_path / "out"
    main(["report", "--measured", str(folder), "--out", str(out)])
    assert capsys.readouterr().out.split() == [str(out / "claims.md"), str(out / "claims.html")]
    main(["report", "--measured", str(folder), "--commands"])
    assert "# stress: accuracy under fourteen corruptions" in capsys.readouterr().out
    for arguments, message in (
        (["--measured", str(tmp_path / "none"), "--out", str(out)], r"none: is no folder\. Make it"),
        (["--commands"], "Give --measured FOLDER"),
        (["--out", str(out)], "give --out FOLDER, and --bundles FOLDER, --measured FOLDER or both"),
        (["--measured", str(folder), "--out", str(out), "--speed", "x.json"], "--speed: give --bundles, too"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["report", *arguments])


def test_the_page_renders_in_a_browser_and_loads_nothing(whole: Path, tmp_path: Path) -> None:
    text = (whole / "out" / "claims.md").read_text(encoding="utf-8")
    page = whole / "out" / "claims.html"
    content = page.read_text(encoding="utf-8")
    assert "<script" not in content
    assert "http://" not in content
    assert "https://" not in content
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements/dev.txt)")
    if not BROWSER.exists():
        pytest.skip(f"{BROWSER} is not on this machine (Debian: apt install chromium)")
    events: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(BROWSER), args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1150, "height": 900})
        tab.on("console", lambda message: events.append(message.text))
        tab.on("request", lambda request: events.append(request.url))
        tab.set_default_timeout(90_000)  # on a busy machine
        tab.goto(page.as_uri())
        shown = tab.evaluate(
            "() => ({title: document.title, rows: document.querySelectorAll('table tr').length,"
            " text: document.body.innerText, width: document.documentElement.scrollWidth,"
            " images: [...document.images].filter(i => i.naturalWidth > 0).length,"
            " dead: [...document.querySelectorAll('a')].filter(a => !document.getElementById(a.hash.slice(1))).length})"
        )
        tab.screenshot(path=str(tmp_path / "page.png"), full_page=True)
        browser.close()
    assert [event for event in events if event != page.as_uri() and not event.startswith("data:")] == []
    assert shown["title"] == "The paper's claims, measured"
    assert "<script>document.title" in shown["text"]
    assert shown["images"] == 8
    assert shown["dead"] == 0
    assert shown["width"] <= 1150
    assert shown["rows"] == sum(line.startswith("|") and not line.startswith("| ---") for line in text.splitlines())
