"""From a training run to a model bundle that fer_perception serves."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_perception.emotions.attention_maps import AttentionMaps
from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.errors import FerError
from fer_perception.files import sha256_of
from fer_perception.models.bundle import MANIFEST, Manifest, ModelFile, write_manifest
from fer_perception.preprocessing.normalization import InputSpec, normalize
from fer_perception.types import UInt8Image
from fer_training.datasets.fer2013 import FER2013_TEMPLATE
from fer_training.evaluation.inference import predict
from fer_training.export.attention import add_attention
from fer_training.export.portability import OPSET, require_portable
from fer_training.networks import AttentionOutputs, HybridAttentionNetwork
from fer_training.runs.config import TrainConfig, load_config
from fer_training.runs.folder import BEST, CONFIG, FREQUENCIES, heads, load_head

LARGEST_DIFFERENCE = 1e-4
MADE_BY = ("data", "adaptation", "interpolation", "pruning")  # of a checkpoint's facts, for the manifest

log = logging.getLogger(__name__)


def export(run: Path, out: Path, labels_of: str = "") -> Path:
    """Write a bundle from a run's selected weights; the bundle's folder is OUT/NAME and is replaced if it exists.

    Of a network with attention it also has the file that gives the map, see :func:`add_attention`.

    :param labels_of: of a run that has learnt several label sets, the dataset whose labels the bundle predicts; empty:
        the first.
    :raises FerError: the run cannot be read or has not learnt these labels, ONNX Runtime does not give what torch does,
        or TensorRT would not take the file.
    """
    config = load_config(run / CONFIG)
    network, facts = _load_head(run, config, labels_of)
    spec = config.input.spec()
    bundle = out / config.name
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        folder = Path(temporary) / config.name
        folder.mkdir()
        onnx_file = folder / "fp32.onnx"
        write_onnx(network, spec, onnx_file)
        require_portable(onnx_file)
        recipe, *earlier = recipes_of(run)
        training: dict[str, Any] = {key: facts[key] for key in MADE_BY if key in facts}
        if FREQUENCIES not in facts:
            log.warning("%s: was trained before frequencies were recorded: the bundle has no balanced predictions", run)
        if earlier:
            training["earlier_recipes"] = earlier
        write_manifest(
            folder,
            Manifest(
                schema_version=1,
                name=config.name,
                labels=tuple(facts["labels"]),
                input=spec,
                alignment=FER2013_TEMPLATE,
                label_frequencies=facts.get(FREQUENCIES),
                files={"fp32": ModelFile(name=onnx_file.name, sha256=sha256_of(onnx_file))},
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                macs=count_macs(network, spec),
                training={**training, "selected_epoch": facts["epoch"], "recipe": recipe},
                metrics={"validation": facts["validation"]},
            ),
        )
        difference = compare(network, spec, folder)
        log.info("largest difference of probabilities between torch and ONNX Runtime: %.1e", difference)
        if isinstance(network, HybridAttentionNetwork) and network.attention:
            add_attention(folder)
            compare_attention(network, spec, folder)
        if bundle.exists():
            if not (bundle / MANIFEST).exists():
                raise FerError(f"{bundle}: exists and is no bundle. Choose another --out, or move it away")
            shutil.rmtree(bundle)
        folder.rename(bundle)
    return bundle


def recipes_of(run: Path, later: tuple[Path, ...] = ()) -> list[dict[str, Any]]:
    """A run's configuration as a manifest has it, and that of the run that it starts from, and so on; without paths.

    :param later: the runs that were made from this one: it cannot have started from one of them.
    """
    config = load_config(run / CONFIG)
    recipe = {key: value for key, value in asdict(config).items() if key not in ("out", "device", "threads")}
    recipe["data"] = config.data.partition(":")[0]
    recipe["distillation"]["soft_targets"] = Path(config.distillation.soft_targets).name
    for section, key in (("distillation", "unlabelled"), ("adaptation", "targets")):
        recipe[section][key] = [dataset.partition(":")[0] for dataset in recipe[section][key]]
    recipe["network"]["options"].pop("widths", None)  # hundreds of numbers, which the ONNX file shows
    recipe["pretrained"] = Path(config.pretrained).name
    for section in ("adaptation", "pruning"):
        recipe[section]["start"] = Path(recipe[section]["start"]).name
    checkpoint = Path(config.pretrained)
    start = config.adaptation.start or config.pruning.start or (checkpoint.parent if checkpoint.name == BEST else "")
    if not start:
        return [recipe]
    if config.pretrained:
        recipe["pretrained"] = Path(start).name
    folders = [Path(start).expanduser(), run.resolve().parent / Path(start).name]  # where it was, or with this run
    later = (*later, run.resolve())
    found = next((f for f in folders if (f / CONFIG).exists() and f.resolve() not in later), None)
    if found is None:
        log.warning("%s: the run that it starts from, %s, is gone: its recipe is not recorded", run, start)
        return [recipe]
    return [recipe, *recipes_of(found, later)]


def _load_head(run: Path, config: TrainConfig, labels_of: str) -> tuple[nn.Module, dict[str, Any]]:
    """As :func:`load_head`.

    :raises FerError: the run has not learnt these labels.
    """
    network, facts = load_head(run, config, labels_of)
    if labels_of and labels_of not in heads(facts):
        known = ", ".join(facts.get("heads", {})) or "one label set only: leave it out"
        raise FerError(f"{run}: has not learnt the labels of '{labels_of}'. For --labels-of it has {known}")
    return network, facts


def export_attention(run: Path, file: Path, labels_of: str = "") -> None:
    """Write a run's network as an ONNX file that gives its attention maps, too.

    Input ``crops`` as a bundle's; outputs ``logits``, float32 (N, labels), and ``attention_0`` and so on, float32
    (N, 1, H, W) in 0..1, from fine to coarse.

    :param labels_of: see :func:`export`.
    :raises FerError: the run cannot be read, or its network has no attention.
    """
    config = load_config(run / CONFIG)
    network, _ = _load_head(run, config, labels_of)
    if not isinstance(network, HybridAttentionNetwork) or not network.attention:
        raise FerError(f"{run}: network '{config.network.name}' has no attention maps. Leave out --attention")
    maps = [f"attention_{number}" for number in range(len(network.attention))]
    write_onnx(AttentionOutputs(network), config.input.spec(), file, ["logits", *maps])


def write_onnx(network: nn.Module, spec: InputSpec, file: Path, outputs: Sequence[str] = ("logits",)) -> None:
    """Write a network as ONNX: input ``crops`` float32 (N, C, H, W), output ``logits`` (N, labels), N dynamic."""
    example = torch.zeros(2, spec.channels, spec.height, spec.width)
    with warnings.catch_warnings():
        # The older exporter folds batch normalisation and reaches opset 13; its successor starts at 18.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Attention looks at the number of channels, which is fixed.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            network.cpu().eval(),
            (example,),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["crops"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in ("crops", *outputs)},
        )


def count_macs(network: nn.Module, spec: InputSpec) -> int:
    """Multiply-accumulate operations of one image."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, spec.channels, spec.height, spec.width))
    return int(counter.get_total_flops() // 2)


def compare(network: nn.Module, spec: InputSpec, bundle: Path) -> float:
    """Largest difference of probabilities between torch and a bundle's FP32 file, over random images.

    :raises FerError: it is larger than rounding explains.
    """
    images, crops = random_images(spec)
    difference = float(np.abs(EmotionClassifier(bundle).classify(crops) - predict(network, images, spec)).max())
    if difference > LARGEST_DIFFERENCE:
        raise FerError(f"{bundle}: ONNX Runtime's probabilities differ from torch's by up to {difference:.1e}")
    return difference


def compare_attention(network: HybridAttentionNetwork, spec: InputSpec, bundle: Path) -> None:
    """The same of the maps.

    :raises FerError: they differ by more than rounding explains.
    """
    images, crops = random_images(spec)
    with torch.inference_mode():
        _, maps = network.forward_with_attention(torch.from_numpy(normalize(images, spec)))
    difference = float(np.abs(AttentionMaps(bundle).infer(crops) - maps[0][:, 0].numpy()).max())
    if difference > LARGEST_DIFFERENCE:
        raise FerError(f"{bundle}: ONNX Runtime's attention maps differ from torch's by up to {difference:.1e}")


def random_images(spec: InputSpec) -> tuple[UInt8Image, list[UInt8Image]]:
    """Always the same ones: uint8, (32, H, W, C), and the same as crops, (H, W) for a grey network, else (H, W, 3)."""
    shape = (32, spec.height, spec.width, spec.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return images, [image[..., 0] if spec.channels == 1 else image for image in images]
