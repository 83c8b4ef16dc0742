"""The spellings of emotions in datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fer_perception.labels import ALIASES, EMOTIONS_8, emotion_named, emotion_of_folder, is_unlabelled
from fer_training.datasets.samples import DatasetError

# Of AffectNet's and FER+'s classes that are no emotion, beside the words for no label at all.
NO_EMOTION = ("uncertain", "noface", "nf")


def is_no_emotion(word: str | None) -> bool:
    """Whether a word says that an image has no label that can be learnt, such as "unknown"; an empty one, too."""
    plain = re.sub(r"[\W_]", "", (word or "").lower())
    return is_unlabelled(word or "") or is_unlabelled(plain) or plain in NO_EMOTION


def emotion_index(name: str | None, labels: tuple[str, ...], where: str) -> int:
    """Index of an emotion in ``labels``; upper and lower case are the same.

    :param where: file and row, for the error.
    :raises DatasetError: the name is neither a label nor a known spelling of one.
    """
    emotion = emotion_named(name or "")
    if emotion not in labels:
        raise DatasetError(
            f"{where}: emotion is '{name}'. Write one of {', '.join(labels or EMOTIONS_8)} (or {', '.join(ALIASES)}), "
            "or delete it"
        )
    return labels.index(emotion)


def emotion_of_class(name: str, numbers: Mapping[int, str]) -> str | None:
    """The emotion that a class folder's name means, such as ``Angry``, ``0_anger`` or a number; "" for unknown.

    None where the name means nothing that is known.

    :param numbers: what the dataset's numbers mean.
    """
    plain = name.strip()
    if is_no_emotion(plain):
        return ""
    if plain.isdecimal():
        return numbers.get(int(plain))
    return emotion_of_folder(plain)
