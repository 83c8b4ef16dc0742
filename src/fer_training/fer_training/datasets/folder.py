"""A plain tree of class folders: ``angry/*.jpg`` and so on, or ``train/angry/*.jpg`` with train, val and test.

Or YOLO's form, see :mod:`fer_training.datasets.files.yolo`.
"""

from __future__ import annotations

from pathlib import Path

from fer_perception.labels import EMOTIONS_7, EMOTIONS_8
from fer_training.datasets.files.trees import find_tree, found
from fer_training.datasets.files.yolo import find_yolo
from fer_training.datasets.photographs import Listing
from fer_training.datasets.samples import DatasetError, Split


def list_folder(path: Path, split: Split) -> Listing:
    """The photographs of one split of a class-folder tree.

    Without folders of splits a tenth of the images is ``test``. Without a folder ``val`` a tenth of the training
    images is. There are eight labels where there is a folder of contempt, else seven.

    :raises DatasetError: the folder is missing, or a class folder's name is no emotion.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: is no folder. Give the folder that holds one folder per emotion")
    tree = find_yolo(path) or find_tree(path)
    if tree is None:
        raise DatasetError(
            f"{path}: holds no folders of emotions, nor of splits with them ({found(path)}). Give the folder that "
            f"holds {', '.join(EMOTIONS_7)}, or train, val and test with these in them"
        )
    return tree.listing(split, EMOTIONS_8 if "contempt" in tree.emotions else EMOTIONS_7)
