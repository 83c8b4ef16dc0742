"""Our figures: what is read out of which measurement."""

from __future__ import annotations

from html import escape
from typing import Any, Literal

from fer_perception.evaluation.metrics import mean_recall
from fer_perception.evaluation.speed import EngineSpeed, EnginesResult, LiveResult, OverheadResult
from fer_perception.replay.results import Kind, ReplayReport
from fer_training.evaluation.attention.results import Explanation, MapCheck
from fer_training.evaluation.evaluate import DatasetResult, EvaluationResult
from fer_training.evaluation.fairness import FairnessResult
from fer_training.evaluation.identity import IdentityResult
from fer_training.evaluation.robustness.stress import ALL, Score, StressResult
from fer_training.evaluation.text import percent
from fer_training.reporting.paper.cells import Reading, Source
from fer_training.reporting.paper.folder import NotMeasured
from fer_training.reporting.paper.measurements import OTHERS, VARIANTS
from fer_training.training.pruning.comparison import CriteriaResult

Metric = Literal["accuracy", "macro_f1", "auroc", "mean_recall"]
TITLES = {
    "ferplus": "FER+",
    "fer2013": "FER2013",
    "manifest": "wildfaces",
    "camera/ferplus": "FER+ by camera",
    "camera/manifest": "wildfaces by camera",
}
MAP = "grad_cam_last"  # which every network has


def metric_of(evaluation: EvaluationResult, dataset: str, metric: Metric) -> Reading:
    """One metric of an evaluation on one dataset.

    :raises NotMeasured: it was not evaluated on that.
    """
    found = evaluation.datasets.get(dataset)
    if found is None:
        raise NotMeasured(f"the evaluation of `{escape(evaluation.model)}` lacks {dataset}")
    value = mean_recall(found) if metric == "mean_recall" else getattr(found, metric)
    if value is None:
        raise NotMeasured(f"{metric} is not defined there")
    return Reading(value, _on(dataset, evaluation, found), found.intervals.get(metric))


def domain(variant: str, metric: Metric, dataset: str) -> Source:
    """A variant's metric in a domain that is at hand."""
    return Source((f"domains_{variant}",), lambda evaluation: metric_of(evaluation, dataset, metric))


def elsewhere(key: str, variant: str, metric: Metric) -> Source:
    """A variant's metric on data that not everyone has; over several datasets the mean by image."""

    def read(evaluation: EvaluationResult) -> Reading:
        readings = [metric_of(evaluation, name, metric) for name in evaluation.datasets]
        sizes = [found.n for found in evaluation.datasets.values()]
        mean = sum(size * reading.value for size, reading in zip(sizes, readings, strict=True)) / sum(sizes)
        only = readings[0] if len(readings) == 1 else None
        on = only.on if only else f"{len(readings)} parts, {sum(sizes):,} images"
        return Reading(mean, on, only.interval if only else None)

    return Source((f"{key}_{variant}",), read)


def difference(before: str, after: str, metric: Metric, dataset: str) -> Source:
    """The second variant's metric less the first one's."""

    def read(old: EvaluationResult, new: EvaluationResult) -> Reading:
        was, now = (metric_of(evaluation, dataset, metric) for evaluation in (old, new))
        texts = (percent(reading.value, reading.interval, 1) for reading in (now, was))
        return Reading(now.value - was.value, now.on, remark=" after ".join(texts))

    return Source((f"domains_{before}", f"domains_{after}"), read)


def retained(before: str, after: str, dataset: str) -> Source:
    """The second variant's accuracy as a fraction of the first one's."""

    def read(old: EvaluationResult, new: EvaluationResult) -> Reading:
        was, now = (metric_of(evaluation, dataset, "accuracy") for evaluation in (old, new))
        return Reading(now.value / was.value, now.on, remark=f"{percent(now.value)} of {percent(was.value)}")

    return Source((f"domains_{before}", f"domains_{after}"), read)


def _on(dataset: str, evaluation: EvaluationResult, found: DatasetResult) -> str:
    return f"{escape(TITLES.get(dataset, dataset))} {evaluation.split}, {found.n:,} images"


def engine_of(run: EnginesResult, bundle: str, precision: str = "fp32") -> EngineSpeed:
    """One engine of a run.

    :raises NotMeasured: the run lacks it.
    """
    for engine in run.engines:
        if (engine.name, engine.precision) == (bundle, precision):
            return engine
    raise NotMeasured(f"of `{bundle}` in {precision} no speed was measured")


Cost = Literal["fps", "ms", "joules", "grams", "ratio", "cpu"]


def cost(variant: str, kind: Cost, run: str = "engines") -> Source:
    """What one inference of a variant costs, one face at a time.

    ``ratio``: of its images a second to the Baseline's in the same round; ``cpu``: of its CPU time to the Baseline's.
    """
    bundle, precision = (VARIANTS | OTHERS)[variant][1:]

    def read(result: EnginesResult) -> Reading:
        speed, first = engine_of(result, bundle, precision).batch_1, engine_of(result, "baseline").batch_1
        if kind in ("joules", "grams") and speed.joules is None:
            raise NotMeasured(f"{escape(result.energy.reason or 'the sensor failed')}, on {escape(result.machine)}")
        if kind == "grams" and speed.g_co2e_per_1000 is None:
            raise NotMeasured("the electricity's carbon intensity was not given (`--grid-intensity`)")
        values = {
            "fps": speed.faces_per_s,
            "ms": speed.p50_ms,
            "joules": speed.joules or 0.0,
            "grams": (speed.g_co2e_per_1000 or 0.0) / 1000,
            "ratio": speed.speed_ratio / first.speed_ratio,
            "cpu": speed.cpu_ms / first.cpu_ms,
        }
        return Reading(values[kind], escape(result.machine))

    return Source((run,), read)


def efficiency(variant: str) -> Source:
    """A variant's images a second over those of the fastest variant in the run."""
    bundle, precision = VARIANTS[variant][1:]

    def read(run: EnginesResult) -> Reading:
        known = {(other.bundle, other.precision) for other in VARIANTS.values()}
        ratios = [engine.batch_1.speed_ratio for engine in run.engines if (engine.name, engine.precision) in known]
        ours = engine_of(run, bundle, precision).batch_1.speed_ratio
        return Reading(ours / max(ratios), escape(run.machine))

    return Source(("engines",), read)


def macs(variant: str, scale: float = 1.0) -> Source:
    """A variant's multiply-accumulate operations over the Baseline's, times ``scale``."""
    bundle, precision = VARIANTS[variant][1:]

    def read(run: EnginesResult) -> Reading:
        ours, first = engine_of(run, bundle, precision).macs, engine_of(run, "baseline").macs
        return Reading(scale * ours / first, "any machine", remark=f"{ours / 1e6:.1f} M of {first / 1e6:.1f} M MACs")

    return Source(("engines",), read)


def latency(variant: str, scale: float) -> Source:
    """A variant's latency over the Baseline's, times ``scale``."""
    ratio = cost(variant, "ratio")

    def read(run: EnginesResult) -> Reading:
        found = ratio.read(run)
        return found._replace(value=scale / found.value)

    return Source(ratio.names, read)


def faster_than_light_fer(run: EnginesResult) -> Reading:
    """The quantized variant's images a second over those of Light-FER's network."""
    ours, theirs = (engine_of(run, name, "int8").batch_1 for name in ("quantized", "light_fer"))
    remark = f"{ours.p50_ms:.2f} against {theirs.p50_ms:.2f} ms, both INT8"
    return Reading(ours.speed_ratio / theirs.speed_ratio, escape(run.machine), remark=remark)


def score_of(stress: StressResult, variant: str, corruption: str) -> Score:
    """A variant's scores under a corruption or a family of them; ``clean``: none.

    :raises NotMeasured: it was not measured.
    """
    scores = stress.clean if corruption == "clean" else (stress.corruptions | stress.families).get(corruption, {})
    found = scores.get(VARIANTS[variant].bundle)
    if found is None:
        raise NotMeasured(f"`stress.json` has no `{variant}` under {corruption}")
    return found


def stressed(variant: str, corruption: str) -> Source:
    """A variant's accuracy under a corruption: the mean over its five severities."""

    def read(stress: StressResult) -> Reading:
        found, clean = (score_of(stress, variant, name) for name in (corruption, "clean"))
        on = f"{escape(TITLES.get(stress.dataset, stress.dataset))} {stress.split}, {stress.n:,} images"
        return Reading(found.accuracy, on, remark=f"{percent(clean.accuracy, digits=1)} without")

    return Source(("stress",), read)


def loss_ratio(corruption: str) -> Source:
    """What Dual-Adaptive loses under a corruption, over what the Baseline loses."""

    def read(stress: StressResult) -> Reading:
        losses = [
            score_of(stress, variant, "clean").accuracy - score_of(stress, variant, corruption).accuracy
            for variant in ("dual_adaptive", "baseline")
        ]
        if losses[1] <= 0:
            raise NotMeasured(f"the Baseline loses nothing under {corruption}")
        remark = f"{losses[0] * 100:.1f} points, the Baseline {losses[1] * 100:.1f}"
        return Reading(losses[0] / losses[1], f"{stress.n:,} images", remark=remark)

    return Source(("stress",), read)


def mean_stressed(variant: str) -> Source:
    """A variant's mean accuracy under all corruptions but the combined one: 1 less its mean error."""
    return stressed(variant, ALL)


def looking_at_landmarks(variant: str) -> Source:
    """The fraction of Grad-CAM on eyes, brows and mouth."""

    def read(found: Explanation) -> Reading:
        fraction = _map(found, variant).fraction
        if fraction.mean is None:
            raise NotMeasured(f"`attention_{variant}.json` has no map that is not empty")
        remark = f"a uniform map has {percent(found.reference, digits=1)}"
        return Reading(fraction.mean, f"{fraction.n:,} images", fraction.interval, remark)

    return Source((f"attention_{variant}",), read)


def deletion(variant: str, control: str = "random") -> Source:
    """How much smaller the area under Grad-CAM's deletion curve is than a control's, as a fraction of that.

    1: the emotion is gone at once; 0: no better than the control.
    """

    def read(found: Explanation) -> Reading:
        checked = _map(found, variant)
        gain = checked.gain[control].deletion.mean if control in checked.gain else None
        if gain is None or checked.deletion.mean is None or checked.deletion.mean + gain <= 0:
            raise NotMeasured(f"`attention_{variant}.json` lacks the deletion test against {control} maps")
        return Reading(gain / (checked.deletion.mean + gain), f"{checked.deletion.n:,} images")

    return Source((f"attention_{variant}",), read)


def _map(found: Explanation, variant: str) -> MapCheck:
    checked = found.checks.maps.get(MAP) if found.checks else None
    if checked is None:
        raise NotMeasured(f"`attention_{variant}.json` has no checks of the map {MAP}")
    return checked


def largest_gap(variant: str) -> Source:
    """The largest gap in accuracy between the groups of any column."""

    def read(result: FairnessResult) -> Reading:
        gaps = {name: found.gaps["accuracy"] for name, found in result.columns.items() if "accuracy" in found.gaps}
        if not gaps:
            raise NotMeasured(f"`groups_{variant}.json` has no two groups with enough images")
        column = max(gaps, key=lambda name: gaps[name].difference)
        gap = gaps[column]
        on = f"wildfaces {result.split}, {result.n:,} images"
        remark = f"{escape(column)}: {escape(gap.best)} better than {escape(gap.worst)}"
        return Reading(gap.difference, on, gap.interval, remark)

    return Source((f"groups_{variant}",), read)


def named(variant: str, features: str = "distribution") -> Source:
    """Persons named rightly by the better of two attackers from what is published."""

    def read(result: IdentityResult) -> Reading:
        entry = result.identified[features]
        best = max((entry.nearest_neighbour, entry.linear_probe), key=lambda attacker: attacker.fraction)
        remark = f"chance {percent(max(result.chance.most_frequent, result.chance.uniform))}"
        return Reading(best.fraction, f"{result.persons:,} persons", best.interval, remark)

    return Source((f"identity_{variant}",), read)


def less_from_one(source: Source) -> Source:
    """1 less another figure."""

    def read(*found: Any) -> Reading:
        reading = source.read(*found)
        ends = reading.interval and (1 - reading.interval[1], 1 - reading.interval[0])
        return reading._replace(value=1 - reading.value, interval=ends)

    return Source(source.names, read)


def criterion(result: CriteriaResult) -> Reading:
    """Accuracy after pruning by landmarks less that after pruning by magnitude."""
    found = {row.criterion: row for row in result.criteria}
    if not {"landmark", "magnitude"} <= set(found):
        raise NotMeasured("`criteria.json` lacks landmark or magnitude")
    ours, other = found["landmark"], found["magnitude"]
    remark = (
        f"{percent(ours.accuracy, digits=1)} against {percent(other.accuracy, digits=1)}, at "
        f"{percent(ours.macs_fraction, digits=0)} of the MACs"
    )
    return Reading(ours.accuracy - other.accuracy, "validation split", remark=remark)


def abstention(evaluation: EvaluationResult) -> Reading:
    """Accuracy of the surest 80% of the predictions on FER+ less that of all."""
    found = evaluation.datasets.get("ferplus")
    if found is None or found.risk_coverage is None:
        raise NotMeasured("the evaluation lacks risk and coverage on FER+")
    at_80 = found.risk_coverage.at_80
    remark = f"accuracy {percent(at_80.accuracy, digits=1)} of these"
    return Reading(at_80.gain, _on("ferplus", evaluation, found), at_80.intervals["gain"], remark)


def overhead(result: OverheadResult) -> Reading:
    """The median latency with quality gate and audit log over that without, less 1."""
    low, high = result.interval
    remark = f"{result.with_ms:.2f} after {result.without_ms:.2f} ms; {escape(result.machine)}"
    return Reading(result.ratio - 1, f"{result.images:,} images", (low - 1, high - 1), remark)


def live(run: LiveResult) -> Reading:
    """Images a second of a live graph."""
    if "keypoints" not in run.modes:
        raise NotMeasured("`live.json` lacks the face mode keypoints")
    mode = run.modes["keypoints"]
    at_30 = mode.rates.get("30")
    remark = f"at 30 Hz {at_30.p50_ms:.1f} ms end to end (median)" if at_30 and at_30.p50_ms else ""
    return Reading(mode.peak_fps, escape(run.machine), remark=remark)


OverTime = Literal["detected", "seconds", "flicker", "accuracy"]


def over_time(key: str, variant: str, what: OverTime, kind: Kind) -> Source:
    """What ``replay`` measured of a variant's predictions, single or smoothed.

    ``detected``: the fraction of the changes of expression that was predicted; ``seconds``: the median time until then;
    ``flicker``: changes of the label per minute; ``accuracy``: of the labelled images.
    """

    def read(report: ReplayReport) -> Reading:
        truth, images = report.all.truth, f"{report.all.frames:,} images"
        if what == "flicker":
            return Reading(_known(report.all.flicker_per_minute[kind], what), images)
        if truth is None:
            raise NotMeasured("there are no labels")
        found = getattr(truth, kind)
        changes = f"{found.detection.changes} change{'s' * (found.detection.changes != 1)} of expression"
        if what == "detected":
            return Reading(_known(found.detection.detected, what), changes)
        if what == "seconds":
            return Reading(_known(found.detection.median_s, what), changes)
        metrics = _known(found.frames, what)
        return Reading(metrics.accuracy, f"{metrics.n:,} images", metrics.intervals.get("accuracy"))

    return Source((f"{key}_{variant}",), read)


def _known(value: Any, what: str) -> Any:
    if value is None:
        raise NotMeasured(f"{what} is not defined there")
    return value
