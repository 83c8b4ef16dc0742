"""The verb ``teach``: what an ensemble of trained networks says about the training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fer_perception.errors import FerError
from fer_training.config import load_config
from fer_training.datasets import Alignment, load_dataset
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.distillation import save_answers
from fer_training.train import CONFIG, load_run, predict, prepare_images


def teach(runs: Sequence[Path], data: str, out: Path) -> None:
    """Write the mean of the probabilities of all runs, of image and mirror image, for ``distillation.answers``.

    The teachers may differ in network and input; their labels must be those of the data.

    :param data: ``NAME:PATH``; of its training split.
    :raises FerError: a run or the data cannot be used, or their labels differ.
    """
    answers = []
    for run in runs:
        config = load_config(run / CONFIG)
        network, facts = load_run(run, config)
        spec = config.input.spec()
        samples = load_dataset(data, "train", Alignment(FER2013_TEMPLATE, spec))
        if tuple(facts["labels"]) != samples.labels:
            raise FerError(f"{run}: its labels are {facts['labels']}, those of {data} are {list(samples.labels)}")
        images = prepare_images(samples, spec)
        for views in (images, np.ascontiguousarray(images[:, :, ::-1])):
            answers.append(predict(network, views, spec))
    save_answers(out, samples, torch.from_numpy(np.mean(answers, axis=0)), [run.name for run in runs])
