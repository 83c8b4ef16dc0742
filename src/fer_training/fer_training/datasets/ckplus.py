"""CK+ (Lucey et al., 2010): sequences from a neutral face (onset) to the peak of an emotion.

``cohn-kanade-images/S005/001/S005_001_00000001.png`` and so on are the frames. In ``Emotion`` the file
``S005/001/S005_001_00000011_emotion.txt`` holds the sequence's emotion: 0 neutral, 1 anger, 2 contempt, 3 disgust,
4 fear, 5 happy, 6 sadness, 7 surprise. Sequences without such a file are left out.

The first frame of a sequence is taken as neutral, the last three as the emotion: the usual protocol. It also divides
the subjects, sorted by name, into ten folds: the n-th subject belongs to fold n modulo 10. ``ckplus@K`` has fold K as
``test``, the next one as ``val`` and the other eight as ``train``, so no subject is in two of them.

On Kaggle ``CK+48`` has the last three frames, cut out, in class folders; their names begin with the subject.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fer_perception.labels import EMOTIONS_8
from fer_training.datasets.files.trees import child, entries, find_tree, folders, found, levels
from fer_training.datasets.labels import emotion_index
from fer_training.datasets.photographs import IMAGE_SUFFIXES, Listing, Photograph
from fer_training.datasets.samples import DatasetError, Split

IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images")
LABELS = ("Emotion", "Emotion_labels")
EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
NUMBERED: dict[float, str] = dict(enumerate(EMOTIONS))  # written as 3.0000000e+00
FOLDS = 10
PEAK_FRAMES = 3
SUBJECT = re.compile(r"S\d{3}", re.ASCII)


def ckplus(fold: int) -> Callable[[Path, Split], Listing]:
    """The loader with fold 1 to 10 as the test split."""
    assert 1 <= fold <= FOLDS

    def list_ckplus(path: Path, split: Split) -> Listing:
        """The photographs of one split.

        :param path: the folder that holds cohn-kanade-images and Emotion, or class folders.
        :raises DatasetError: a folder is missing, or a label or sequence cannot be used.
        """
        listing = _sequences(path) or _class_folders(path)
        subjects = sorted({photograph.groups["subject"] for photograph in listing.photographs})
        numbers = {subject: (index - (fold - 1)) % FOLDS for index, subject in enumerate(subjects)}
        chosen = [
            photograph
            for photograph in listing.photographs
            if split == {0: "test", 1: "val"}.get(numbers[photograph.groups["subject"]], "train")
        ]
        return replace(listing, photographs=chosen)

    return list_ckplus


class LabelledSequence(NamedTuple):
    """The frames of one sequence, from neutral to the peak of ``emotion``, which ``label`` is the file of."""

    label: Path
    emotion: str
    frames: list[Path]


def labelled_sequences(path: Path) -> tuple[Path, list[LabelledSequence]] | None:
    """The official layout's folder and its sequences, those without a label left out; None: it is another layout.

    :raises DatasetError: a label or sequence cannot be used.
    """
    for level in levels(path):
        images, labels = child(level, *IMAGES), child(level, *LABELS)
        if images and labels:
            return level, [
                LabelledSequence(
                    label, _emotion(label), _frames(_with_subjects(images) / label.parts[-3] / label.parts[-2], label)
                )
                for label in sorted(_with_subjects(labels).glob("S*/*/[!.]*_emotion.txt"))
            ]
    return None


def _sequences(path: Path) -> Listing | None:
    """All subjects of the official layout."""
    found = labelled_sequences(path)
    if found is None:
        return None
    photographs: list[Photograph] = []
    used: set[Path] = set()
    for label, emotion, frames in found[1]:
        chosen = [(frames[0], "neutral"), *((frame, emotion) for frame in frames[-PEAK_FRAMES:])]
        photographs += [_photograph(frame, name, str(label), label.parts[-3]) for frame, name in chosen]
        used |= {label, *frames}
    return Listing(found[0], EMOTIONS_8, photographs, used)


def _with_subjects(top: Path) -> Path:
    """The folder that holds a folder for each subject: this one, or one that it holds alone."""
    return next((level for level in levels(top) if any(SUBJECT.fullmatch(each.name) for each in folders(level))), top)


def _frames(folder: Path, label: Path) -> list[Path]:
    prefix = f"{folder.parent.name}_{folder.name}_"
    inside = entries(folder) if folder.is_dir() else []
    frames = [file for file in inside if file.name.startswith(prefix) and file.suffix.lower() in IMAGE_SUFFIXES]
    if len(frames) < 1 + PEAK_FRAMES:
        raise DatasetError(
            f"{folder}: {len(frames)} frames, expected at least {1 + PEAK_FRAMES}. Unpack the images again, or delete "
            f"{label}"
        )
    return frames


def _emotion(label: Path) -> str:
    try:
        return NUMBERED[float(label.read_text(encoding="utf-8-sig"))]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{label}: holds no number from 0 to {len(EMOTIONS) - 1}. Unpack the labels again"
        ) from error


def _photograph(file: Path, emotion: str, where: str, subject: str) -> Photograph:
    return Photograph(file, emotion_index(emotion, EMOTIONS_8, where), where, groups={"subject": subject})


def _class_folders(path: Path) -> Listing:
    """All subjects of CK+48."""
    tree = find_tree(path)
    if tree is None or None not in tree.parts:
        raise DatasetError(
            f"{path}: neither the folders {IMAGES[0]} and {LABELS[0]} nor class folders without folders of splits are "
            f"there ({found(path)}). Unpack CK+'s archives there. ckextended.csv names no subjects: it is "
            "ckextended:PATH"
        )
    photographs = []
    for file, emotion, where, _ in tree.parts[None]:
        subject = SUBJECT.match(file.name)
        if subject is None:
            raise DatasetError(
                f"{file}: the name does not begin with a subject such as S010, by which folds are made. Rename it, or "
                "load the class folders as folder:PATH"
            )
        photographs.append(_photograph(file, emotion, where, subject[0]))
    return Listing(tree.root, EMOTIONS_8, photographs, {photograph.file for photograph in photographs})
