"""A model's predictions on a dataset; the model is a bundle, as the robot serves it, or a training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_perception.emotions.class_prior import balancing_bias
from fer_perception.emotions.classifier import EmotionClassifier, to_probabilities
from fer_perception.errors import FerError
from fer_perception.models.bundle import MANIFEST, Precision
from fer_perception.preprocessing.normalization import prepare_crop
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import Alignment, Samples
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.runs.config import load_config

BATCH_SIZE = 64


class Model(NamedTuple):
    """A network to evaluate. ``logits`` takes N face crops to float32 (N, labels). ``abstain_below``: a bundle's own
    threshold, see :mod:`fer_training.evaluation.risk_coverage`. ``bias``: float32, (labels,), what makes a bundle's
    predictions balanced at strength 1, see :mod:`fer_perception.emotions.class_prior`; None where that is not known.
    """

    logits: Callable[[Sequence[UInt8Image]], Float32Array]
    labels: tuple[str, ...]
    temperature: float
    alignment: Alignment
    abstain_below: float | None = None
    bias: Float32Array | None = None
    prior_strength: float = 0.0


class Predictions(NamedTuple):
    """A model's predictions on one dataset, over the labels that both have, in the model's order.

    ``kept``: (n,), indices of the samples that they are of. ``targets``: (n,), indices into ``labels``. ``logits``, and
    ``mirrored`` of the mirror images if asked for: (n, labels). ``left_out``: samples by label that the model lacks.
    ``unused``: the model's labels that the data lack. ``bias``: (labels,), see :class:`Model`.
    """

    labels: tuple[str, ...]
    kept: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    logits: Float32Array
    mirrored: Float32Array | None
    left_out: dict[str, int]
    unused: tuple[str, ...]
    bias: Float32Array | None = None

    def probabilities(self, temperature: float, prior_strength: float = 0.0) -> Float32Array:
        """float32, (n, labels), rows summing to 1.

        :param prior_strength: how much of the training data's prior is taken out, where ``bias`` is known.
        """
        return to_probabilities(self.logits, temperature, None if self.bias is None else prior_strength * self.bias)


def load_model(
    model: Path, precision: Precision = "fp32", threads: int = 1, labels_of: str = "", device: str = "cpu"
) -> Model:
    """Load a bundle or a run.

    :param model: a bundle's folder, or a run's folder.
    :param labels_of: the dataset whose labels to predict, of a run that has learnt several label sets; of another
        dataset, the first.
    :param device: of a run, ``cpu`` or ``cuda``.
    :raises FerError: it is neither, or lacks the precision.
    """
    if (model / MANIFEST).exists():
        classifier = EmotionClassifier(model, precision, threads)
        manifest = classifier.bundle.manifest
        alignment = Alignment(manifest.alignment, manifest.input)
        abstain_below = manifest.abstention.threshold if manifest.abstention else None
        return Model(
            classifier.logits,
            classifier.labels,
            classifier.temperature,
            alignment,
            abstain_below,
            balancing_bias(manifest, 1.0),
            manifest.prior_strength,
        )

    from fer_training.evaluation.inference import predict  # torch only where it is needed
    from fer_training.runs.folder import CONFIG, load_head

    if not (model / CONFIG).exists():
        raise FerError(f"{model}: is neither a bundle ({MANIFEST}) nor a training run ({CONFIG})")
    if precision != "fp32":
        raise FerError(f"{model}: a training run has the precision fp32 only, {precision} is made by export")
    config = load_config(model / CONFIG)
    network, facts = load_head(model, config, labels_of)
    network = network.to(device)
    spec = config.input.spec()

    def logits(crops: Sequence[UInt8Image]) -> Float32Array:
        probabilities = predict(network, np.stack([prepare_crop(crop, spec) for crop in crops]), spec, device)
        # Logits up to a constant per row, which softmax does not see; a probability may have been rounded to 0.
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))

    return Model(logits, tuple(facts["labels"]), 1.0, Alignment(FER2013_TEMPLATE, spec))


def predict_samples(model: Model, samples: Samples, flip: bool = False, is_quiet: bool = False) -> Predictions:
    """Run a model on the samples whose labels it has.

    Logits of labels that the dataset lacks are dropped, so that softmax restricts the probabilities to the others and
    they sum to 1.

    :param flip: run it on the mirror images, too.
    :param is_quiet: show no progress.
    :raises FerError: no sample has a label of the model.
    """
    labels = tuple(label for label in model.labels if label in samples.labels)
    numbers = np.array([labels.index(label) if label in labels else -1 for label in samples.labels], np.int64)
    targets = numbers[samples.targets]
    kept = np.flatnonzero(targets >= 0)
    if not len(kept):
        raise FerError(f"{samples.dataset}: no sample has one of the model's labels, {', '.join(model.labels)}")
    counts = np.bincount(samples.targets, minlength=len(samples.labels))
    columns = [model.labels.index(label) for label in labels]
    images = [samples.images[index] for index in kept]
    name = f"{samples.dataset} {samples.split}"
    logits = predict_crops(model, images, name, is_quiet)[:, columns]
    mirrored = predict_crops(model, mirror(images), name, is_quiet)[:, columns] if flip else None
    lacking = {label: int(n) for label, n in zip(samples.labels, counts, strict=True) if n and label not in labels}
    return Predictions(
        labels,
        kept,
        targets[kept],
        logits,
        mirrored,
        lacking,
        tuple(label for label in model.labels if label not in labels),
        None if model.bias is None else model.bias[columns],
    )


def predict_crops(model: Model, crops: Sequence[UInt8Image], progress: str, is_quiet: bool = False) -> Float32Array:
    """A model's logits for face crops: float32, (N, labels).

    :param progress: what the progress bar is called.
    """
    starts = range(0, len(crops), BATCH_SIZE)
    batches = tqdm(starts, desc=progress, unit="batch", mininterval=1.0, disable=is_quiet)
    return np.concatenate([model.logits(crops[start : start + BATCH_SIZE]) for start in batches])


def mirror(crops: Sequence[UInt8Image]) -> list[UInt8Image]:
    """The mirror images."""
    return [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
