"""The one list of emotion labels; its order is the order of every probability vector of the suite."""

EMOTIONS_7: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EMOTIONS_8: tuple[str, ...] = (*EMOTIONS_7, "contempt")

# Stands where a label would, for a face that gets no emotion. No network has it.
UNKNOWN = "unknown"

LABEL_LISTS: tuple[tuple[str, ...], ...] = (EMOTIONS_7, EMOTIONS_8)

# Other spellings that datasets and annotators use.
ALIASES: dict[str, str] = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "suprise": "surprise",  # so misspelt in class folders of FER+ that circulate
    "surprised": "surprise",
}


def emotion_named(word: str) -> str | None:
    """The label that a word means, whatever its case; None where it is no label and no known spelling of one."""
    plain = word.strip().lower()
    plain = ALIASES.get(plain, plain)
    return plain if plain in EMOTIONS_8 else None
