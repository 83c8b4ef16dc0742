"""The paper's claims, each with how our figure for it is read out of the measurements.

The paper's own text is not at hand: of its figures these are known to us, as they were passed on. Its numbering of
tables and figures is not known either, so the claims are grouped by subject.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple, TypeVar

from fer_training.reporting.paper.measurements import (
    BASELINE,
    COMPRESSED,
    FLAGSHIP,
    MEASUREMENTS,
    Folder,
    Json,
    Measurement,
    NotMeasured,
)

Result = TypeVar("Result")

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
SHARE = Unit("%", 100)
CHANGE = Unit("%", 100, sign="+")
RATIO = Unit(" times")
FPS = Unit(" images/s", digits=1)
MILLIJOULES = Unit(" mJ", 1000, 3)
MILLISECONDS = Unit(" ms", digits=3)
AREA = Unit("", digits=3, sign="+")


class Reading(NamedTuple):
    """Our figure. ``on``: data or machine; ``interval``: 95%; ``remark``: what it has to be seen beside."""

    value: float
    on: str
    interval: tuple[float, float] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim. ``claimed``: its figure, or a word on why it has none; ``read`` takes the contents of ``sources``.

    ``read`` may fail in any of a dictionary's ways on a file of another layout, see :func:`attempt`.
    """

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


UNDEFINED, UNKNOWN = "undefined", "no figure known to us"


def attempt(folder: Folder, sources: tuple[str, ...], work: Callable[..., Result]) -> Result:
    """``work`` on the contents of the sources.

    :raises NotMeasured: one is not there or of other weights, or does not hold what ``work`` looks for: it is from
        another version, or from another command.
    """
    contents = [folder.read(BY_NAME[name]) for name in sources]
    try:
        return work(*contents)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        files = " or ".join(f"`{name}.json`" for name in sources)
        problem = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise NotMeasured(f"{files} is not what its command writes: {escape(problem, quote=False)}") from error


def measure(claim: Claim, folder: Folder) -> Reading:
    """Our figure for a claim.

    :raises NotMeasured: there is none, see :func:`attempt`.
    """
    reading = attempt(folder, claim.sources, claim.read)
    if not all(math.isfinite(value) for value in (reading.value, *(reading.interval or ()))):
        raise NotMeasured(f"`{claim.sources[0]}.json` has no finite figure")
    return reading


def reading_text(claim: Claim, reading: Reading) -> str:
    """Our figure with its unit, interval and remark."""
    text = claim.unit.text(reading.value)
    if reading.interval:
        text += f" [{', '.join(map(claim.unit.number, reading.interval))}]"
    return text + (f"; {reading.remark}" if reading.remark else "")


def verdict(claim: Claim, reading: Reading) -> str:
    """Our figure against the claimed one: within the interval, or else to which side."""
    if isinstance(claim.claimed, str):
        return "nothing to compare with"
    if reading.interval and reading.interval[0] <= claim.claimed <= reading.interval[1]:
        return "agrees within the interval"
    if math.isclose(reading.value, claim.claimed, abs_tol=0.5 * 10**-3):
        return "agrees"
    return "better" if (reading.value > claim.claimed) == (claim.better == "higher") else "worse"


def measurements_of(claim: Claim) -> list[Measurement]:
    """What a claim is read from."""
    return [BY_NAME[name] for name in claim.sources]


def only(evaluation: Json) -> tuple[str, Json]:
    """The one dataset of an evaluation, as a text with its split and size, and its metrics."""
    ((dataset, metrics),) = evaluation["datasets"].items()
    return f"{escape(dataset)} {escape(evaluation['split'])}, {metrics['n']:,} images", metrics


def engine(run: Json, name: str, precision: str = "fp32") -> Json:
    """A bundle's row of ``benchmark --engines``."""
    for row in run["engines"]:
        if (row["name"], row["precision"]) == (name, precision):
            return row
    raise NotMeasured(f"of `{name}` in {precision} no speed was measured")


def _interval(ends: Json) -> tuple[float, float] | None:
    return (float(ends[0]), float(ends[1])) if ends else None


def _same(first: str, second: str) -> str:
    """On what both were measured.

    :raises NotMeasured: on different data, so that no difference may be taken.
    """
    if first != second:
        raise NotMeasured(f"one was measured on {first}, the other on {second}")
    return first


def _difference(metric: str) -> Callable[[Json, Json], Reading]:
    """The second evaluation's metric less the first one's; both with their intervals in the remark."""

    def read(before: Json, after: Json) -> Reading:
        (on_before, old), (on_after, new) = only(before), only(after)
        texts = []
        for metrics in (new, old):
            low, high = (end * 100 for end in metrics["intervals"][metric])
            texts.append(f"{metrics[metric] * 100:.1f}% [{low:.1f}, {high:.1f}]")
        return Reading(new[metric] - old[metric], _same(on_before, on_after), remark=" after ".join(texts))

    return read


def _lost(before: Json, after: Json) -> Reading:
    reading = _difference("accuracy")(before, after)
    return reading._replace(value=-reading.value)


def _stress(part: str, name: str) -> Callable[[Json], Reading]:
    """The flagship's gain over the baseline under a corruption, or a family of them."""

    def read(stress: Json) -> Reading:
        if stress["baseline"] != BASELINE:
            raise NotMeasured(f"`stress.json` has another baseline, `{escape(str(stress['baseline']))}`")
        on = f"{escape(stress['dataset'])} {escape(stress['split'])}, {stress['n']:,} images"
        entries = stress[part][name]
        ours, theirs = entries[FLAGSHIP], entries[BASELINE]
        remark = f"{ours['accuracy'] * 100:.1f}% against {theirs['accuracy'] * 100:.1f}%"
        return Reading(ours["gain"], on, _interval(ours["interval"]), remark)

    return read


def _speed(name: str, precision: str) -> Callable[[Json], Reading]:
    """How many times as fast as the run's first engine: one face, and eight in the remark."""

    def read(run: Json) -> Reading:
        row = engine(run, name, precision)
        first = run["engines"][0]
        remark = (
            f"{row['batch_1']['p50_ms']:.2f} against {first['batch_1']['p50_ms']:.2f} ms; of eight faces at once "
            f"{row['batch_8']['speed_ratio']:.2f} times"
        )
        return Reading(row["batch_1"]["speed_ratio"], escape(run["machine"]), remark=remark)

    return read


def _macs(run: Json) -> Reading:
    ours, parent = engine(run, COMPRESSED)["macs"], engine(run, FLAGSHIP)["macs"]
    return Reading(ours / parent, "any machine", remark=f"{ours / 1e6:.1f} M of {parent / 1e6:.1f} M")


def _energy(run: Json) -> Reading:
    row = engine(run, FLAGSHIP)
    joules, energy = row["batch_1"]["joules"], row["energy"]
    if joules is None:
        raise NotMeasured(f"{escape(str(energy.get('reason', 'the sensor failed')))}, on {escape(run['machine'])}")
    return Reading(
        joules, escape(run["machine"]), remark=f"above {energy['idle_w']:.2f} W idle, by {escape(energy['sensor'])}"
    )


def _cpu_time(run: Json) -> Reading:
    return Reading(engine(run, FLAGSHIP)["batch_1"]["cpu_ms"], escape(run["machine"]))


def _live(run: Json) -> Reading:
    rates = run["keypoints"]["rates"]
    remark = f"at 30 Hz {rates['30']['p50_ms']:.1f} ms end to end (median)" if "30" in rates else ""
    return Reading(run["keypoints"]["peak_fps"], escape(run["machine"]), remark=remark)


def _attention(evaluation: Json) -> Reading:
    on, metrics = only(evaluation)
    found = metrics["attention"]
    entry = found["maps"]["attention_stage5"]
    remark = f"a uniform map has {found['reference'] * 100:.1f}%"
    return Reading(entry["share"], on, _interval(entry["interval"]), remark)


def _deletion(control: str) -> Callable[[Json], Reading]:
    """How much smaller the area under the deletion curve is than that of a control."""

    def read(evaluation: Json) -> Reading:
        _, metrics = only(evaluation)
        checks = metrics["attention"]["checks"]
        gain = checks["maps"]["attention_stage5"]["gain"][control]["deletion"]
        on = f"{checks['n']:,} of {checks['of']:,} images"
        return Reading(gain["mean"], on, _interval(gain["interval"]))

    return read


def _identity(features: str) -> Callable[[Json], Reading]:
    """Persons named rightly by the better of the two attackers."""

    def read(result: Json) -> Reading:
        entry = result["identified"][features]
        attack = max(("nearest_neighbour", "linear_probe"), key=lambda name: entry[name]["share"])
        chance = max(result["chance"].values())
        emotion = result["emotion_accuracy"]["mean"]
        remark = f"by the {attack.replace('_', ' ')}; chance {chance * 100:.2f}%"
        if emotion is not None:
            remark += f"; emotions right: {emotion * 100:.1f}%"
        on = f"{result['persons']:,} persons, {result['asked_pictures']:,} images"
        return Reading(entry[attack]["share"], on, _interval(entry[attack]["interval"]), remark)

    return read


def _gap(evaluation: Json) -> Reading:
    on, metrics = only(evaluation)
    found = metrics["groups"]["photograph"]
    if "accuracy" not in found["gaps"]:
        raise NotMeasured(f"fewer than two groups have {found['minimum']} images")
    gap = found["gaps"]["accuracy"]
    remark = f"{escape(gap['best'])} better than {escape(gap['worst'])}"
    return Reading(gap["difference"], on, _interval(gap["interval"]), remark)


def _abstention(evaluation: Json) -> Reading:
    on, metrics = only(evaluation)
    found = metrics["risk_coverage"]["at_80"]
    remark = f"{found['accuracy'] * 100:.1f}% of the answers right"
    return Reading(found["gain"], on, _interval(found["intervals"]["gain"]), remark)


def _overhead(result: Json) -> Reading:
    low, high = result["interval"]
    without, guarded = (result["median_ms"][name] for name in ("without", "with"))
    remark = f"{guarded:.2f} after {without:.2f} ms; machine not recorded"
    return Reading(result["ratio"] - 1, f"{result['images']:,} images", (low - 1, high - 1), remark)


def _criterion(rows: Json) -> Reading:
    found = {row["criterion"]: row for row in rows}
    ours, other = found["landmark"]["accuracy"], found["magnitude"]["accuracy"]
    remark = (
        f"{ours * 100:.1f}% against {other * 100:.1f}%, at {found['landmark']['macs_share'] * 100:.0f}% of the MACs"
    )
    return Reading(ours - other, "validation split", remark=remark)


NETWORK, SPEED, ROBUSTNESS, TRUST = "Accuracy and its parts", "Speed and energy", "Robustness", "Trust"

CLAIMS = (
    Claim(
        NETWORK,
        "macro-F1: hybrid attention over its backbone without it",
        0.029,
        POINTS,
        "higher",
        ("without_attention", "with_attention"),
        _difference("macro_f1"),
    ),
    Claim(
        NETWORK,
        "accuracy: flagship over baseline",
        UNKNOWN,
        POINTS,
        "higher",
        ("baseline", "flagship"),
        _difference("accuracy"),
    ),
    Claim(
        NETWORK,
        "accuracy in another domain: dual-attention adaptation over none",
        UNKNOWN,
        POINTS,
        "higher",
        ("unadapted", "adapted"),
        _difference("accuracy"),
    ),
    Claim(
        NETWORK,
        "accuracy: pruned by landmarks over pruned by magnitude",
        UNKNOWN,
        POINTS,
        "higher",
        ("criteria",),
        _criterion,
    ),
    Claim(
        NETWORK,
        "accuracy lost by pruning and INT8, against the flagship in FP32",
        0.018,
        POINTS,
        "lower",
        ("flagship", "quantized"),
        _lost,
    ),
    Claim(
        SPEED,
        "operations (MACs) of the pruned network, of the flagship's",
        50 / 78,
        SHARE,
        "lower",
        ("engines",),
        _macs,
    ),
    Claim(
        SPEED,
        "throughput: pruned and INT8 over the baseline in FP32",
        1.4,
        RATIO,
        "higher",
        ("engines",),
        _speed(COMPRESSED, "int8"),
    ),
    Claim(
        SPEED,
        "throughput: pruned and INT8 over Light-FER's network, Xception in FP32",
        5.1,
        RATIO,
        "higher",
        ("engines_xception",),
        _speed(COMPRESSED, "int8"),
    ),
    Claim(
        SPEED,
        "images a second of a live graph, the paper's on a Jetson",
        28.0,
        FPS,
        "higher",
        ("live",),
        _live,
    ),
    Claim(SPEED, "energy of one inference", UNDEFINED, MILLIJOULES, "lower", ("engines",), _energy),
    Claim(SPEED, "CPU time of one inference", UNKNOWN, MILLISECONDS, "lower", ("engines",), _cpu_time),
    Claim(
        ROBUSTNESS,
        "mouth or eyes covered: flagship over baseline",
        0.095,
        POINTS,
        "higher",
        ("stress",),
        _stress("families", "mouth or eyes"),
    ),
    Claim(
        ROBUSTNESS,
        "dim light: flagship over baseline",
        0.069,
        POINTS,
        "higher",
        ("stress",),
        _stress("corruptions", "dim_light"),
    ),
    Claim(
        ROBUSTNESS,
        "combined stress: flagship over baseline",
        0.081,
        POINTS,
        "higher",
        ("stress",),
        _stress("corruptions", "combined"),
    ),
    Claim(
        TRUST,
        "attention on landmarks: share of the attention map on eyes, brows and mouth",
        UNDEFINED,
        SHARE,
        "higher",
        ("attention",),
        _attention,
    ),
    Claim(
        TRUST,
        "attention that matters: smaller area under deletion than of random maps",
        UNDEFINED,
        AREA,
        "higher",
        ("attention",),
        _deletion("random"),
    ),
    Claim(
        TRUST,
        "the same, than of fixed regions of eyes, brows and mouth",
        UNDEFINED,
        AREA,
        "higher",
        ("attention",),
        _deletion("landmarks"),
    ),
    Claim(
        TRUST,
        "privacy sensitivity: persons named by the probabilities, which mode `strict` publishes",
        UNDEFINED,
        SHARE,
        "lower",
        ("identity",),
        _identity("distribution"),
    ),
    Claim(
        TRUST,
        "privacy sensitivity: persons named by the network's embedding, which is not published",
        UNDEFINED,
        SHARE,
        "lower",
        ("identity",),
        _identity("embedding"),
    ),
    Claim(
        TRUST,
        "fairness: largest gap in accuracy, grey against coloured photographs",
        UNKNOWN,
        POINTS,
        "lower",
        ("groups",),
        _gap,
    ),
    Claim(
        TRUST,
        "abstention: accuracy when the surest 80% are answered, over all",
        UNKNOWN,
        POINTS,
        "higher",
        ("flagship",),
        _abstention,
    ),
    Claim(
        TRUST,
        "median latency with quality gate and audit log, over none",
        UNKNOWN,
        CHANGE,
        "lower",
        ("overhead",),
        _overhead,
    ),
)
