"""The arguments of fer.launch.py: names, defaults, descriptions, and which values they take."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from fer_perception.errors import FerError
from fer_perception.models.shipped import DEFAULT_MODEL
from fer_perception.settings import (
    Backend,
    FaceMode,
    FerNodeSettings,
    ImageTransport,
    OverlayNodeSettings,
    PrecisionChoice,
    Privacy,
    Range,
    Settings,
    SourceNodeSettings,
    ViewNodeSettings,
    settings_of,
)
from fer_perception.settings.unused import nearest

CAMERA = "{camera}"

TOKEN = "[A-Za-z_][A-Za-z0-9_]*"
NAME = f"{TOKEN}(/{TOKEN})*"
# An including launch file has arguments of its own, which may be called alike.
ALIKE = 0.8
NAME_RULE = "use letters, digits and _, no digit first, and / between names"

# Values of other arguments, where these are not given.
PROFILES: dict[str, dict[str, str]] = {
    "fast": {"model": "quantized", "precision": "int8", "range": "near"},
    "accurate": {"model": DEFAULT_MODEL, "precision": "fp32", "range": "far"},
}

SWITCH = {"true": True, "1": True, "false": False, "0": False}


class Argument(NamedTuple):
    """A launch argument as it is declared. ``default`` None: it must be given."""

    name: str
    default: str | None
    description: str


def _switch(text: str) -> bool:
    if text.lower() not in SWITCH:
        raise ValueError("use true or false")
    return SWITCH[text.lower()]


def _whole(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


Switch = Annotated[bool, BeforeValidator(_switch)]
Quarters = Annotated[Literal[0, 90, 180, 270], BeforeValidator(_whole)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
LogLevel = Annotated[Literal["debug", "info", "warn", "error", "fatal"], BeforeValidator(str.lower)]


def _like(model: type[Settings], name: str) -> Any:
    """An argument that sets a parameter: its default and description are that setting's."""
    declared = settings_of(model)[name]
    allowed = f" ({declared.allowed})" if declared.allowed else ""
    low, high = declared.bounds or (None, None)
    return Field(declared.default, ge=low, le=high, description=declared.description + allowed)


def _profile_text() -> str:
    """What the profiles stand for."""
    return "; ".join(
        f"{profile}: as {' '.join(f'{name}:={value}' for name, value in values.items())}"
        for profile, values in PROFILES.items()
    )


PRIVACY = settings_of(FerNodeSettings)["privacy"]


class FerArguments(BaseModel):
    """The arguments' values, made of the texts on the command line. Values that contradict each other are refused."""

    model_config = ConfigDict(frozen=True)

    source: str = Field(
        "0",
        min_length=1,
        description="Camera index, video, image, folder, 'astronaut' (a test image), or 'none'; unused with cameras",
    )
    image: str = Field(
        "",
        description="Image topic, with {camera} for a camera's name; empty: image, or /{camera}/image_raw with cameras",
    )
    cameras: Names = Field(
        (), description="Names of several cameras, by commas: each gets nodes in a namespace of its own"
    )
    shared_process: Switch = Field(False, description="With cameras: all fer_nodes in one process, with one network")
    split: Switch = Field(False, description="face_node and emotion_node instead of fer_node")
    hri: Switch = Field(False, description="Also publish by REP 155 (/humans/faces/...); needs hri_msgs")
    overlay: Switch = Field(
        True, description="Also draw the results into the images, on the topic overlay, while somebody looks"
    )
    view: Switch = Field(
        False, description="Also show images and results on a page for a browser: view_node; needs rerun-sdk"
    )
    view_address: str = _like(ViewNodeSettings, "view_address")
    show_attention: Switch = _like(OverlayNodeSettings, "show_attention")
    loop: Switch = _like(SourceNodeSettings, "loop")
    image_transport: ImageTransport = _like(FerNodeSettings, "image_transport")
    profile: Literal["", "fast", "accurate"] = Field("", description=f"{_profile_text()}; empty: neither")
    model: str = _like(FerNodeSettings, "model")
    precision: PrecisionChoice = _like(FerNodeSettings, "precision")
    backend: Backend = _like(FerNodeSettings, "backend")
    prior: str = _like(FerNodeSettings, "prior")
    prebuild: Switch = Field(
        False, description="Build the model's TensorRT engine first (build_engine), then start the nodes"
    )
    range: Range = _like(FerNodeSettings, "range")
    image_rotation: Quarters = _like(FerNodeSettings, "image_rotation")
    face_mode: FaceMode = _like(FerNodeSettings, "face_mode")
    min_confidence: float = _like(FerNodeSettings, "min_confidence")
    max_faces: int = _like(FerNodeSettings, "max_faces")
    camera_info: str = Field(
        "",
        description="Topic of sensor_msgs/CameraInfo, for positions, with {camera} for a camera's name; empty: "
        "camera_info beside the images",
    )
    publish_tf: Switch = _like(FerNodeSettings, "publish_tf")
    privacy: Literal[Privacy, ""] = Field(
        "",
        description=f"{PRIVACY.description} ({PRIVACY.allowed}); empty: {PRIVACY.default}, and with split off, as the "
        "faces' pixels are sent",
    )
    audit_folder: str = _like(FerNodeSettings, "audit.folder")
    params_file: str = Field(
        "", description="YAML file with parameters of the nodes; an argument other than its default wins over it"
    )
    use_sim_time: Switch = Field(False, description="The nodes' time is that of /clock")
    autostart: Switch = _like(FerNodeSettings, "autostart")
    namespace: str = Field("fer", description="Namespace of all nodes and topics")
    log_level: LogLevel = Field("info", description="debug, info, warn, error or fatal")

    def given(self) -> set[str]:
        """The names of the arguments that have another value than their default."""
        return {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}

    @model_validator(mode="before")
    @classmethod
    def _of_profile(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What the profile stands for, but for arguments that have another value than their default."""
        chosen = PROFILES.get(given.get("profile", ""), {})
        fields = cls.model_fields
        return given | {
            name: value for name, value in chosen.items() if given.get(name) in (None, fields[name].default)
        }

    @field_validator("image", "camera_info")
    @classmethod
    def _topic(cls, topic: str) -> str:
        if topic and not re.fullmatch(f"(~?/)?{NAME}", topic.replace(CAMERA, "camera")):
            raise ValueError(f"{NAME_RULE}; the only placeholder is {CAMERA}")
        return topic

    @field_validator("cameras")
    @classmethod
    def _cameras(cls, cameras: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in cameras if not re.fullmatch(NAME, name)]:
            raise ValueError(f"{wrong[0]!r} cannot be a namespace, {NAME_RULE}")
        if twice := [name for name, count in Counter(cameras).items() if count > 1]:
            raise ValueError(f"{', '.join(twice)} is given more than once")
        return cameras

    @field_validator("namespace")
    @classmethod
    def _namespace(cls, namespace: str) -> str:
        names = namespace.strip("/")
        if not re.fullmatch(NAME, names) and set(namespace) != {"/"}:
            raise ValueError(f"{NAME_RULE}; / is the root namespace")
        return "/" + names if namespace.startswith("/") else names

    @field_validator("params_file")
    @classmethod
    def _file(cls, path: str) -> str:
        # launch_ros only warns, and the nodes would run with other parameters than the user's.
        if path and not Path(path).is_file():
            raise ValueError("there is no such file")
        return path

    def _topic_problems(self) -> Iterator[str]:
        for name, topic in {"image": self.image, "camera_info": self.camera_info}.items():
            if CAMERA in topic and not self.cameras:
                yield f"{name}:={topic}: {CAMERA} stands for the names in cameras, which is empty"
            if topic.startswith("/") and CAMERA not in topic and len(self.cameras) > 1:
                yield f"{name}:={topic}: all cameras would have the same topic. Use {CAMERA} in it"

    @model_validator(mode="after")
    def _consistent(self) -> FerArguments:
        contradictions = (
            (
                self.shared_process and CAMERA in self.camera_info,
                f"camera_info:={self.camera_info}: shared_process:=true gives all cameras the same parameters. Use a "
                "name below each camera's namespace, or leave it empty: camera_info beside the images",
            ),
            (
                self.image_transport == "compressed" and not self.cameras and self.source != "none",
                "image_transport:=compressed: source_node publishes raw images. Use source:=none, and the camera's own "
                "driver",
            ),
            (
                self.shared_process and not self.cameras,
                "shared_process:=true: it is for several cameras. Name them, as in cameras:=front,rear",
            ),
            (
                self.shared_process and self.split,
                "shared_process:=true: split:=true runs no fer_node. Use only one of the two",
            ),
            (
                self.split and self.privacy not in ("", "off"),
                f"privacy:={self.privacy}: split:=true sends the faces' pixels from face_node to emotion_node. Use "
                "split:=false, which keeps them in one process, or privacy:=off",
            ),
            (
                self.hri and len(self.cameras) > 1,
                "hri:=true: the topics of REP 155 are absolute, so the faces of several cameras would be mixed. Give "
                "one camera, or hri:=false, and start hri_node in one camera's namespace",
            ),
            (
                self.show_attention and not (self.overlay or self.view),
                "show_attention:=true: the maps are drawn into the overlay. Use overlay:=true",
            ),
            (
                self.show_attention and self.privacy == "strict",
                "show_attention:=true: privacy:=strict publishes no maps. Use another privacy mode",
            ),
            (
                self.publish_tf and self.privacy == "strict",
                "publish_tf:=true: privacy:=strict publishes no positions. Use another privacy mode",
            ),
            (
                self.prebuild and self.backend == "onnxruntime",
                "prebuild:=true: backend:=onnxruntime needs no engine. Use another backend, or prebuild:=false",
            ),
        )
        if found := [*self._topic_problems(), *(message for is_so, message in contradictions if is_so)]:
            raise ValueError("; ".join(found))
        return self


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], given: Mapping[str, str]) -> Model:
    """The values of the arguments that a model has; others, such as those of an including launch file, are ignored.

    :raises FerError: a value cannot be used; the message names all such arguments.
    """
    try:
        return model.model_validate({name: given[name] for name in model.model_fields if name in given})
    except ValidationError as error:
        raise FerError("; ".join(_problem(given, **details) for details in error.errors())) from error


def misspelt_arguments(given: Mapping[str, str], declared: Sequence[Argument]) -> str:
    """A warning of arguments that are like declared ones, and taken by nobody; empty where there are none.

    Others may be of an including launch file.
    """
    names = [argument.name for argument in declared]
    meant = {name: nearest(name, names, ALIKE) for name in given if name not in names}
    return "; ".join(
        f"the argument {name}:= is not known and not used: {known}:= is" for name, known in meant.items() if known
    )


def _problem(given: Mapping[str, str], loc: tuple[Any, ...], msg: str, **_: Any) -> str:
    message = msg.removeprefix("Value error, ").replace("Input should be", "use")
    return f"{loc[0]}:={given.get(loc[0], '')}: {message}" if loc else message


def declared(model: type[BaseModel]) -> tuple[Argument, ...]:
    """A model's arguments, in its order."""
    return tuple(
        Argument(name, None if field.is_required() else _text(field.default), field.description or "")
        for name, field in model.model_fields.items()
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)
