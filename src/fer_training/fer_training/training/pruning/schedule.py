"""The verb ``prune``: remove channels of a trained network in steps, and train it again after each.

Each step is a run of its own: fine-tuning learns from labels and from the predictions of the unpruned network on the
same changed images (Hinton et al., 2015). The last step's run is the result; those of the steps before lie in its
folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fer_perception.errors import FerError
from fer_perception.preprocessing.normalization import InputSpec
from fer_training.datasets import balanced
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import normalized
from fer_training.export.onnx import count_macs
from fer_training.networks.landmark_regions import landmark_regions
from fer_training.networks.pruned import NAME, changed_widths, without_pruning
from fer_training.runs.checkpoint import load_checkpoint
from fer_training.runs.config import NetworkConfig, PruningConfig, SamplingConfig, TrainConfig, load_config
from fer_training.runs.folder import BEST, CONFIG, LAST, build_network, load_run, outputs, require_labels
from fer_training.training.batch_norm import BATCH_SIZE, estimate_statistics
from fer_training.training.loop import fit
from fer_training.training.pruning.graph import Macs, choose, find_groups
from fer_training.training.pruning.importance import criterion
from fer_training.training.supervised import LabelledImages, Supervision, prepared, validation

# Networks whose operators (mixed convolutions, self-attention) depend on numbers of channels.
UNPRUNABLE = ("ddamfn", "egt")

log = logging.getLogger(__name__)


class Start(NamedTuple):
    """The run that is pruned."""

    config: TrainConfig
    network: nn.Module
    facts: dict[str, Any]

    @classmethod
    def load(cls, config: TrainConfig) -> Start:
        """Load ``pruning.start``.

        :raises FerError: it cannot be read, or the configuration does not suit it.
        """
        if not config.pruning.start:
            raise FerError(f"{config.name}: pruning.start is missing")
        if config.network.name != NAME or config.network.options:
            raise FerError(f"{config.name}: network must be '{NAME}' without options, which prune takes from the start")
        if config.distillation.soft_targets:
            raise FerError(
                f"{config.name}: distillation.soft_targets must be empty, as the unpruned network is the teacher"
            )
        if config.distillation.unlabelled and (config.sampling != SamplingConfig() or config.augmentation.camera_views):
            raise FerError(
                f"{config.name}: has distillation.unlabelled beside sampling or augmentation.camera_views, which know "
                "labelled images alone. Leave out one of them"
            )
        folder = Path(config.pruning.start).expanduser()
        before = load_config(folder / CONFIG)
        if before.input != config.input:
            raise FerError(f"{config.name}: input differs from that of the start. Copy it from {folder / CONFIG}")
        if before.network.name in UNPRUNABLE:
            raise FerError(f"{config.name}: the channels of '{before.network.name}' cannot be removed one by one")
        return cls(before, *load_run(folder, before))


def prune(config: TrainConfig, on_epoch_end: Callable[[int], None] | None = None) -> Path:
    """Prune the run ``pruning.start``, or go on with that; returns the run's folder.

    Weights are selected by macro-F1 on the validation split; the test split is not read.

    :param on_epoch_end: see :func:`fer_training.training.loop.fit`; counts each step's epochs.
    :raises FerError: bad configuration or data, a target out of reach, or the folder holds a run of another
        configuration.
    """
    start = Start.load(config)
    with prepared(config) as group:
        if group.count > 1:
            raise FerError("prune: works in one process. Start it without torchrun")
        data = LabelledImages(config, group.device)
        require_labels(Path(config.pruning.start), start.facts, config.data, data.heads)
        teacher = deepcopy(start.network).to(group.device)
        steps = _steps(config)
        begun = [number for number, step in enumerate(steps) if (step.run_folder / LAST).exists()]
        for number in range(max(begun, default=0), len(steps)):
            step = steps[number]
            log.info("%s: step %d of %d", config.name, number + 1, len(steps))
            if number in begun:
                step = replace(step, network=load_config(step.run_folder / CONFIG).network)
                network = build_network(step, outputs(data.heads))  # fit loads its weights
                facts = load_checkpoint(step.run_folder / BEST)[1]["pruning"]
            else:
                network = deepcopy(start.network) if number == 0 else _load(steps[number - 1].run_folder)
                step, facts = _prune(step, start, network, data)
            task = Supervision(step, group, data, network, teacher)
            task.facts["pruning"] = facts
            fit(step, task, group, on_epoch_end)
    return config.run_folder


def _steps(config: TrainConfig) -> list[TrainConfig]:
    """The configuration of each step's run; the fraction of MACs that is left falls by the same factor each time."""
    settings = config.pruning
    steps = []
    for number in range(1, settings.steps):
        pruning = replace(settings, macs=settings.macs ** (number / settings.steps))
        folder = str(config.run_folder)
        steps.append(replace(config, name=f"step{number}", out=folder, epochs=settings.step_epochs, pruning=pruning))
    return [*steps, config]


def _load(run: Path) -> nn.Module:
    return load_run(run, load_config(run / CONFIG))[0]


def _prune(
    config: TrainConfig, start: Start, network: nn.Module, data: LabelledImages
) -> tuple[TrainConfig, dict[str, Any]]:
    """Prune a network, in place. Returns the configuration that rebuilds it, and facts for its checkpoint."""
    picked = balanced(data.samples.targets, config.pruning.images)
    images = normalized(data.images[picked].cpu(), data.spec)
    unpruned = count_macs(start.network, data.spec)
    torch.manual_seed(config.seed)
    sizes = [*map(len, data.heads.values())]
    remove_channels(network, config.pruning, data.spec, images, data.targets[picked].cpu(), sizes, unpruned)
    estimate_statistics(network, images.split(BATCH_SIZE))  # pruning has changed them
    name, options = without_pruning(start.config.network.name, start.config.network.options)
    original = build_network(replace(config, network=NetworkConfig(name, options)), sum(sizes))
    widths = changed_widths(network, original)
    _, before_tuning = validation(network, data.val_samples, data.val_images, data.spec, "cpu")
    facts = {
        "start": start.config.name,
        "criterion": config.pruning.criterion,
        "macs_fraction": count_macs(network, data.spec) / unpruned,
        "accuracy_of_start": start.facts["validation"]["accuracy"],
        "accuracy_before_fine_tuning": before_tuning["validation"]["accuracy"],
    }
    log.info("pruned: %s", facts)
    return replace(config, network=NetworkConfig(NAME, {"network": name, **options, "widths": widths})), facts


def remove_channels(
    network: nn.Module,
    settings: PruningConfig,
    spec: InputSpec,
    images: Tensor,
    targets: Tensor,
    sizes: Sequence[int],
    unpruned: int,
) -> None:
    """Remove the least important channels of a network on the CPU, in place.

    :param images: float32, (N, C, H, W), normalised and aligned: by what the network does with them and their labels
        ``targets``, float32 (N, labels of all sets), channels are judged; ``sizes``: how many labels each set has.
    :param unpruned: MACs of which ``settings.macs`` are left.
    :raises FerError: the target is out of reach.
    """
    network.eval()
    groups = find_groups(network, spec)
    regions = torch.from_numpy(landmark_regions(FER2013_TEMPLATE, spec.width, spec.height))[None, None]
    judge = criterion(settings, network, images, (targets, sizes), regions)
    scores = [judge(group.members) for group in groups]
    target = int(settings.macs * unpruned)
    for group, channels in zip(
        groups, choose(groups, scores, Macs(network, spec), target, settings.round_to), strict=True
    ):
        group.without(channels)
