"""The one list of emotion labels; its order is the order of every probability vector of the suite."""

from __future__ import annotations

import re

EMOTIONS_7: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EMOTIONS_8: tuple[str, ...] = (*EMOTIONS_7, "contempt")

# Stands where a label would, for a face that gets no emotion. No network has it.
UNKNOWN = "unknown"

LABEL_LISTS: tuple[tuple[str, ...], ...] = (EMOTIONS_7, EMOTIONS_8)

# Other spellings that datasets and annotators use.
ALIASES: dict[str, str] = {
    "afraid": "fear",
    "anger": "angry",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "joyful": "happy",
    "sadness": "sad",
    "scared": "fear",
    "suprise": "surprise",  # so misspelt in class folders of FER+ that circulate
    "surprised": "surprise",
}

# What annotators write where they give no label.
NO_LABEL = (
    "",
    "-",
    "?",
    "n/a",
    "na",
    "nan",
    "no label",
    "none",
    "null",
    "undefined",
    UNKNOWN,
    "unlabeled",
    "unlabelled",
)


def emotion_named(word: str) -> str | None:
    """The label that a word means, whatever its case; None where it is no label and no known spelling of one."""
    plain = word.strip().lower()
    plain = ALIASES.get(plain, plain)
    return plain if plain in EMOTIONS_8 else None


def emotion_of_folder(name: str) -> str | None:
    """The label that a folder of images is called after, such as ``Angry``, ``0_anger`` or ``4-Sadness``; else None."""
    return emotion_named(re.sub(r"^\d+[\W_]+", "", name.strip()))


def is_unlabelled(word: str) -> bool:
    """Whether a word stands for no label at all."""
    return word.strip().lower() in NO_LABEL
