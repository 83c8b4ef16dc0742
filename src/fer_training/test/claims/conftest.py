"""Measurements of every kind, with figures that differ from model to model, in the forms that the verbs write."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_perception.evaluation.metrics import Metrics, classification_metrics, mean_recall
from fer_perception.evaluation.results import ResultFile
from fer_perception.evaluation.speed import BatchSpeed, EngineSpeed, EnginesResult, IdlePower
from fer_perception.labels import EMOTIONS_7
from fer_perception.replay.results import (
    Detection,
    KindResult,
    Majority,
    Measures,
    ModelFacts,
    ReplayReport,
    TruthResult,
)
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.attention.results import (
    AreaUnderCurve,
    Checks,
    Explanation,
    Gain,
    MapCheck,
    Mean,
    Randomisation,
    Reference,
)
from fer_training.evaluation.evaluate import DatasetResult, EvaluationResult, PriorMetrics
from fer_training.evaluation.fairness import FairnessResult, Gap, GroupComparison
from fer_training.evaluation.identity import Chance, Fraction, Identified, IdentityResult
from fer_training.evaluation.robustness.corruptions import CORRUPTIONS
from fer_training.evaluation.robustness.stress import ALL, Score, StressResult
from fer_training.reporting.paper.measurements import MEASUREMENTS, Measurement
from fer_training.training.pruning.comparison import CriteriaResult, CriterionResult

HERE = ("ferplus", "fer2013", "manifest", "camera/ferplus", "camera/manifest")


def fraction(*key: object) -> float:
    """A number between 0.3 and 0.9 that depends on the key."""
    return 0.3 + 0.6 * (zlib.crc32(repr(key).encode()) % 1000) / 1000


def dataset_result(*key: object) -> DatasetResult:
    """Metrics of random predictions."""
    rng = np.random.default_rng(zlib.crc32(repr(key).encode()))
    targets = rng.integers(0, 7, 300)
    probabilities = rng.dirichlet(np.ones(7), 300) + fraction(*key) * np.eye(7)[targets]
    probabilities /= probabilities.sum(1, keepdims=True)
    metrics = classification_metrics(targets, probabilities, EMOTIONS_7)
    priors = {
        name: PriorMetrics(
            strength=strength,
            accuracy=metrics.accuracy - strength / 100,
            mean_recall=mean_recall(metrics),
            macro_f1=metrics.macro_f1,
            recall=metrics.recall,
        )
        for name, strength in (("training", 0.0), ("balanced", 1.0))
    }
    return DatasetResult(
        **dict(metrics), labels=[*EMOTIONS_7], left_out={}, unused_labels=[], sha256="0" * 64, priors=priors
    )


def evaluation(measurement: Measurement) -> EvaluationResult:
    """Of the datasets that the command names."""
    names = [part.partition(":")[0].strip('"') for part in measurement.command.split("--dataset ")[1:]]
    expected = measurement.expected
    return EvaluationResult(
        model=f"somewhere/{expected['model']}",
        precision=expected.get("precision", "int8"),  # type: ignore[arg-type]
        split="test",
        temperature=1.0,
        datasets={name: dataset_result(measurement.name, name) for name in names},
    )


def speed(ms: float, ratio: float) -> BatchSpeed:
    return BatchSpeed(
        p50_ms=ms, faces_per_s=1000 / ms, speed_ratio=ratio, cpu_ms=ms, joules=ms / 1000, g_co2e_per_1000=ms / 10
    )


def engines(measurement: Measurement) -> EnginesResult:
    """Of each bundle that the command names, in both precisions."""
    names = [part.rsplit("/", 1)[1] for part in measurement.command.split() if "/" in part and part[:1] != "{"]
    found = []
    for name in dict.fromkeys(names):
        for precision in ("fp32", "fp16", "int8"):
            ms = 4 * fraction(measurement.name, name, precision)
            first = 4 * fraction(measurement.name, names[0], "fp32")
            found.append(
                EngineSpeed(
                    name=name,
                    precision=precision,  # type: ignore[arg-type]
                    model=name,
                    engine="an engine",
                    parameters=1000,
                    macs=int(1e8 * fraction(name)),
                    bytes=1000,
                    accuracy={},
                    batch_1=speed(ms, first / ms),
                    batch_8=speed(ms, first / ms),
                )
            )
    power = IdlePower(sensor="a sensor", idle_w=1.0, idle_s=1.0)
    return EnginesResult(machine="a board", energy=power, grid_intensity_g_per_kwh=100.0, engines=found)


def stress(measurement: Measurement) -> StressResult:
    names = [part.rsplit("/", 1)[1] for part in measurement.command.split() if part.startswith("src/")]

    def scores(what: str) -> dict[str, Score]:
        ends = (0.9, 0.95) if what == "clean" else (0.3, 0.8)
        low, high = ends
        values = {name: low + (high - low) * fraction(what, name) for name in names}
        return {name: Score(accuracy=value, macro_f1=value) for name, value in values.items()}

    return StressResult(
        models=names,
        baseline=names[0],
        clean=scores("clean"),
        corruptions={name: scores(name) for name in CORRUPTIONS},
        families={ALL: scores(ALL)},
        dataset="ferplus",
        split="test",
        n=3135,
        precision="fp32",
        seed=0,
        paths={},
        labels=[*EMOTIONS_7],
        left_out={},
        sha256="0" * 64,
        template=FER2013_TEMPLATE,
        severities={},
    )


def explanation(measurement: Measurement) -> Explanation:
    run = measurement.expected["run"]
    area, gain = fraction(run, "area"), fraction(run, "gain") / 10
    mean = Mean(n=200, mean=gain, interval=(gain - 0.01, gain + 0.01))
    curve = AreaUnderCurve(n=200, mean=area, interval=None, curve=None)
    check = MapCheck(
        size=(3, 3),
        fraction=Mean(n=200, mean=fraction(run, "fraction"), interval=None),
        pointing=mean,
        deletion=curve,
        insertion=curve,
        gain={name: Gain(deletion=mean, insertion=mean) for name in ("random", "landmarks")},
    )
    reference = Reference(fraction=0.18, pointing=0.18)
    checks = Checks(
        n=200,
        of=3135,
        steps=10,
        reference=reference,
        maps={"grad_cam_last": check},
        controls={},
        randomised=Randomisation(n=1, draws=1, depths=[], maps={}),
    )
    return Explanation(
        run=run, dataset="ferplus", split="test", sha256="", n=3135, reference=0.18, maps={}, absent={}, checks=checks
    )


def groups(measurement: Measurement) -> FairnessResult:
    model = measurement.expected["model"]
    columns = {}
    for column in ("photograph", "resolution"):
        difference = fraction(model, column) / 3
        gap = Gap(difference=difference, interval=(difference - 0.05, difference + 0.05), best="grey", worst="colour")
        columns[column] = GroupComparison(
            unknown=0, compared_labels=[], by_group={}, gaps={"accuracy": gap}, equalized_odds=None
        )
    return FairnessResult(
        model=model,
        precision="fp32",
        dataset="manifest",
        split="adapt",
        sha256="",
        n=1711,
        accuracy=0.6,
        columns=columns,
    )


def identity(measurement: Measurement) -> IdentityResult:
    model = measurement.expected["model"]

    def found(features: str) -> Identified:
        value = fraction(model, features) / 10
        worse = Fraction(fraction=value / 2, interval=(value / 3, value))
        best = Fraction(fraction=value, interval=(value - 0.01, value + 0.01))
        return Identified(mode="", values=7, nearest_neighbour=worse, linear_probe=best)

    return IdentityResult(
        model=model,
        persons=321,
        known_images=545,
        asked_images=477,
        chance=Chance(most_frequent=0.01, uniform=0.003),
        emotion_accuracy=Mean(n=0, mean=None, interval=None),
        identified={name: found(name) for name in ("distribution", "embedding")},
    )


def criteria(measurement: Measurement) -> CriteriaResult:
    rows = [
        CriterionResult(
            criterion=name,
            macs_fraction=0.5,
            accuracy_of_start=0.7,
            accuracy_before_fine_tuning=0.4,
            accuracy=fraction(measurement.name, name),
            macro_f1=0.5,
        )
        for name in ("landmark", "magnitude")
    ]
    return CriteriaResult(epochs=1, criteria=rows)


def replayed(measurement: Measurement) -> ReplayReport:
    def kind(name: str) -> KindResult:
        result = dataset_result(measurement.name, name)
        frames = Metrics(**{key: getattr(result, key) for key in Metrics.model_fields})
        none = Majority(n=0, accuracy=None)
        share, seconds = fraction(measurement.name, name, "detected"), fraction(measurement.name, name, "seconds")
        detection = Detection(changes=3, detected=share, median_s=seconds)
        return KindResult(frames=frames, intervals=none, tracks=none, detection=detection)

    truth = TruthResult(
        labelled=300,
        predicted=300,
        refused=0,
        coverage=1.0,
        left_out={},
        units=10,
        changes=[],
        single=kind("single"),
        smoothed=kind("smoothed"),
    )
    measures = Measures(
        frames=300,
        with_face=300,
        rejected={},
        dropped=0,
        faces=300,
        refused={},
        tracks=3,
        flicker_per_minute={kind: 10 * fraction(measurement.name, kind) for kind in ("single", "smoothed")},  # type: ignore[misc]
        latency_ms={},
        truth=truth,
    )
    model = ModelFacts(id="", engine="", sha256={})
    return ReplayReport(
        command="",
        model=model,
        settings={},
        selection="",
        software={},
        failures=[],
        live=None,
        streams=[],
        all=measures,
    )


MAKERS: dict[type[ResultFile], Any] = {
    EvaluationResult: evaluation,
    EnginesResult: engines,
    StressResult: stress,
    Explanation: explanation,
    FairnessResult: groups,
    IdentityResult: identity,
    CriteriaResult: criteria,
    ReplayReport: replayed,
}


@pytest.fixture(scope="session")
def all_measurements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all measurements but the live graph's and the overhead's. It is shared: do not change it."""
    folder = tmp_path_factory.mktemp("measured")
    for measurement in MEASUREMENTS:
        if measurement.result in MAKERS:
            MAKERS[measurement.result](measurement).write(folder / f"{measurement.name}.json")
    return folder


@pytest.fixture
def measured(all_measurements: Path, tmp_path: Path) -> Path:
    """A copy of them, without weights below ``tmp_path``."""
    return Path(shutil.copytree(all_measurements, tmp_path / "measured"))
