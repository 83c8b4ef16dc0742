"""The verb ``soft_targets``: the predictions of an ensemble of networks, or the votes of people, on training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fer_perception.emotions.classifier import to_probabilities
from fer_perception.errors import FerError
from fer_perception.types import Float32Array
from fer_training.datasets import Samples, load_dataset
from fer_training.datasets.fer2013 import VOTES_FILE
from fer_training.datasets.ferplus import read_votes
from fer_training.evaluation.predictions import load_model, mirror, predict_crops
from fer_training.training.distillation import save_soft_targets


def soft_targets_of_models(models: Sequence[Path], data: str, out: Path, device: str = "cpu") -> None:
    """Write the mean of the models' probabilities, of image and mirror image, for ``distillation.soft_targets``.

    The models may differ in network and input. Each teaches those of the data's label sets that it knows.

    :param models: folders of runs or bundles.
    :param data: ``NAME:PATH``; of its training split.
    :raises FerError: a model or the data cannot be used, a model knows none of the label sets, or none knows one of
        them.
    """
    predictions: dict[str, list[Float32Array]] = {}
    for folder in models:
        alignment = load_model(folder).alignment
        samples = load_dataset(data, "train", alignment)
        known = 0
        for name, labels in samples.heads.items():
            model = load_model(folder, threads=0, labels_of=name, device=device)
            if model.labels != tuple(labels):
                continue
            known += 1
            for crops in (samples.images, mirror(samples.images)):
                logits = predict_crops(model, crops, f"{folder.name}, {name}")
                predictions.setdefault(name, []).append(to_probabilities(logits, model.temperature))
        if not known:
            raise FerError(f"{folder}: has other labels than {data}. Give the data that it was trained on")
    without = [name for name in samples.heads if name not in predictions]
    if without:
        raise FerError(f"{data}: no --model has the labels of {', '.join(without)}. Add one")
    means = [np.mean(predictions[name], axis=0) for name in samples.heads]
    save_soft_targets(out, samples, torch.from_numpy(np.hstack(means)), [folder.name for folder in models])


def soft_targets_of_annotators(data: str, out: Path) -> float:
    """Write what the ten annotators of FER+ tell about FER2013's training labels, for ``distillation.soft_targets``.

    FER2013 has one label per image, of which many are wrong or one of several that fit. FER+ holds ten other people's
    votes on the same images. A logistic regression, fitted to the training split, turns an image's votes into
    probabilities of FER2013's labels: what the votes leave open stays open (privileged information, Lopez-Paz et al.,
    2016, arXiv:1511.03643). The network never needs votes.

    :param data: ``fer2013:PATH`` of the folder that holds ``fer2013new.csv``, too.
    :return: the fraction of the validation split's labels that the votes give.
    :raises FerError: the data cannot be used.
    """
    from sklearn.linear_model import LogisticRegression

    name, _, path = data.partition(":")
    if name != "fer2013":
        raise FerError(f"--annotators: FER+ has votes on fer2013, not on '{name}'. Give --data fer2013:PATH")

    def votes(of: Samples) -> npt.NDArray[np.float64]:
        voted = [voted for voted in read_votes(Path(path).expanduser()) if voted.split == of.split]
        if [one.name for one in voted] != of.names:
            raise FerError(f"{data}: --annotators needs the CSV of FER2013 and {VOTES_FILE} of one release beside it")
        counts = np.stack([one.votes for one in voted])
        fractions = counts / counts.sum(axis=1, keepdims=True).clip(1)
        return np.hstack([fractions, fractions**2, np.sqrt(fractions)])

    samples, val_samples = load_dataset(data, "train"), load_dataset(data, "val")
    regression = LogisticRegression(max_iter=1000).fit(votes(samples), samples.targets)
    probabilities = np.zeros((len(samples), len(samples.labels)), np.float32)
    probabilities[:, regression.classes_] = regression.predict_proba(votes(samples))
    save_soft_targets(out, samples, torch.from_numpy(probabilities), ["annotators of FER+"])
    return float(regression.score(votes(val_samples), val_samples.targets))
