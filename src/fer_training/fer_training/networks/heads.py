"""One label set of a network that has learnt several."""

from __future__ import annotations

from torch import nn

CLASSIFIERS = ("classifier", "local_classifier")  # attributes of networks: the layers that give logits


def keep_logits(network: nn.Module, kept: slice) -> None:
    """Keep some of a network's logits, in place: (N, labels of all sets) become (N, those kept)."""
    for name in CLASSIFIERS:
        classifier = getattr(network, name, None)
        layer = classifier[-1] if isinstance(classifier, nn.Sequential) else classifier
        if isinstance(layer, nn.Linear):
            layer.out_features = len(range(layer.out_features)[kept])
        elif isinstance(layer, nn.Conv2d):
            layer.out_channels = len(range(layer.out_channels)[kept])
        else:
            continue
        assert layer.bias is not None
        layer.weight, layer.bias = (
            nn.Parameter(tensor.detach()[kept].clone()) for tensor in (layer.weight, layer.bias)
        )
