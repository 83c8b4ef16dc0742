"""The paper's claims, each with how our figure for it is read out of the measurements.

The paper's own text is not at hand: of its figures these are known to us, as they were passed on. Its numbering of
tables and figures is not known either, so the claims are grouped by subject.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, NamedTuple

from fer_perception.evaluation.results import Interval
from fer_perception.evaluation.speed import EngineSpeed, EnginesResult, LiveResult, OverheadResult
from fer_training.evaluation.attention.results import Explanation
from fer_training.evaluation.evaluate import DatasetResult, EvaluationResult
from fer_training.evaluation.fairness import FairnessResult
from fer_training.evaluation.identity import IdentityResult
from fer_training.evaluation.robustness.stress import StressResult
from fer_training.evaluation.text import percent
from fer_training.reporting.paper.folder import Folder, NotMeasured
from fer_training.reporting.paper.measurements import BASELINE, COMPRESSED, MEASUREMENTS, ROBUST
from fer_training.training.pruning.comparison import CriteriaResult

BY_NAME = {measurement.name: measurement for measurement in MEASUREMENTS}


class Unit(NamedTuple):
    """How a figure is written: the value times ``scale``, with ``sign`` and so many ``digits``."""

    name: str
    scale: float = 1.0
    digits: int = 2
    sign: str = ""

    def number(self, value: float) -> str:
        """The value without its unit."""
        return f"{value * self.scale:{self.sign}.{self.digits}f}"

    def text(self, value: float) -> str:
        """The value with its unit."""
        return self.number(value) + self.name


POINTS = Unit(" points", 100, sign="+")
FRACTION = Unit("%", 100)
CHANGE = Unit("%", 100, sign="+")
RATIO = Unit(" times")
FPS = Unit(" images/s", digits=1)
MILLIJOULES = Unit(" mJ", 1000, 3)
MILLISECONDS = Unit(" ms", digits=3)
AREA = Unit("", digits=3, sign="+")

UNDEFINED, UNKNOWN = "undefined", "no figure known to us"


class Reading(NamedTuple):
    """Our figure. ``on``: data or machine; ``interval``: 95%; ``remark``: what it has to be seen beside."""

    value: float
    on: str
    interval: Interval | None = None
    remark: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim. ``claimed``: its figure, or a word on why it has none. ``read`` takes the results of ``sources``."""

    subject: str
    text: str
    claimed: float | str
    unit: Unit
    better: Literal["higher", "lower"]
    sources: tuple[str, ...]
    read: Callable[..., Reading]

    @property
    def claimed_text(self) -> str:
        """The claimed figure with its unit."""
        return self.claimed if isinstance(self.claimed, str) else self.unit.text(self.claimed)

    def measure(self, folder: Folder) -> Reading:
        """Our figure.

        :raises NotMeasured: there is none.
        """
        return self.read(*results(folder, self.sources))

    def reading_text(self, reading: Reading) -> str:
        """Our figure with its unit, interval and remark."""
        text = self.unit.text(reading.value)
        if reading.interval:
            text += f" [{', '.join(map(self.unit.number, reading.interval))}]"
        return text + (f"; {reading.remark}" if reading.remark else "")

    def verdict(self, reading: Reading) -> str:
        """Our figure against the claimed one: within the interval, or else to which side."""
        if isinstance(self.claimed, str):
            return "nothing to compare with"
        if reading.interval and reading.interval[0] <= self.claimed <= reading.interval[1]:
            return "agrees within the interval"
        if math.isclose(reading.value, self.claimed, abs_tol=0.5 * 10**-3):
            return "agrees"
        return "better" if (reading.value > self.claimed) == (self.better == "higher") else "worse"


def results(folder: Folder, sources: tuple[str, ...]) -> list[Any]:
    """The results of measurements, each of its own type.

    :raises NotMeasured: one is not there, or of other weights.
    """
    return [folder.read(BY_NAME[name], BY_NAME[name].result) for name in sources]


def only(evaluation: EvaluationResult) -> tuple[str, DatasetResult]:
    """The one dataset of an evaluation, as a text with its split and size, and its metrics."""
    ((dataset, metrics),) = evaluation.datasets.items()
    return f"{escape(dataset)} {evaluation.split}, {metrics.n:,} images", metrics


def _engine(run: EnginesResult, name: str, precision: str = "fp32") -> EngineSpeed:
    for engine in run.engines:
        if (engine.name, engine.precision) == (name, precision):
            return engine
    raise NotMeasured(f"of `{name}` in {precision} no speed was measured")


def _difference(metric: str) -> Callable[[EvaluationResult, EvaluationResult], Reading]:
    """The second evaluation's metric less the first one's; both with their intervals in the remark."""

    def read(before: EvaluationResult, after: EvaluationResult) -> Reading:
        (on, old), (on_after, new) = only(before), only(after)
        if on != on_after:
            raise NotMeasured(f"one was measured on {on}, the other on {on_after}")
        texts = [percent(getattr(metrics, metric), metrics.intervals[metric], 1) for metrics in (new, old)]
        return Reading(getattr(new, metric) - getattr(old, metric), on, remark=" after ".join(texts))

    return read


def _lost(before: EvaluationResult, after: EvaluationResult) -> Reading:
    reading = _difference("accuracy")(before, after)
    return reading._replace(value=-reading.value)


def _stress(part: Literal["families", "corruptions"], name: str) -> Callable[[StressResult], Reading]:
    """The robust model's gain over the baseline under a corruption, or a family of them."""

    def read(stress: StressResult) -> Reading:
        found = getattr(stress, part).get(name, {})
        ours, theirs = found.get(ROBUST), found.get(BASELINE)
        if stress.baseline != BASELINE or ours is None or theirs is None or ours.gain is None:
            raise NotMeasured(f"`stress.json` does not compare `{ROBUST}` with `{BASELINE}` under {name}")
        on = f"{escape(stress.dataset)} {stress.split}, {stress.n:,} images"
        remark = f"{percent(ours.accuracy, digits=1)} against {percent(theirs.accuracy, digits=1)}"
        return Reading(ours.gain, on, ours.interval, remark)

    return read


def _speed(run: EnginesResult) -> Reading:
    """How many times as fast as the run's first engine: one face, and eight in the remark."""
    engine, first = _engine(run, COMPRESSED, "int8"), run.engines[0]
    remark = (
        f"{engine.batch_1.p50_ms:.2f} against {first.batch_1.p50_ms:.2f} ms; of eight faces at once "
        f"{engine.batch_8.speed_ratio:.2f} times"
    )
    return Reading(engine.batch_1.speed_ratio, escape(run.machine), remark=remark)


def _macs(run: EnginesResult) -> Reading:
    ours, parent = _engine(run, COMPRESSED).macs, _engine(run, ROBUST).macs
    return Reading(ours / parent, "any machine", remark=f"{ours / 1e6:.1f} M of {parent / 1e6:.1f} M")


def _energy(run: EnginesResult) -> Reading:
    joules, energy = _engine(run, ROBUST).batch_1.joules, run.energy
    if joules is None:
        raise NotMeasured(f"{escape(energy.reason or 'the sensor failed')}, on {escape(run.machine)}")
    remark = f"above {energy.idle_w:.2f} W idle, by {escape(energy.sensor)}"
    return Reading(joules, escape(run.machine), remark=remark)


def _cpu_time(run: EnginesResult) -> Reading:
    return Reading(_engine(run, ROBUST).batch_1.cpu_ms, escape(run.machine))


def _live(run: LiveResult) -> Reading:
    if "keypoints" not in run.modes:
        raise NotMeasured("`live.json` lacks the face mode keypoints")
    mode = run.modes["keypoints"]
    at_30 = mode.rates.get("30")
    remark = f"at 30 Hz {at_30.p50_ms:.1f} ms end to end (median)" if at_30 and at_30.p50_ms else ""
    return Reading(mode.peak_fps, escape(run.machine), remark=remark)


def _attention(found: Explanation) -> Reading:
    entry = found.maps.get("attention_stage5")
    if entry is None:
        raise NotMeasured("`attention.json` lacks the map attention_stage5")
    remark = f"a uniform map has {percent(found.reference, digits=1)}"
    return Reading(entry.fraction, f"{found.dataset} {found.split}, {found.n:,} images", entry.interval, remark)


def _deletion(control: str) -> Callable[[Explanation], Reading]:
    """How much smaller the area under the deletion curve is than that of a control."""

    def read(found: Explanation) -> Reading:
        checked = found.checks.maps.get("attention_stage5") if found.checks else None
        gain = checked.gain[control].deletion if checked else None
        if found.checks is None or gain is None or gain.mean is None:
            raise NotMeasured("`attention.json` has no checks of the map attention_stage5")
        return Reading(gain.mean, f"{found.checks.n:,} of {found.checks.of:,} images", gain.interval)

    return read


def _identity(features: str) -> Callable[[IdentityResult], Reading]:
    """Persons named rightly by the better of the two attackers."""

    def read(result: IdentityResult) -> Reading:
        entry = result.identified[features]
        attackers = {"nearest neighbour": entry.nearest_neighbour, "linear probe": entry.linear_probe}
        name = max(attackers, key=lambda attacker: attackers[attacker].fraction)
        remark = f"by the {name}; chance {percent(max(result.chance.most_frequent, result.chance.uniform))}"
        if result.emotion_accuracy.mean is not None:
            remark += f"; emotions right: {percent(result.emotion_accuracy.mean, digits=1)}"
        on = f"{result.persons:,} persons, {result.asked_images:,} images"
        return Reading(attackers[name].fraction, on, attackers[name].interval, remark)

    return read


def _gap(result: FairnessResult) -> Reading:
    found = result.columns.get("photograph")
    if found is None or "accuracy" not in found.gaps:
        raise NotMeasured("`groups.json` has no two groups of photograph with enough images")
    gap = found.gaps["accuracy"]
    on = f"{escape(result.dataset)} {result.split}, {result.n:,} images"
    return Reading(gap.difference, on, gap.interval, f"{escape(gap.best)} better than {escape(gap.worst)}")


def _abstention(evaluation: EvaluationResult) -> Reading:
    on, metrics = only(evaluation)
    if metrics.risk_coverage is None:
        raise NotMeasured("`robust.json` lacks risk and coverage")
    found = metrics.risk_coverage.at_80
    remark = f"accuracy {percent(found.accuracy, digits=1)} of these"
    return Reading(found.gain, on, found.intervals["gain"], remark)


def _overhead(result: OverheadResult) -> Reading:
    low, high = result.interval
    remark = f"{result.with_ms:.2f} after {result.without_ms:.2f} ms; {escape(result.machine)}"
    return Reading(result.ratio - 1, f"{result.images:,} images", (low - 1, high - 1), remark)


def _criterion(result: CriteriaResult) -> Reading:
    found = {row.criterion: row for row in result.criteria}
    if not {"landmark", "magnitude"} <= set(found):
        raise NotMeasured("`criteria.json` lacks landmark or magnitude")
    ours, other = found["landmark"], found["magnitude"]
    remark = (
        f"{percent(ours.accuracy, digits=1)} against {percent(other.accuracy, digits=1)}, at "
        f"{percent(ours.macs_fraction, digits=0)} of the MACs"
    )
    return Reading(ours.accuracy - other.accuracy, "validation split", remark=remark)


NETWORK, SPEED, ROBUSTNESS, TRUST = "Accuracy and its parts", "Speed and energy", "Robustness", "Trust"
# fmt: off
CLAIMS = tuple(Claim(*row) for row in (
    (NETWORK, "macro-F1: hybrid attention over its backbone without it", 0.029, POINTS, "higher",
     ("without_attention", "with_attention"), _difference("macro_f1")),
    (NETWORK, "accuracy: robust model over baseline", UNKNOWN, POINTS, "higher",
     ("baseline", "robust"), _difference("accuracy")),
    (NETWORK, "accuracy in another domain: dual-attention adaptation over none", UNKNOWN, POINTS, "higher",
     ("unadapted", "adapted"), _difference("accuracy")),
    (NETWORK, "accuracy: pruned by landmarks over pruned by magnitude", UNKNOWN, POINTS, "higher",
     ("criteria",), _criterion),
    (NETWORK, "accuracy lost by pruning and INT8, against the robust model in FP32", 0.018, POINTS, "lower",
     ("robust", "quantized"), _lost),
    (SPEED, "operations (MACs) of the pruned network, of the robust model's", 50 / 78, FRACTION, "lower",
     ("engines",), _macs),
    (SPEED, "throughput: pruned and INT8 over the baseline in FP32", 1.4, RATIO, "higher", ("engines",), _speed),
    (SPEED, "throughput: pruned and INT8 over Light-FER's network, Xception in FP32", 5.1, RATIO, "higher",
     ("engines_xception",), _speed),
    (SPEED, "images a second of a live graph, the paper's on a Jetson", 28.0, FPS, "higher", ("live",), _live),
    (SPEED, "energy of one inference", UNDEFINED, MILLIJOULES, "lower", ("engines",), _energy),
    (SPEED, "CPU time of one inference", UNKNOWN, MILLISECONDS, "lower", ("engines",), _cpu_time),
    (ROBUSTNESS, "mouth or eyes covered: robust model over baseline", 0.095, POINTS, "higher",
     ("stress",), _stress("families", "mouth or eyes")),
    (ROBUSTNESS, "dim light: robust model over baseline", 0.069, POINTS, "higher",
     ("stress",), _stress("corruptions", "dim_light")),
    (ROBUSTNESS, "combined stress: robust model over baseline", 0.081, POINTS, "higher",
     ("stress",), _stress("corruptions", "combined")),
    (TRUST, "attention on landmarks: fraction of the attention map on eyes, brows and mouth", UNDEFINED, FRACTION,
     "higher", ("attention",), _attention),
    (TRUST, "attention that matters: smaller area under deletion than of random maps", UNDEFINED, AREA, "higher",
     ("attention",), _deletion("random")),
    (TRUST, "the same, than of fixed regions of eyes, brows and mouth", UNDEFINED, AREA, "higher",
     ("attention",), _deletion("landmarks")),
    (TRUST, "privacy sensitivity: persons named by the probabilities, which mode `strict` publishes", UNDEFINED,
     FRACTION, "lower", ("identity",), _identity("distribution")),
    (TRUST, "privacy sensitivity: persons named by the network's embedding, which is not published", UNDEFINED,
     FRACTION, "lower", ("identity",), _identity("embedding")),
    (TRUST, "fairness: largest gap in accuracy, grey against coloured photographs", UNKNOWN, POINTS, "lower",
     ("groups",), _gap),
    (TRUST, "abstention: accuracy of the surest 80% of the predictions, over all", UNKNOWN, POINTS, "higher",
     ("robust",), _abstention),
    (TRUST, "median latency with quality gate and audit log, over none", UNKNOWN, CHANGE, "lower",
     ("overhead",), _overhead),
))
# fmt: on
