"""Model bundles: a folder with ``manifest.yaml`` and one ONNX file per precision."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fer_perception.errors import BundleError
from fer_perception.files import sha256_of, yaml_text
from fer_perception.labels import LABEL_LISTS
from fer_perception.preprocessing.alignment import AlignmentTemplate
from fer_perception.preprocessing.normalization import InputSpec

SCHEMA_VERSION = 1
MANIFEST = "manifest.yaml"
MAX_MANIFEST_BYTES = 1 << 20
FREQUENCY_TOLERANCE = 0.02  # of a sum of rounded frequencies

# A tensor whose values lie in another file has an entry with the key "location" (onnx.proto, TensorProto), and that
# file has no hash in the manifest. Field 1, length 8, "location"; protobuf's numbers may be longer than need be.
_EXTERNAL_DATA = re.compile(rb"(?:\x0a|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)location")

Precision = Literal["fp32", "fp16", "int8"]

# libyaml's is five times as fast.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ModelFile(BaseModel):
    """One ONNX file of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.-]+\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Abstention(BaseModel):
    """From which confidence on predictions are kept, and which fraction of the validation split that keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    coverage: float = Field(gt=0.0, le=1.0, allow_inf_nan=False)
    dataset: str


class Manifest(BaseModel):
    """The contents of ``manifest.yaml``.

    ``training`` (data and recipe) and ``metrics`` (as measured, by dataset and split) are kept as they were written:
    they inform people and are not read by the suite. The logits of every precision are divided by ``temperature``.
    ``label_frequencies``, in the order of ``labels`` and summing to 1, are the prior that training has put into the
    network's outputs, and ``prior_strength`` says how much of it balanced predictions take out, see
    :mod:`fer_perception.emotions.class_prior`; bundles without frequencies have no balanced predictions.
    ``abstention`` is used only where a node's parameter asks for it, and ``balanced_abstention`` in its place for
    balanced predictions. ``attention`` is the file that gives the network's attention map, where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[\w.-]+$")
    labels: tuple[str, ...]
    input: InputSpec
    alignment: AlignmentTemplate
    temperature: float = Field(default=1.0, ge=0.01, le=100.0, allow_inf_nan=False)
    label_frequencies: tuple[float, ...] | None = None
    prior_strength: float = Field(default=0.5, ge=0.0, le=1.0, allow_inf_nan=False)
    abstention: Abstention | None = None
    balanced_abstention: Abstention | None = None
    files: dict[Precision, ModelFile] = Field(min_length=1)
    attention: ModelFile | None = None
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

    @field_validator("label_frequencies")
    @classmethod
    def _frequencies_of_labels(cls, values: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        labels = info.data.get("labels")  # missing where they are invalid
        if values is None or labels is None:
            return values
        if len(values) != len(labels):
            raise ValueError(f"{len(values)} numbers for {len(labels)} labels")
        if not min(values) > 0 or not abs(sum(values) - 1) <= FREQUENCY_TOLERANCE:
            raise ValueError("must be positive and sum to 1")
        return values


def _plain_yaml(text: str) -> Any:
    """YAML without aliases: a few lines of them can stand for gigabytes."""
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases are not allowed, found *{event.anchor}{event.start_mark}")
    return yaml.load(text, Loader=_SafeLoader)


def _read_manifest(file: Path) -> Any:
    """Contents of a manifest.

    :raises BundleError: it cannot be read, is too large, or is no plain YAML.
    """
    try:
        if not file.is_file() and file.exists():
            raise OSError("not a regular file")
        with open(file, "rb") as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{file}: cannot be read ({error}). A model is a folder with a {MANIFEST} and ONNX files; "
            "give the path of such a folder"
        ) from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{file}: larger than {MAX_MANIFEST_BYTES} bytes. Restore it or export the model again")
    try:
        return _plain_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or number that is none
        raise BundleError(f"{file}: not valid YAML ({error}). Restore it or export the model again") from error


class Bundle:
    """A bundle on disk whose manifest was read and found valid.

    :param path: the bundle's folder.
    :raises BundleError: folder or manifest missing or invalid.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        manifest = self.path / MANIFEST
        content = _read_manifest(manifest)
        if isinstance(content, dict) and content.get("schema_version") != SCHEMA_VERSION:
            raise BundleError(
                f"{manifest}: schema_version is {repr(content.get('schema_version'))[:40]}, this version of "
                f"fer_perception reads {SCHEMA_VERSION}. Export the model again with the matching fer_training"
            )
        try:
            self.manifest = Manifest.model_validate(content)
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
            raise BundleError(f"{manifest}: {details}. Restore the file or export the model again") from error

    def onnx_file(self, precision: Precision = "fp32") -> Path:
        """Path of a precision's ONNX file, after its SHA-256 was checked. All of the model is in that file.

        :raises BundleError: the bundle lacks this precision, or the file is missing, not the one of the manifest, or
            has weights in other files.
        """
        entry = self.manifest.files.get(precision)
        if entry is None:
            raise BundleError(
                f"{self.path}: has no precision '{precision}', only {', '.join(sorted(self.manifest.files))}"
            )
        return self._checked(entry)

    def attention_file(self) -> Path:
        """Path of the ONNX file that gives attention maps, checked as :meth:`onnx_file` does.

        :raises BundleError: the bundle has none, or the file is not the one of the manifest.
        """
        if self.manifest.attention is None:
            raise BundleError(
                f"{self.path}: has no attention maps. Where its network has attention, add them with python -m "
                f"fer_training export --bundle {self.path}; else use another model"
            )
        return self._checked(self.manifest.attention)

    def _checked(self, entry: ModelFile) -> Path:
        file = self.path / entry.name
        try:
            if not file.is_file() and file.exists():  # of a device there is no end
                raise OSError("not a regular file")
            digest = sha256_of(file)
        except OSError as error:
            raise BundleError(f"{file}: cannot be read ({error}). Restore it or export the model again") from error
        if digest != entry.sha256:
            raise BundleError(
                f"{file}: SHA-256 is {digest}, the manifest says {entry.sha256}. The file is corrupt or was "
                "replaced: restore it or export the model again"
            )
        if _has_external_data(file):
            raise BundleError(
                f"{file}: has weights in another file, for which the manifest has no SHA-256. Save the model in one "
                "file (onnx.save, save_as_external_data=False)"
            )
        return file

    def model_id(self, precision: Precision = "fp32") -> str:
        """Name, precision and start of the file's hash: says in a message which weights predicted."""
        return f"{self.manifest.name}-{precision}-{self.manifest.files[precision].sha256[:8]}"


def _has_external_data(file: Path) -> bool:
    if not file.stat().st_size:
        return False
    with open(file, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _EXTERNAL_DATA.search(content) is not None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest.yaml`` into the bundle's folder."""
    content = manifest.model_dump(mode="json")
    for optional in ("label_frequencies", "abstention", "balanced_abstention", "attention"):
        if content[optional] is None:  # as bundles were written before there was any
            del content[optional]
    if "label_frequencies" not in content:
        del content["prior_strength"]
    (path / MANIFEST).write_text(yaml_text(content), encoding="utf-8")
