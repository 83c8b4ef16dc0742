"""The verb ``interpolate``: between the weights of two runs, of which one started from the other, or both from a third.

Wortsman et al., *Robust fine-tuning of zero-shot models* (CVPR 2022), arXiv:2109.01903: a network that was trained on
for another kind of image keeps most of what it learnt, and loses little of what it knew. The same holds between two
that were trained on from one network (*Model soups*, ICML 2022, arXiv:2203.05482); if they learnt different label sets,
the new one has both.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fer_perception.errors import FerError
from fer_training.datasets import Alignment, dataset_name, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import prepare_images
from fer_training.runs.checkpoint import load_checkpoint, load_weights, save_checkpoint
from fer_training.runs.config import load_config, save_config
from fer_training.runs.folder import BEST, CONFIG, FREQUENCIES, build_network, heads, outputs, require_labels
from fer_training.training.supervised import validation

CLASSIFIER = "classifier."

log = logging.getLogger(__name__)


def interpolate(start: Path, tuned: Path, fraction: float, data: str, out: Path) -> Path:
    """Write a run, and measure it on the validation split; returns its folder.

    Batch normalisation's statistics are interpolated like the weights.

    :param start: run folder.
    :param tuned: run folder of the same network, trained on from ``start``, or from the same run as that.
    :param fraction: of ``tuned``'s weights, 0..1.
    :param data: NAME:PATH of the runs' data; of runs with different label sets, ``tuned``'s first: A+B:PATH.
    :param out: the new run's folder; its name becomes the network's.
    :raises FerError: a run cannot be read, the two do not fit, or ``out`` exists.
    """
    if not 0 <= fraction <= 1:
        raise FerError(f"fraction {fraction:g}: must lie between 0 ({start}) and 1 ({tuned})")
    if out.exists():
        raise FerError(f"{out}: exists. Choose another --out, or delete it")
    (groups, facts), (groups_before, facts_before) = (load_checkpoint(run / BEST) for run in (tuned, start))
    weights, before = groups["network"], groups_before["network"]
    config = replace(load_config(tuned / CONFIG), name=out.name, out=str(out.parent), data=data)
    sets, sets_before = _label_sets(tuned, facts), _label_sets(start, facts_before)
    mixed = {}
    if sets != sets_before:
        if shared := sets.keys() & sets_before.keys():
            raise FerError(f"{start}, {tuned}: both have learnt {', '.join(shared)}, and one of them more than that")
        own = {name for name in weights if name.startswith(CLASSIFIER)}
        mixed = {name: torch.cat([weights[name], before[name]]) for name in own}
        weights, before = ({n: w for n, w in each.items() if n not in own} for each in (weights, before))
        facts |= {"labels": [*next(iter(sets.values()))], "heads": {**sets, **sets_before}}
        if FREQUENCIES in facts and FREQUENCIES in facts_before:
            facts[FREQUENCIES] = [*facts[FREQUENCIES], *facts_before[FREQUENCIES]]
    if {name: w.shape for name, w in weights.items()} != {name: w.shape for name, w in before.items()}:
        raise FerError(f"{start}, {tuned}: are different networks. Give a run, and one that was trained on from it")
    mixed |= {name: _between(before[name], tensor, fraction) for name, tensor in weights.items()}
    facts["interpolation"] = {"start": load_config(start / CONFIG).name, "tuned": tuned.name, "fraction": fraction}
    network = build_network(config, outputs(heads(facts)))
    load_weights(network, mixed, tuned / BEST)

    spec = config.input.spec()
    samples = load_dataset(data, "val", Alignment(FER2013_TEMPLATE, spec))
    require_labels(tuned, facts, data, samples.heads)
    measured, found = validation(network, samples, prepare_images(samples, spec), spec, "cpu")
    facts |= found
    log.info("validation: %s", ", ".join(f"{name} {value:.4f}" for name, value in measured.items()))
    out.mkdir(parents=True)
    save_config(config, out / CONFIG)
    save_checkpoint(out / BEST, {"network": mixed}, facts)
    return out


def _label_sets(run: Path, facts: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """As :func:`heads`, a single set under its dataset's name, too."""
    found = heads(facts)
    return found if "" not in found else {dataset_name(load_config(run / CONFIG).data): found[""]}


def _between(start: Tensor, tuned: Tensor, fraction: float) -> Tensor:
    return torch.lerp(start, tuned, fraction) if tuned.is_floating_point() else tuned  # else counts of batches
