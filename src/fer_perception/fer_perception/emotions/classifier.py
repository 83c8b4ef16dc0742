"""From aligned face crops to emotion probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_perception.emotions.class_prior import TRAINING, prior_bias
from fer_perception.engines.selection import load_engine
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_model
from fer_perception.preprocessing.normalization import to_batch
from fer_perception.settings import Backend, EngineSettings, PrecisionChoice
from fer_perception.types import Float32Array, UInt8Image


class EmotionClassifier:
    """A bundle with its engine.

    The class prior is a vector that is added to the engine's output, not a change of the ONNX files: eight additions a
    face hold for every engine and precision, and hashes and cached engines stay valid.

    :param bundle: a bundle or its folder.
    :param prior: see :func:`prior_bias`.
    :param precision: and all others: see :func:`load_engine`.
    :raises FerError: the prior cannot be used.
    :raises BundleError: the bundle cannot be used.
    :raises EngineError: the engine that was asked for cannot be had here.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        precision: PrecisionChoice = "fp32",
        threads: int = 1,
        backend: Backend = "onnxruntime",
        dla_core: int = -1,
        prior: str = TRAINING,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        self.labels = self.bundle.manifest.labels
        self.temperature = self.bundle.manifest.temperature
        self._bias = prior_bias(self.bundle, prior)
        self._engine, used = load_engine(self.bundle, precision, threads, backend, dla_core)
        self.model_id = self.bundle.model_id(used)
        self.model_sha256 = self.bundle.manifest.files[used].sha256
        self.engine_name, self.engine_sha256 = self._engine.name, self._engine.sha256

    def classify(self, crops: Sequence[UInt8Image]) -> Float32Array:
        """Emotion probabilities of face crops, all in one engine call.

        :param crops: N crops, uint8, (H, W) grey or (H, W, 3) RGB, of any size.
        :return: float32, (N, labels), rows summing to 1, columns in the order of ``labels``.
        """
        return to_probabilities(self.logits(crops), self.temperature, self._bias)

    def logits(self, crops: Sequence[UInt8Image]) -> Float32Array:
        """The network's own output for face crops, before temperature, prior and softmax: float32, (N, labels)."""
        batch = to_batch(crops, self.bundle.manifest.input)
        if not len(batch):
            return np.empty((0, len(self.labels)), np.float32)
        return self._engine.infer(batch)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()


# One network for all pipelines of a process that have the same settings, as long as one of them uses it.
_shared: dict[EngineSettings, EmotionClassifier] = {}
_users: Counter[EngineSettings] = Counter()


def acquire(settings: EngineSettings) -> EmotionClassifier:
    """The classifier that settings ask for, shared in this process; give it back by :func:`release`.

    Several threads may use it at once.

    :raises FerError: the bundle or the engine cannot be used.
    """
    key = _key(settings)
    if key not in _shared:
        _shared[key] = EmotionClassifier(key.model, key.precision, key.threads, key.backend, key.dla_core, key.prior)
    _users[key] += 1
    return _shared[key]


def release(settings: EngineSettings) -> None:
    """Free the classifier that :func:`acquire` gave for these settings, where nobody else uses it."""
    key = _key(settings)
    _users[key] -= 1
    if not _users[key]:
        _shared.pop(key).close()


def _key(settings: EngineSettings) -> EngineSettings:
    names = EngineSettings.model_fields
    values = {name: getattr(settings, name) for name in names} | {"model": str(resolve_model(settings.model))}
    return EngineSettings(**values)


def to_probabilities(logits: Float32Array, temperature: float, bias: Float32Array | None = None) -> Float32Array:
    """Probabilities of a network's output: float32, (N, labels), rows summing to 1.

    :param logits: float32, (N, labels).
    :param bias: float32, (labels,), of the class prior, see :func:`prior_bias`; it changes calibrated probabilities,
        so it is added after the division by the temperature.
    """
    scaled = logits / temperature
    return softmax(scaled if bias is None else scaled + bias)


def softmax(logits: Float32Array) -> Float32Array:
    """Softmax over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
