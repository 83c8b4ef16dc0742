"""Build the TensorRT engines of a model and of the face detector and put them into the cache, without running them:
for images and installers.

The nodes do the same by themselves when there is none yet, but take so much longer to start. An engine fits the GPU and
the TensorRT it was built with, so build on the robot. Only TensorRT-RTX builds without a GPU.
"""

from __future__ import annotations

import argparse
import logging
import re
import signal
from pathlib import Path
from typing import get_args

from fer_perception.engines.network import WORKSPACE_MB, Network, bundle_network
from fer_perception.engines.selection import choose_precision
from fer_perception.engines.tensorrt.cuda import Gpu, find_gpu
from fer_perception.errors import EngineError
from fer_perception.faces.model_files import verify_detector
from fer_perception.faces.yunet import yunet_network
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_detector_model, resolve_model
from fer_perception.settings import PrecisionChoice


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="build_engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  build_engine --model baseline --precision fp16\n"
        "  XDG_CACHE_HOME=/opt/cache build_engine    (for an image; its nodes need the same variable)\n"
        "  build_engine --compute-capability 8.6     (TensorRT-RTX, on a machine without that GPU)",
    )
    parser.add_argument("--model", default="", help="bundle: a folder or the name of a shipped one")
    parser.add_argument("--precision", default="auto", choices=get_args(PrecisionChoice), help="which of its files")
    parser.add_argument("--dla-core", type=int, default=-1, help="for this accelerator; -1: for the GPU (default)")
    parser.add_argument(
        "--workspace-mb", type=int, default=WORKSPACE_MB, help="at most so much GPU memory to work in (256)"
    )
    parser.add_argument(
        "--compute-capability",
        type=_capability,
        metavar="X.Y",
        help="TensorRT-RTX: build for it without having the GPU",
    )
    return parser.parse_args(arguments)


def build_engine(
    bundle: Bundle,
    precision: PrecisionChoice = "auto",
    dla_core: int = -1,
    workspace_mb: int = WORKSPACE_MB,
    compute_capability: str | None = None,
) -> Path:
    """The file of a bundle's engine in the user's cache, built where it was not there.

    :param compute_capability: of the GPU to build for; None: this machine's GPU.
    :raises BundleError: the bundle or its file cannot be used.
    :raises EngineError: there is no GPU or TensorRT, or the engine cannot be built or written.
    """
    gpu = _gpu(compute_capability)
    network = bundle_network(bundle, choose_precision(bundle, precision, gpu, dla_core), dla_core)
    return _build(network, gpu, dla_core, workspace_mb)


def build_detector_engine(
    detector_model: Path, workspace_mb: int = WORKSPACE_MB, compute_capability: str | None = None
) -> Path:
    """As :func:`build_engine`, for the face detector, which always runs on the GPU.

    :raises FaceModelError: the file is not a known one.
    :raises EngineError: as there.
    """
    verify_detector(detector_model)
    return _build(yunet_network(detector_model), _gpu(compute_capability), -1, workspace_mb)


def _gpu(compute_capability: str | None) -> Gpu:
    if not compute_capability:
        return find_gpu()
    from fer_perception.engines.tensorrt.bindings import RTX, VERSION  # raises where TensorRT is missing

    if not RTX:
        raise EngineError(f"{VERSION} builds on the GPU itself: run build_engine there, without --compute-capability")
    return Gpu(f"a GPU of compute capability {compute_capability}", compute_capability)


def _build(network: Network, gpu: Gpu, dla_core: int, workspace_mb: int) -> Path:
    from fer_perception.engines.tensorrt.preparation import Preparation, Target  # raises where TensorRT is missing

    engine = Preparation(network, Target(gpu, dla_core), workspace_mb=workspace_mb).engine()
    if engine.file is None:
        raise EngineError("the engine was built and could not be written: see above")
    return engine.file


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = parse_arguments(arguments)
    # TensorRT cannot be left by a Python exception, and nothing is ever half written.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bundle, capability = Bundle(resolve_model(options.model)), options.compute_capability
    files = [build_engine(bundle, options.precision, options.dla_core, options.workspace_mb, capability)]
    if detector := resolve_detector_model(""):
        files.append(build_detector_engine(detector, options.workspace_mb, capability))
    for file in files:
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0


def _capability(text: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no compute capability such as 8.6")
    return text
