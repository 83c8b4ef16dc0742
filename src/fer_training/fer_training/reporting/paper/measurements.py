"""The measurements that the paper's claims are compared with: each is a JSON file that one command writes.

Beside ``NAME.json`` lies ``NAME.sha256``, by ``sha256sum``, of the weights that were measured. So figures of weights
that were replaced since are found out, also after a clone, in which all files are equally new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fer_perception.evaluation.results import ResultFile
from fer_perception.evaluation.speed import EnginesResult, LiveResult, OverheadResult
from fer_perception.models.shipped import DEFAULT_MODEL
from fer_training.evaluation.attention.results import Explanation
from fer_training.evaluation.evaluate import EvaluationResult
from fer_training.evaluation.fairness import FairnessResult
from fer_training.evaluation.identity import IdentityResult
from fer_training.evaluation.robustness.stress import StressResult
from fer_training.training.pruning.comparison import CriteriaResult

MODELS, CHECKPOINTS, RUNS = "src/fer_perception/models", "src/fer_training/checkpoints", "runs"
BASELINE, ROBUST, DEFAULT = "baseline", "hybrid_attention_lite0_robust", DEFAULT_MODEL
COMPRESSED, XCEPTION = "landmark_compressed", "xception"
WITH_ATTENTION, WITHOUT_ATTENTION = "hybrid_attention", "mobilenet_v2_long"
ADAPTED = "dual_adaptive"

# What the commands take from the shell, each with an example.
VARIABLES = {
    "FER2013": "fer2013:$HOME/data/fer2013",
    "WILDFACES": "$HOME/data/wildfaces",
    "SPLIT": "test",
}


@dataclass(frozen=True)
class Measurement:
    """How ``NAME.json`` comes to be, and what it holds.

    ``command``: for bash in the repository's root, with ``{json}`` for the file. ``weights``: what it measures, also
    patterns. ``made_by``: makes those weights that the repository does not have. ``expected``: what the result must
    say of itself, so that one model's figures are not taken for another's; of paths only the last part counts.
    """

    name: str
    what: str
    command: str
    weights: tuple[str, ...]
    result: type[ResultFile] = EvaluationResult
    made_by: str = ""
    expected: dict[str, str] = field(default_factory=dict)


def _bundle(name: str, precision: str = "fp32") -> str:
    return f"{MODELS}/{name}/{precision}.onnx"


def _run(name: str) -> str:
    return f"{RUNS}/{name}/best.safetensors"


def _evaluation(
    name: str,
    what: str,
    weights: str,
    *,
    data: str = '"$FER2013" --split "$SPLIT"',
    precision: str = "fp32",
    made_by: str = "",
) -> Measurement:
    folder = Path(weights).parent
    chosen = f" --precision {precision}" if precision != "fp32" else ""
    command = f"python -m fer_training evaluate --model {folder} --dataset {data}{chosen} --json {{json}}"
    expected = {"model": folder.name, "precision": precision}
    return Measurement(name, what, command, (weights,), made_by=made_by, expected=expected)


_TRAIN = 'python -m fer_training train src/fer_training/configs/{}.yaml data="$FER2013"'
_COMPRESS = (
    'python -m fer_training prune src/fer_training/configs/landmark_compressed.yaml data="$FER2013" '
    f"&& python -m fer_training export --run {RUNS}/{COMPRESSED} --out {MODELS}"
)
_QUANTIZE = f'python -m fer_training quantize --bundle {MODELS}/{COMPRESSED} --data "$FER2013"'
# Its speed does not depend on how well it was trained.
_XCEPTION = (
    f"{_TRAIN.format(XCEPTION)} epochs=1 steps_per_epoch=1 warmup_epochs=0 batch_size=16 "
    f"&& python -m fer_training export --run {RUNS}/{XCEPTION} --out {RUNS}/bundles"
)

MEASUREMENTS = (
    _evaluation(
        "baseline",
        "accuracy, calibration and abstention of the baseline",
        _bundle(BASELINE),
    ),
    _evaluation("robust", "the same of the robust model", _bundle(ROBUST)),
    _evaluation(
        "without_attention",
        "MobileNetV2, trained on",
        _run(WITHOUT_ATTENTION),
        made_by=_TRAIN.format(WITHOUT_ATTENTION),
    ),
    _evaluation(
        "with_attention",
        "MobileNetV2 with hybrid attention, trained on alike",
        _run(WITH_ATTENTION),
        made_by=_TRAIN.format(WITH_ATTENTION),
    ),
    _evaluation("compressed", "the robust model, pruned", _bundle(COMPRESSED), made_by=_COMPRESS),
    _evaluation(
        "quantized",
        "the robust model, pruned and quantized",
        _bundle(COMPRESSED, "int8"),
        precision="int8",
        made_by=_QUANTIZE,
    ),
    Measurement(
        "criteria",
        "criteria of pruning side by side",
        'python -m fer_training prune --compare src/fer_training/configs/landmark_compressed.yaml data="$FER2013" '
        f"name=criteria pruning.start={CHECKPOINTS}/{ROBUST} pruning.macs=0.5 epochs=1 steps_per_epoch=60 "
        f"learning_rate=0.01 warmup_epochs=0 && cp {RUNS}/criteria/criteria/criteria.json {{json}}",
        (f"{CHECKPOINTS}/{ROBUST}/best.safetensors",),
        CriteriaResult,
    ),
    _evaluation(
        "unadapted",
        "the default model in another domain",
        _bundle(DEFAULT),
        data='manifest:"$WILDFACES" --split test',
    ),
    _evaluation(
        "adapted",
        "the default model, adapted to that domain",
        _run(ADAPTED),
        data='manifest:"$WILDFACES" --split test',
        made_by="python -m fer_training adapt src/fer_training/configs/dual_adaptive.yaml "
        'data="ferplus:${FER2013#*:}" "adaptation.targets=[manifest:$WILDFACES]"',
    ),
    Measurement(
        "engines",
        "latency, CPU time and energy of the networks",
        "python -m fer_perception benchmark engines --rounds 30 --json {json}",
        (f"{MODELS}/*/*.onnx",),
        EnginesResult,
    ),
    Measurement(
        "engines_xception",
        "the same against Light-FER's network",
        f"python -m fer_perception benchmark engines {RUNS}/bundles/{XCEPTION} {MODELS}/{COMPRESSED} --rounds 30 "
        "--json {json}",
        (f"{RUNS}/bundles/{XCEPTION}/fp32.onnx", _bundle(COMPRESSED, "int8")),
        EnginesResult,
        f"{_XCEPTION} && {_QUANTIZE}",
    ),
    Measurement(
        "live",
        "a live graph: latency, images a second, energy",
        f"python -m fer_perception benchmark --model {DEFAULT} --json {{json}}",
        (f"{MODELS}/{DEFAULT}/*.onnx",),
        LiveResult,
    ),
    Measurement(
        "stress",
        "accuracy under fourteen corruptions",
        f"python -m fer_training stress --baseline {MODELS}/{BASELINE} --model {MODELS}/{ROBUST} "
        '--dataset "$FER2013" --split "$SPLIT" --threads 2 --json {json}',
        (_bundle(BASELINE), _bundle(ROBUST)),
        StressResult,
    ),
    Measurement(
        "groups",
        "groups of images in another domain",
        "{ [ -d out/wildfaces_groups ] || "
        'python -m fer_training group --manifest "$WILDFACES" --out out/wildfaces_groups; } '
        f"&& python -m fer_training fairness --model {MODELS}/{ROBUST} --dataset manifest:out/wildfaces_groups "
        "--split adapt --columns photograph resolution --json {json}",
        (_bundle(ROBUST),),
        FairnessResult,
        expected={"model": ROBUST},
    ),
    Measurement(
        "attention",
        "where the robust model looks, and whether that can be believed",
        f'python -m fer_training explain --run {CHECKPOINTS}/{ROBUST} --dataset "$FER2013" --split "$SPLIT" '
        "--out out/attention && cp out/attention/*.json {json}",
        (f"{CHECKPOINTS}/{ROBUST}/best.safetensors",),
        Explanation,
        expected={"run": ROBUST},
    ),
    Measurement(
        "identity",
        "who is recognised from what is published",
        f'python -m fer_training identify --bundle {MODELS}/{ROBUST} --manifest "$WILDFACES" --json {{json}}',
        (_bundle(ROBUST),),
        IdentityResult,
        expected={"model": ROBUST},
    ),
    Measurement(
        "overhead",
        "what quality gate and audit log cost",
        f"python -m fer_perception benchmark overhead --model {MODELS}/{BASELINE} --precision fp32 --threads 1 "
        "--json {json}",
        (_bundle(BASELINE),),
        OverheadResult,
    ),
)
