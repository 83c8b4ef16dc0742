"""The one list of emotion labels; its order is the order of every probability vector of the suite."""

EMOTIONS_7: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EMOTIONS_8: tuple[str, ...] = (*EMOTIONS_7, "contempt")

LABEL_LISTS: tuple[tuple[str, ...], ...] = (EMOTIONS_7, EMOTIONS_8)
