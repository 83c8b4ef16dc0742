"""The verb ``sequences``: CK+'s sequences as bags, for what ``replay`` measures over time.

CK+ tells a sequence's emotion, but not when it begins to show. So the first frame is neutral, as in the usual protocol,
and the emotion counts from the second one on: the time until it is predicted is that from the end of the neutral frame.
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from fer_perception.images.decoding import read_image
from fer_perception.labels import EMOTIONS_8
from fer_perception.replay.storage.new_bag import Item, write_bag
from fer_training.datasets.ckplus import IMAGES, labelled_sequences
from fer_training.datasets.labels import emotion_index
from fer_training.datasets.samples import DatasetError

FRAMES_PER_SECOND = 30.0


def write_sequences(path: Path, out: Path) -> int:
    """Write a bag of each labelled sequence, ``OUT/S005_001``; returns how many. Bags that are there already stay.

    :param path: the folder that holds cohn-kanade-images and Emotion.
    :raises DatasetError: there are no sequences, or one cannot be used.
    :raises FerError: a frame cannot be read, or a bag cannot be written.
    """
    found = labelled_sequences(path)
    if not found or not found[1]:
        raise DatasetError(f"{path}: has no sequences. Unpack CK+'s archives {IMAGES[0]} and Emotion there")
    for label, emotion, frames in tqdm(found[1], unit="sequence", desc="sequences"):
        bag = out / "_".join(label.parts[-3:-1])
        if not bag.exists():
            name = EMOTIONS_8[emotion_index(emotion, EMOTIONS_8, str(label))]
            names = ["neutral", *[name] * (len(frames) - 1)]
            items = (Item(read_image(frame), name) for frame, name in zip(frames, names, strict=True))
            write_bag(items, bag, FRAMES_PER_SECOND, "png")
    return len(found[1])
