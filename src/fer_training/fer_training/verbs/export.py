"""Verbs that make a bundle: export, quantize."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fer_perception.errors import FerError
from fer_training.verbs import Run


def add_export(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``export``."""
    parser.description = "Make a model bundle from a training run, or add the attention map to a bundle."
    parser.epilog = "example: python -m fer_training export --run runs/baseline --out src/fer_perception/models"
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="the run's folder")
    source.add_argument(
        "--bundle", type=Path, help="instead, cut attention.onnx out of this bundle's fp32.onnx; its records are kept"
    )
    parser.add_argument("--out", type=Path, help="with --run: the bundle becomes the folder OUT/NAME")
    parser.add_argument(
        "--attention",
        type=Path,
        metavar="FILE",
        help="also write an ONNX file that gives logits and all attention maps",
    )

    parser.add_argument(
        "--labels-of",
        metavar="NAME",
        default="",
        help="of a run that has learnt several label sets: the dataset whose labels to predict (the first one)",
    )

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.export.attention import add_attention
        from fer_training.export.onnx import export, export_attention

        if (arguments.out is None) != (arguments.run is None):
            raise FerError("--out: goes with --run, where it is the folder that gets the bundle's folder")
        if arguments.bundle:
            if arguments.attention:
                raise FerError("--attention: takes a --run, as the file of a --bundle has one map only")
            if arguments.labels_of:
                raise FerError("--labels-of: takes a --run, as a --bundle has one label set only")
            print(add_attention(arguments.bundle))
            return
        print(export(arguments.run, arguments.out, arguments.labels_of))
        if arguments.attention:
            export_attention(arguments.run, arguments.attention, arguments.labels_of)
            print(arguments.attention)

    return run


def add_quantize(parser: argparse.ArgumentParser) -> Run:
    """Arguments of ``quantize``."""
    parser.description = (
        "Add fp16.onnx and int8.onnx to a bundle, for ONNX Runtime and TensorRT. Blocks that lose most in int8 are "
        "found on the validation split and stay in floating point."
    )
    parser.epilog = (
        "example: python -m fer_training quantize --bundle src/fer_perception/models/baseline "
        "--data fer2013:~/data/fer2013; then: evaluate --model src/fer_perception/models/baseline --precision int8 "
        "--dataset fer2013:~/data/fer2013 --record"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--data", required=True, metavar="NAME:PATH", help="what the model was trained on")
    parser.add_argument("--out", type=Path, help="the folder of a new bundle that gets the files (that of --bundle)")
    parser.add_argument(
        "--images", type=int, default=1024, help="of the training split, for calibration (default 1024)"
    )
    parser.add_argument(
        "--agreement",
        type=float,
        default=0.99,
        help="fraction of validation images to which int8 gives the same label as float32 (default 0.99)",
    )

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.export.quantization import quantize

        if arguments.images < 1:
            raise FerError("--images: must be at least 1, and should be at least 500")
        facts = quantize(arguments.bundle, arguments.data, arguments.images, arguments.agreement, arguments.out)
        print(json.dumps(facts, indent=2))

    return run
