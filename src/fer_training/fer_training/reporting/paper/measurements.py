"""The measurements that the paper's claims are compared with: each is a JSON file that one command writes.

Beside ``NAME.json`` lies ``NAME.sha256``, by ``sha256sum``, of the weights that were measured. So figures of weights
that were replaced since are found out, also after a clone, in which all files are equally new.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_perception.errors import FerError

Json = Any

MODELS, CHECKPOINTS, RUNS = "src/fer_perception/models", "src/fer_training/checkpoints", "runs"
BASELINE, FLAGSHIP = "baseline", "hybrid_attention_lite0_robust"
COMPRESSED, XCEPTION = "landmark_compressed", "xception"
WITH_ATTENTION, WITHOUT_ATTENTION = "hybrid_attention", "mobilenet_v2_long"
TWIN, ADAPTED = "hybrid_attention_lite0_ferplus", "dual_adaptive"

# What the commands take from the shell, each with an example.
VARIABLES = {
    "FER2013": "fer2013:$HOME/data/fer2013",
    "WILDFACES": "$HOME/data/wildfaces",
    "SPLIT": "test",
}


class NotMeasured(Exception):  # noqa: N818 - no error: a part of the report
    """There is no figure; the message says why, and is part of the report."""


@dataclass(frozen=True)
class Measurement:
    """How ``NAME.json`` comes to be.

    ``command``: for bash in the repository's root, with ``{json}`` for the file. ``weights``: what it measures, also
    patterns. ``made_by``: makes those weights that the repository does not have. ``expected``: what the JSON must say
    of itself, so that one model's figures are not taken for another's; of paths only the last part counts.
    """

    name: str
    what: str
    command: str
    weights: tuple[str, ...]
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
    options: str = "",
    precision: str = "fp32",
    made_by: str = "",
) -> Measurement:
    folder = Path(weights).parent
    chosen = f" --precision {precision}" if precision != "fp32" else ""
    command = f"python -m fer_training evaluate --model {folder} --dataset {data}{chosen}{options} --json {{json}}"
    return Measurement(name, what, command, (weights,), made_by, {"model": folder.name, "precision": precision})


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
        options=" --risk-coverage",
    ),
    _evaluation("flagship", "the same of the flagship", _bundle(FLAGSHIP), options=" --risk-coverage"),
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
    _evaluation("compressed", "the flagship, pruned", _bundle(COMPRESSED), made_by=_COMPRESS),
    _evaluation(
        "quantized",
        "the flagship, pruned and quantized",
        _bundle(COMPRESSED, "int8"),
        precision="int8",
        made_by=_QUANTIZE,
    ),
    Measurement(
        "criteria",
        "criteria of pruning side by side",
        'python -m fer_training prune --compare src/fer_training/configs/landmark_compressed.yaml data="$FER2013" '
        f"name=criteria pruning.start={CHECKPOINTS}/{FLAGSHIP} pruning.macs=0.5 epochs=1 steps_per_epoch=60 "
        f"learning_rate=0.01 warmup_epochs=0 && cp {RUNS}/criteria/criteria/criteria.json {{json}}",
        (f"{CHECKPOINTS}/{FLAGSHIP}/best.safetensors",),
    ),
    _evaluation(
        "unadapted",
        "the flagship's twin in another domain",
        _bundle(TWIN),
        data='manifest:"$WILDFACES" --split test',
    ),
    _evaluation(
        "adapted",
        "the twin, adapted to that domain",
        _run(ADAPTED),
        data='manifest:"$WILDFACES" --split test',
        made_by="python -m fer_training adapt src/fer_training/configs/dual_adaptive.yaml "
        'data="ferplus:${FER2013#*:}" adaptation.target=manifest:"$WILDFACES"',
    ),
    Measurement(
        "engines",
        "latency, CPU time and energy of the networks",
        "python -m fer_perception benchmark --engines --rounds 30 --json {json}",
        (f"{MODELS}/*/*.onnx",),
    ),
    Measurement(
        "engines_xception",
        "the same against Light-FER's network",
        f"python -m fer_perception benchmark --engines {RUNS}/bundles/{XCEPTION} {MODELS}/{COMPRESSED} --rounds 30 "
        "--json {json}",
        (f"{RUNS}/bundles/{XCEPTION}/fp32.onnx", _bundle(COMPRESSED, "int8")),
        f"{_XCEPTION} && {_QUANTIZE}",
    ),
    Measurement(
        "live",
        "a live graph: latency, images a second, energy",
        f"python -m fer_perception benchmark --model {TWIN} --json {{json}}",
        (f"{MODELS}/{TWIN}/*.onnx",),
    ),
    Measurement(
        "stress",
        "accuracy under fourteen corruptions",
        f"python -m fer_training evaluate --model {MODELS}/{BASELINE} --model {MODELS}/{FLAGSHIP} "
        '--dataset "$FER2013" --split "$SPLIT" --stress --threads 2 --json {json}',
        (_bundle(BASELINE), _bundle(FLAGSHIP)),
    ),
    Measurement(
        "groups",
        "groups of pictures in another domain",
        "{ [ -d out/wildfaces_groups ] || "
        'python scripts/group_photographs.py "$WILDFACES" --out out/wildfaces_groups; } '
        f"&& python -m fer_training evaluate --model {MODELS}/{FLAGSHIP} --dataset manifest:out/wildfaces_groups "
        "--split adapt --groups photograph resolution --json {json}",
        (_bundle(FLAGSHIP),),
        expected={"model": FLAGSHIP},
    ),
    _evaluation(
        "attention",
        "where the flagship looks, and whether that can be believed",
        f"{CHECKPOINTS}/{FLAGSHIP}/best.safetensors",
        options=" --attention out/attention",
    ),
    Measurement(
        "identity",
        "who is recognised from what is published",
        f'python scripts/measure_identity.py --model {MODELS}/{FLAGSHIP} --pictures "$WILDFACES" --json {{json}}',
        (_bundle(FLAGSHIP),),
        expected={"model": FLAGSHIP},
    ),
    Measurement(
        "overhead",
        "what quality gate and audit log cost",
        f"python scripts/measure_overhead.py --model {MODELS}/{BASELINE} > {{json}}",
        (_bundle(BASELINE),),
    ),
)


class Folder:
    """The folder of the JSON files; ``root`` is what the weights' paths are relative to.

    :raises FerError: there is no such folder.
    """

    def __init__(self, folder: Path, root: Path = Path()) -> None:
        if not folder.is_dir():
            raise FerError(f"{folder}: is no folder. Make it, and fill it with what report --commands prints")
        self.folder, self.root = folder, root

    def read(self, measurement: Measurement) -> Json:
        """The contents of a measurement's file.

        :raises NotMeasured: it is absent, damaged, of another model, or of weights that were replaced since.
        """
        file = self.folder / f"{measurement.name}.json"
        if not file.exists():
            absent = [f"`{name}`" for name in self._absent(measurement)]
            raise NotMeasured(
                f"there is no `{file.name}`" + (f", nor the weights {', '.join(absent)}" if absent else "")
            )
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise NotMeasured(f"`{file.name}` is not JSON ({error})") from error
        for key, wanted in measurement.expected.items():
            found = data.get(key) if isinstance(data, dict) else None
            if not isinstance(found, str) or Path(found).name != wanted:
                raise NotMeasured(f"`{file.name}` is not of the {key} `{wanted}`")
        for name, digest in self._digests(measurement).items():
            if (self.root / name).exists() and digest != _sha256(self.root / name):
                raise NotMeasured(f"`{file.name}` is of an earlier `{name}`")
        return data

    def is_recorded(self, measurement: Measurement) -> bool:
        """Whether it is known of which weights the measurement is."""
        digests = self._digests(measurement)
        present = {
            file.relative_to(self.root).as_posix()
            for pattern in measurement.weights
            for file in self.root.glob(pattern)
        }
        return present <= set(digests) and all(fnmatch.filter(digests, pattern) for pattern in measurement.weights)

    def command(self, measurement: Measurement, folder: str = "") -> str:
        """What measures it, as one line of bash; ``folder``: written instead of the folder's own path."""
        where = folder or shlex.quote(str(self.folder))
        text = measurement.command.replace("{json}", f"{where}/{measurement.name}.json")
        return f"{text} && sha256sum {' '.join(measurement.weights)} > {where}/{measurement.name}.sha256"

    def script(self) -> str:
        """A bash script of what is missing, damaged or of other weights; one failure stops no other measurement."""
        lines = [
            "# Measurements that are missing, or of other weights. Run this in the repository's root.",
            *(f': "${{{name}:?set it, for example {name}={example}}}"' for name, example in VARIABLES.items()),
        ]
        for measurement in MEASUREMENTS:
            if self._is_fresh(measurement):
                continue
            absent = self._absent(measurement)
            lines += ["", f"# {measurement.name}: {measurement.what}"]
            if absent:
                lines += [f"# needs {', '.join(absent)}. Run this, then print the commands again:"]
                lines += [f"# {measurement.made_by}" if measurement.made_by else "# restore it from git"]
            else:
                lines += [self.command(measurement)]
        return "\n".join([*lines, ""])

    def _is_fresh(self, measurement: Measurement) -> bool:
        try:
            self.read(measurement)
        except NotMeasured:
            return False
        return self.is_recorded(measurement)

    def _absent(self, measurement: Measurement) -> list[str]:
        return [pattern for pattern in measurement.weights if not any(self.root.glob(pattern))]

    def _digests(self, measurement: Measurement) -> dict[str, str]:
        """SHA-256 by path, of what was measured; empty where it was not recorded."""
        file = self.folder / f"{measurement.name}.sha256"
        if not file.exists():
            return {}
        pairs = [line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines()]
        return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
