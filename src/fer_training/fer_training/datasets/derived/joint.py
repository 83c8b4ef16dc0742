"""Several label sets of the same images, which one network learns together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_training.datasets.samples import Samples


def join(parts: Sequence[Samples]) -> Samples:
    """Datasets that label the same images, as one: the images of all, each once, by name.

    The first one's labels are the labels. ``soft_targets`` has the columns of all label sets, one after the other;
    where a set has no label for an image its columns are zero. ``targets`` is the first set's label, or else the next
    one's.

    :param parts: the labels of each must begin with those that it shares with the first.
    """
    order = {name: None for part in parts for name in part.names}
    index = {name: number for number, name in enumerate(order)}
    first = parts[0]
    images = dict(zip(order, [first.images[0]] * len(order), strict=True))
    soft_targets = np.zeros((len(order), sum(len(part.labels) for part in parts)), np.float32)
    targets = np.zeros(len(order), np.int64)
    column = soft_targets.shape[1]
    for part in reversed(parts):  # so that the first one's labels are what stays
        column -= len(part.labels)
        rows = np.array([index[name] for name in part.names])
        images.update(zip(part.names, part.images, strict=True))
        targets[rows] = part.targets
        soft_targets[rows, column : column + len(part.labels)] = part.distributions()
    return Samples(
        "+".join(part.dataset for part in parts),
        first.split,
        first.labels,
        list(images.values()),
        targets,
        list(order),
        soft_targets,
        label_sets={part.dataset: part.labels for part in parts},
    )
