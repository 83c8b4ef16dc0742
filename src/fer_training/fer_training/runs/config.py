"""The configuration of a training run: a YAML file, overridable from the command line as ``key=value``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer_perception.errors import FerError
from fer_perception.files import yaml_text
from fer_perception.preprocessing.normalization import InputSpec


@dataclass
class NetworkConfig:
    """``name`` is a key of ``fer_training.networks.NETWORKS``, ``options`` are its keyword arguments."""

    name: str = "mobilenet_v2"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class InputConfig:
    """See :class:`fer_perception.preprocessing.normalization.InputSpec`."""

    width: int = 48
    height: int = 48
    color: str = "grey"
    mean: list[float] = field(default_factory=lambda: [0.5])
    std: list[float] = field(default_factory=lambda: [0.25])

    def spec(self) -> InputSpec:
        """As the checked type that fer_perception uses."""
        try:
            return InputSpec.model_validate(vars(self))
        except ValueError as error:
            raise FerError(f"configuration, input: {error}") from error


@dataclass
class AugmentationConfig:
    """Strengths of the random changes to training images; 0 switches one off."""

    flip: bool = True
    rotation_deg: float = 15.0
    translation: float = 0.1  # fraction of width and height
    scale: float = 0.15  # sizes from 1 - scale to 1 + scale
    brightness: float = 0.3  # in standard deviations of the pixels
    contrast: float = 0.3  # factors from 1 - contrast to 1 + contrast
    erasing_probability: float = 0.3
    exposure_stops: float = 0.0  # in half of the images, so many stops less to so many more light
    noise: float = 0.0  # in the same half, its largest standard deviation, as a fraction of white
    blur: float = 0.0  # in half of the images, its largest standard deviation, in pixels
    camera_views: int = 0  # so many draws of each image by the camera model, of which half of the images are taken
    mixup: float = 0.0  # alpha of mixup (Zhang et al., 2018): proportions are drawn from Beta(alpha, alpha)


@dataclass
class DistillationConfig:
    """See :mod:`fer_training.training.distillation`."""

    soft_targets: str = ""  # file of the verb soft_targets; empty: no distillation
    unlabelled: list[str] = field(default_factory=list)  # NAME:PATH each: images that the verb prune's teacher labels
    weight: float = 0.7  # of the teachers in the loss, the labels have the rest
    temperature: float = 2.0


@dataclass
class AdaptationConfig:
    """See :mod:`fer_training.training.domain_adaptation`. Its strong random changes are ``augmentation``'s."""

    targets: list[str] = field(default_factory=list)  # NAME:PATH each, see load_unlabelled; empty: no adaptation
    start: str = ""  # the run (its folder) that is adapted
    adversarial_weight: float = 0.1  # of both domain classifiers in the loss
    pseudo_label_weight: float = 1.0
    style: float = 0.5  # so many of the source's images take the contrast and sharpness of target images
    threshold_decay: float = 0.99  # per step, of the averages that the pseudo-labels' thresholds follow


SAMPLINGS = ("reweighing", "balanced")


@dataclass
class SamplingConfig:
    """See :mod:`fer_training.training.sampling`."""

    group: str = ""  # a group column of the data, across which training is to be fair
    method: str = "reweighing"  # one of SAMPLINGS
    label_balance: float = 0.0  # without a group; 0: labels as often as they are; 1: all equally often


CRITERIA = ("landmark", "taylor", "magnitude", "random")


@dataclass
class PruningConfig:
    """See :mod:`fer_training.training.pruning`.

    Weight and temperature of the unpruned network's predictions: ``distillation``.
    """

    start: str = ""  # the run (its folder) that is pruned; empty: no pruning
    macs: float = 0.5  # fraction of its multiply-accumulate operations that is left
    criterion: str = "landmark"  # one of CRITERIA
    guidance: float = 3.0  # of landmark: power of how selectively a channel responds to eyes, brows and mouth
    images: int = 1024  # of the training split, by which channels are judged
    round_to: int = 8  # channels
    steps: int = 3  # of pruning, each with fine-tuning
    step_epochs: int = 2  # of fine-tuning after each step but the last, which has ``epochs``


@dataclass
class TrainConfig:
    """Everything that determines a training run; a run is reproducible from it on one machine."""

    name: str = MISSING
    data: str = MISSING  # NAME:PATH
    out: str = "runs"  # the run's folder is OUT/NAME
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    input: InputConfig = field(default_factory=InputConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    epochs: int = 20
    steps_per_epoch: int = 0  # 0: as many as show every training image once
    batch_size: int = 128
    learning_rate: float = 0.1  # peak, of SGD with Nesterov momentum
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 1  # linear; then half a cosine to zero
    label_smoothing: float = 0.1
    logit_adjustment: float = 0.0  # strength of the labels' frequencies in the loss; 1: balanced predictions
    ema_decay: float = 0.998  # per step, of the weights that are evaluated and exported
    pretrained: str = ""  # safetensors that the network starts with, its classifier only if the labels are the same
    frozen_stages: int = 0  # so many of the network's first stages keep the weights they start with
    attention_weight: float = 0.0  # of the loss that draws attention maps to eyes, brows and mouth
    head_separation: float = 0.0  # of the loss that keeps ddamfn's attention heads apart
    mixed_precision: bool = True  # bfloat16 in the forward pass, where the device computes in it
    device: str = "cpu"
    threads: int = 0  # 0: all cores

    @property
    def run_folder(self) -> Path:
        """Where the run's files lie."""
        return Path(self.out).expanduser() / self.name


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _fraction(value: float) -> bool:
    return 0 <= value < 1


POSSIBLE: dict[str, Callable[[Any], bool]] = {
    "name": lambda name: re.fullmatch(r"[\w.-]+", name) is not None,
    "epochs": _positive,
    "batch_size": lambda size: size > 1,  # batch normalisation needs two
    "learning_rate": _positive,
    "momentum": lambda momentum: 0 < momentum < 1,  # Nesterov's needs some
    "weight_decay": lambda decay: 0 <= decay < math.inf,
    "warmup_epochs": lambda epochs: epochs >= 0,
    "label_smoothing": _fraction,
    "logit_adjustment": lambda strength: 0 <= strength < math.inf,
    "augmentation.camera_views": lambda views: views >= 0,
    "adaptation.style": lambda fraction: 0 <= fraction <= 1,
    "sampling.label_balance": lambda power: 0 <= power <= 1,
    "ema_decay": _fraction,
    "steps_per_epoch": lambda steps: steps >= 0,
    "adaptation.adversarial_weight": lambda weight: 0 <= weight < math.inf,
    "adaptation.pseudo_label_weight": lambda weight: 0 <= weight < math.inf,
    "adaptation.threshold_decay": _fraction,
    "pruning.macs": lambda fraction: 0 < fraction < 1,
    "pruning.criterion": lambda name: name in CRITERIA,
    "pruning.guidance": lambda power: 0 <= power < math.inf,
    "pruning.images": _positive,
    "pruning.round_to": _positive,
    "pruning.steps": _positive,
    "pruning.step_epochs": _positive,
    "sampling.method": lambda name: name in SAMPLINGS,
    "frozen_stages": lambda count: count >= 0,
    "threads": lambda threads: threads >= 0,
    "attention_weight": lambda weight: 0 <= weight < math.inf,
    "head_separation": lambda weight: 0 <= weight < math.inf,
    "augmentation.mixup": lambda alpha: 0 <= alpha < math.inf,
    "augmentation.exposure_stops": lambda stops: 0 <= stops < math.inf,
    "augmentation.blur": lambda deviation: 0 <= deviation <= 3,
    "augmentation.noise": lambda deviation: 0 <= deviation < math.inf,
    "distillation.weight": lambda weight: 0 <= weight <= 1,
    "distillation.temperature": _positive,
}


def load_config(file: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file and apply overrides such as ``epochs=3`` or ``network.options.width=0.5``.

    :raises FerError: unreadable file, unknown key, or a value of the wrong type.
    """
    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(TrainConfig), OmegaConf.load(file), OmegaConf.from_dotlist(list(overrides))
        )
        config = cast(TrainConfig, OmegaConf.to_object(merged))
    except OSError as error:
        raise FerError(f"{file}: cannot be read ({error}). Give the path of a training configuration") from error
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError) as error:
        raise FerError(
            f"{file}, overrides {list(overrides)}: {str(error).splitlines()[0]}. The keys are those of TrainConfig in "
            "fer_training/runs/config.py"
        ) from error
    for key, possible in POSSIBLE.items():
        value = attrgetter(key)(config)
        if not possible(value):
            raise FerError(f"{file}, overrides {list(overrides)}: {key} cannot be {value!r}")
    return config


def save_config(config: TrainConfig, file: Path) -> None:
    """Write a configuration as YAML that :func:`load_config` reads."""
    content = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    file.write_text(yaml_text(content), encoding="utf-8")
