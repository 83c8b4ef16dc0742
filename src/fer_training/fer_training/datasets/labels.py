"""The spellings of emotions in datasets."""

from __future__ import annotations

from fer_perception.labels import ALIASES, emotion_named
from fer_training.datasets.samples import DatasetError


def emotion_index(name: str | None, labels: tuple[str, ...], where: str) -> int:
    """Index of an emotion in ``labels``; upper and lower case are the same.

    :param where: file and row, for the error.
    :raises DatasetError: the name is neither a label nor a known spelling of one.
    """
    emotion = emotion_named(name or "")
    if emotion not in labels:
        raise DatasetError(
            f"{where}: emotion is '{name}'. Write one of {', '.join(labels)} (or {', '.join(ALIASES)}), or delete it"
        )
    return labels.index(emotion)
