"""What fer.launch.py starts: which nodes, with which names, topics and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer_perception.launching.arguments import CAMERA, FerArguments, declared, misspelt_arguments, parse
from fer_perception.settings import Value, ViewNodeSettings, settings_of
from fer_perception.settings.unused import file_keys, matches, unused_keys

ARGUMENTS = declared(FerArguments)
FACES = ("range", "image_rotation", "face_mode", "min_confidence", "max_faces", "publish_tf")


@dataclass(frozen=True)
class PlannedNode:
    """A process of this package. What is empty is not set.

    ``chosen``: the parameters that the user gave arguments for. These win over ``params_file``, which wins over
    ``parameters``. ``ends_launch``: when it ends, everything is shut down.
    """

    executable: str
    name: str = ""
    namespace: str = ""
    remappings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)
    params_file: str = ""
    chosen: dict[str, Value] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    enclave: str = ""
    log_level: str = ""
    ends_launch: bool = False


@dataclass(frozen=True)
class Plan:
    """``build_engine``: arguments of build_engine, which runs before the nodes; None: it does not run.

    ``notes``: what the user is told. ``warnings``: what the user has set and nobody takes.
    """

    nodes: tuple[PlannedNode, ...]
    build_engine: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def plan(given: Mapping[str, str]) -> Plan:
    """The plan for launch arguments; missing ones have their defaults.

    :raises FerError: a value cannot be used, or values contradict each other.
    """
    arguments = parse(FerArguments, given)
    nodes = [node for camera in arguments.cameras or ("",) for node in _pipeline(arguments, camera)]
    if arguments.shared_process:
        nodes.insert(0, _shared(arguments))
    if not arguments.cameras and arguments.source != "none":
        nodes.append(_node(arguments, "source_node"))
    keys = file_keys(Path(arguments.params_file)) if arguments.params_file else []
    names = [name for node in nodes for name in _full_names(arguments, node)]
    ignored = unused_keys(f"params_file:={arguments.params_file}", keys, names)
    notes = ("split: face_node runs with privacy off, the faces' pixels are on the topic faces",)
    return Plan(
        nodes=tuple(_with_its_file(arguments, node, keys) for node in nodes),
        build_engine=_build_engine(arguments) if arguments.prebuild else None,
        notes=notes if arguments.split else (),
        warnings=tuple(filter(None, (misspelt_arguments(given, ARGUMENTS), ignored))),
    )


def _with_its_file(arguments: FerArguments, node: PlannedNode, keys: Sequence[str]) -> PlannedNode:
    """A node gets the user's file only if something in it is of it: it warns of files that have nothing for it."""
    names = _full_names(arguments, node)
    has_some = any(matches(key, name) for key in keys for name in names)
    return replace(node, params_file="") if keys and not has_some else node


def _full_names(arguments: FerArguments, node: PlannedNode) -> list[str]:
    """The full names of the nodes in a process."""
    if node.name:
        return [node.enclave]
    space = arguments.namespace.strip("/")
    return ["/" + f"{space}/{camera}/fer_node".lstrip("/") for camera in arguments.cameras]


def _pipeline(arguments: FerArguments, camera: str) -> list[PlannedNode]:
    """The nodes of one camera, but for the fer_node of a shared process."""
    executables = ["face_node", "emotion_node"] if arguments.split else ["fer_node"] * (not arguments.shared_process)
    executables += ["overlay_node"] * arguments.overlay + ["view_node"] * arguments.view + ["hri_node"] * arguments.hri
    return [_node(arguments, executable, camera) for executable in executables]


def _node(arguments: FerArguments, executable: str, camera: str = "") -> PlannedNode:
    namespace = f"{arguments.namespace.rstrip('/')}/{camera}" if camera else arguments.namespace
    parameters, chosen = _parameters(arguments, executable, camera)
    return PlannedNode(
        executable,
        name=executable,
        namespace=namespace,
        remappings={"image": _image(arguments).replace(CAMERA, camera)},
        parameters=parameters,
        params_file=arguments.params_file,
        chosen=chosen,
        # Used only where ROS_SECURITY_ENABLE says so; see docs/security.md.
        enclave="/" + f"{namespace}/{executable}".lstrip("/"),
        log_level=arguments.log_level,
    )


def _shared(arguments: FerArguments) -> PlannedNode:
    """All fer_nodes, which name themselves."""
    parameters, chosen = _parameters(arguments, "fer_node")
    return PlannedNode(
        "fer_nodes",
        parameters=parameters,
        params_file=arguments.params_file,
        chosen=chosen,
        arguments=(
            *("--namespace", arguments.namespace.rstrip("/")),
            *("--image", _image(arguments)),
            *("--cameras", *arguments.cameras),
        ),
        log_level=arguments.log_level,
    )


def _image(arguments: FerArguments) -> str:
    return arguments.image or (f"/{CAMERA}/image_raw" if arguments.cameras else "image")


def _parameters(
    arguments: FerArguments, executable: str, camera: str = ""
) -> tuple[dict[str, Value], dict[str, Value]]:
    """The parameters that the launch arguments set, of those that a node has: by default, and by the user's choice."""
    images = {"image_transport": arguments.image_transport}
    faces: dict[str, Value] = {name: getattr(arguments, name) for name in FACES}
    faces["camera_info"] = arguments.camera_info.replace(CAMERA, camera)
    model = {"model": arguments.model} if arguments.model else {}
    engine = {"precision": arguments.precision, "backend": arguments.backend, "prior": arguments.prior}
    privacy = {"privacy": arguments.privacy} if arguments.privacy else {}
    audit = {"audit.folder": arguments.audit_folder}
    shown: dict[str, Value] = {**images, **privacy, "show_attention": arguments.show_attention}
    nodes: dict[str, dict[str, Value]] = {
        "fer_node": {**images, **faces, **model, **engine, **privacy, **audit},
        "face_node": {**images, **faces, **model, "backend": arguments.backend, "privacy": "off"},
        "emotion_node": {**model, **engine, **audit},
        "overlay_node": shown,
        "view_node": {**shown, "view_address": arguments.view_address, **_view_port(arguments, camera)},
        "hri_node": {**images, **privacy},
        "source_node": {"source": arguments.source, "loop": arguments.loop},
    }
    every = {"autostart": arguments.autostart, **({"use_sim_time": True} if arguments.use_sim_time else {})}
    given = {name.replace("audit_", "audit.") for name in arguments.given()}
    if executable == "face_node":
        given.add("privacy")  # without the crops emotion_node has nothing to work on
    found = every | nodes[executable]
    chosen = {name: value for name, value in found.items() if name in given}
    return {name: value for name, value in found.items() if name not in given}, chosen


def _view_port(arguments: FerArguments, camera: str) -> dict[str, Value]:
    """Each camera's page has a port of its own; each takes two."""
    if not camera:
        return {}
    first = int(settings_of(ViewNodeSettings)["view_port"].default)
    return {"view_port": first + 2 * arguments.cameras.index(camera)}


def _build_engine(arguments: FerArguments) -> tuple[str, ...]:
    model = ("--model", arguments.model) if arguments.model else ()
    return ("--precision", arguments.precision, *model)
