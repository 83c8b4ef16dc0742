"""Model bundles: a folder with ``manifest.yaml`` and one ONNX file per precision."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fer_perception.alignment import AlignmentTemplate
from fer_perception.errors import BundleError
from fer_perception.preprocessing import InputSpec
from fer_perception.taxonomy import LABEL_LISTS

SCHEMA_VERSION = 1
MANIFEST = "manifest.yaml"

Precision = Literal["fp32", "fp16", "int8"]


class ModelFile(BaseModel):
    """One ONNX file of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.-]+\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The contents of ``manifest.yaml``.

    ``training`` (data and recipe) and ``metrics`` (as measured, by dataset and split) are kept as they were written:
    they inform people and are not read by the suite. The logits of every precision are divided by ``temperature``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[\w.-]+$")
    labels: tuple[str, ...]
    input: InputSpec
    alignment: AlignmentTemplate
    temperature: float = Field(default=1.0, ge=0.01, le=100.0, allow_inf_nan=False)
    files: dict[Precision, ModelFile] = Field(min_length=1)
    parameters: int = Field(gt=0)
    macs: int = Field(gt=0)
    training: dict[str, Any]
    metrics: dict[str, Any]

    @field_validator("labels")
    @classmethod
    def _known_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if labels not in LABEL_LISTS:
            raise ValueError(f"labels must be one of {[list(known) for known in LABEL_LISTS]}, in that order")
        return labels


class Bundle:
    """A bundle on disk whose manifest was read and found valid.

    :param path: the bundle's folder.
    :raises BundleError: folder or manifest missing or invalid.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        manifest = self.path / MANIFEST
        try:
            content = yaml.safe_load(manifest.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(
                f"{manifest}: cannot be read ({error}). A model is a folder with a {MANIFEST} and ONNX files; "
                "give the path of such a folder"
            ) from error
        except yaml.YAMLError as error:
            raise BundleError(f"{manifest}: not valid YAML ({error}). Restore it or export the model again") from error
        if isinstance(content, dict) and content.get("schema_version") != SCHEMA_VERSION:
            raise BundleError(
                f"{manifest}: schema_version is {content.get('schema_version')!r}, this version of fer_perception "
                f"reads {SCHEMA_VERSION}. Export the model again with the matching fer_training"
            )
        try:
            self.manifest = Manifest.model_validate(content)
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
            raise BundleError(f"{manifest}: {details}. Restore the file or export the model again") from error

    def onnx_file(self, precision: Precision = "fp32") -> Path:
        """Path of a precision's ONNX file, after its SHA-256 was checked.

        :raises BundleError: the bundle lacks this precision, or the file is missing or not the one of the manifest.
        """
        entry = self.manifest.files.get(precision)
        if entry is None:
            raise BundleError(
                f"{self.path}: has no precision '{precision}', only {', '.join(sorted(self.manifest.files))}"
            )
        file = self.path / entry.name
        try:
            digest = sha256_of(file)
        except OSError as error:
            raise BundleError(f"{file}: cannot be read ({error}). Restore it or export the model again") from error
        if digest != entry.sha256:
            raise BundleError(
                f"{file}: SHA-256 is {digest}, the manifest says {entry.sha256}. The file is corrupt or was "
                "replaced: restore it or export the model again"
            )
        return file

    def model_id(self, precision: Precision = "fp32") -> str:
        """Name, precision and start of the file's hash: says in a message which weights answered."""
        return f"{self.manifest.name}-{precision}-{self.manifest.files[precision].sha256[:8]}"


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest.yaml`` into the bundle's folder."""
    text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    (path / MANIFEST).write_text(text, encoding="utf-8")


def sha256_of(file: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(file, "rb") as stream:
        digest = hashlib.sha256()
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
        return digest.hexdigest()
