"""Where the package's files lie."""

from __future__ import annotations

import os
from pathlib import Path

from fer_perception.errors import FerError
from fer_perception.files import cache_folder

FACE_MODEL = "face_landmarker.task"
DETECTOR_MODEL = "face_detection_yunet.onnx"
BLAZEFACE = "blazeface"
DEFAULT_MODEL = "hybrid_attention_lite0"


def share_folder(package: str = "fer_perception") -> Path:
    """A package's folder with ``config``, ``launch``, ``models`` or ``msg``: its sources, or share/PACKAGE.

    :raises FerError: the package is neither run from its sources nor installed in a prefix of AMENT_PREFIX_PATH.
    """
    source = Path(__file__).resolve().parents[3] / package
    if (source / "package.xml").is_file():
        return source
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        share = Path(prefix, "share", package)
        if (share / "package.xml").is_file():
            return share
    raise FerError(f"{package}'s share folder is not found: source the workspace's setup file first")


def resolve_model(name_or_path: str) -> Path:
    """A bundle's folder: the name of one of the shipped bundles, or a path. Empty stands for the default one."""
    name = name_or_path or DEFAULT_MODEL
    shipped = share_folder() / "models" / name
    return shipped if name == Path(name).name and shipped.is_dir() else Path(name)


def resolve_face_model(path: str) -> Path:
    """Path of ``face_landmarker.task``; empty stands for the one beside the shipped bundles, else in the cache."""
    return Path(path) if path else _fetched(FACE_MODEL)


def resolve_detector_model(path: str) -> Path | None:
    """Path of YuNet's file, in the same way; None where it was not fetched, and for ``blazeface``."""
    if path == BLAZEFACE:
        return None
    if path:
        return Path(path)
    fetched = _fetched(DETECTOR_MODEL)
    return fetched if fetched.is_file() else None


def _fetched(name: str) -> Path:
    beside = share_folder() / "models" / name
    return beside if beside.is_file() else fetched_models() / name


def fetched_models() -> Path:
    """Where models are fetched to: an installed package's own folder may be read-only."""
    return cache_folder() / "models"
