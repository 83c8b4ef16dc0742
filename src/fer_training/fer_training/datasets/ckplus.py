"""CK+ (Lucey et al., 2010): sequences from a neutral face (onset) to the peak of an emotion.

``cohn-kanade-images/S005/001/S005_001_00000001.png`` and so on are the frames. In ``Emotion`` the file
``S005/001/S005_001_00000011_emotion.txt`` holds the sequence's emotion: 0 neutral, 1 anger, 2 contempt, 3 disgust,
4 fear, 5 happy, 6 sadness, 7 surprise. Sequences without such a file are left out.

The first frame of a sequence is taken as neutral, the last three as the emotion: the usual protocol. It also divides
the subjects, sorted by name, into ten folds: the n-th subject belongs to fold n modulo 10. ``ckplus@K`` has fold K as
``test``, the next one as ``val`` and the other eight as ``train``, so no subject is in two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fer_perception.labels import EMOTIONS_8
from fer_training.datasets.labels import emotion_index
from fer_training.datasets.photographs import Listing, Photograph
from fer_training.datasets.samples import DatasetError, Split

IMAGES, LABELS = "cohn-kanade-images", "Emotion"
EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
FOLDS = 10
PEAK_FRAMES = 3


def ckplus(fold: int) -> Callable[[Path, Split], Listing]:
    """The loader with fold 1 to 10 as the test split."""
    assert 1 <= fold <= FOLDS

    def list_ckplus(path: Path, split: Split) -> Listing:
        """The photographs of one split.

        :param path: the folder that holds cohn-kanade-images and Emotion.
        :raises DatasetError: a folder is missing, or a label or sequence cannot be used.
        """
        for folder in (IMAGES, LABELS):
            if not (path / folder).is_dir():
                raise DatasetError(f"{path}: the folder {folder} is missing. Unpack CK+'s archives there")
        files = sorted((path / LABELS).glob("S*/*/*_emotion.txt"))
        subjects = sorted({file.parts[-3] for file in files})
        photographs = []
        for file in files:
            number = (subjects.index(file.parts[-3]) - (fold - 1)) % FOLDS
            if split == {0: "test", 1: "val"}.get(number, "train"):
                photographs += _sequence(path, file)
        return Listing(path, EMOTIONS_8, photographs)

    return list_ckplus


def _sequence(path: Path, label: Path) -> list[Photograph]:
    subject, sequence = label.parts[-3:-1]
    try:
        emotion = EMOTIONS[int(float(label.read_text(encoding="utf-8")))]  # written as 3.0000000e+00
    except (OSError, ValueError, IndexError) as error:
        raise DatasetError(
            f"{label}: holds no number from 0 to {len(EMOTIONS) - 1}. Unpack the labels again"
        ) from error
    frames = sorted((path / IMAGES / subject / sequence).glob(f"{subject}_{sequence}_*.png"))
    if len(frames) < 1 + PEAK_FRAMES:
        raise DatasetError(
            f"{path / IMAGES / subject / sequence}: {len(frames)} frames, expected at least {1 + PEAK_FRAMES}. Unpack "
            f"the images again, or delete {label}"
        )
    chosen = [(frames[0], "neutral"), *((frame, emotion) for frame in frames[-PEAK_FRAMES:])]
    return [
        Photograph(frame, emotion_index(name, EMOTIONS_8, str(label)), str(label), groups={"subject": subject})
        for frame, name in chosen
    ]
