"""What the launch files decide, without launch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_perception.errors import BagError, FerError
from fer_perception.launching import plan as fer
from fer_perception.launching import replay
from fer_perception.launching.plan import Plan, PlannedNode
from fer_perception.replay.storage.new_bag import Item, write_bag
from fer_perception.settings import NODE_SETTINGS, Value, settings_of

FACES = {
    "range": "auto",
    "image_rotation": 0,
    "face_mode": "keypoints",
    "min_confidence": 0.75,
    "max_faces": 10,
    "publish_tf": False,
    "camera_info": "",
}
NOTE = "split: face_node runs with privacy off, the faces' pixels are on the topic faces"


def planned(plan: Callable[..., Plan], *arguments: str) -> Plan:
    """The plan for arguments as they stand on a command line."""
    return plan(dict(argument.split(":=", 1) for argument in arguments))


def run(*arguments: str) -> list[str]:
    """The processes with their namespaces."""
    return [f"{node.namespace}/{node.executable}" for node in planned(fer.plan, *arguments).nodes]


def parameters(*arguments: str) -> dict[str, dict[str, Value]]:
    """All that are set, whichever wins."""
    return {node.executable: {**node.parameters, **node.chosen} for node in planned(fer.plan, *arguments).nodes}


def images(*arguments: str) -> list[str]:
    """The topic that each node takes for image."""
    return [node.remappings["image"] for node in planned(fer.plan, *arguments).nodes]


def test_planning_needs_neither_launch_nor_rclpy() -> None:
    code = "import sys, fer_perception.launching.replay; print({'launch', 'launch_ros', 'rclpy'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_defaults() -> None:
    engine = {"precision": "auto", "backend": "auto", "prior": "balanced"}
    common = {"namespace": "fer", "remappings": {"image": "image"}, "log_level": "info"}
    assert fer.plan({}) == Plan(
        (
            PlannedNode(
                "fer_node",
                "fer_node",
                enclave="/fer/fer_node",
                parameters={
                    "autostart": True,
                    "image_transport": "raw",
                    **FACES,
                    **engine,
                    "audit.folder": "",
                },
                **common,
            ),
            PlannedNode(
                "overlay_node",
                "overlay_node",
                enclave="/fer/overlay_node",
                parameters={
                    "autostart": True,
                    "image_transport": "raw",
                    "show_attention": False,
                },
                **common,
            ),
            PlannedNode(
                "source_node",
                "source_node",
                enclave="/fer/source_node",
                parameters={"autostart": True, "source": "0", "loop": False},
                **common,
            ),
        )
    )


@pytest.mark.parametrize(
    ("arguments", "nodes"),
    [
        ("source:=none", ["fer/fer_node", "fer/overlay_node"]),
        ("source:=none overlay:=false", ["fer/fer_node"]),
        ("source:=none view:=true", ["fer/fer_node", "fer/overlay_node", "fer/view_node"]),
        ("overlay:=False hri:=TRUE", ["fer/fer_node", "fer/hri_node", "fer/source_node"]),
        ("overlay:=0 hri:=1 source:=none", ["fer/fer_node", "fer/hri_node"]),
        ("split:=true", ["fer/face_node", "fer/emotion_node", "fer/overlay_node", "fer/source_node"]),
        ("split:=true privacy:=off overlay:=false source:=none", ["fer/face_node", "fer/emotion_node"]),
        ("namespace:=robot/head overlay:=false", ["robot/head/fer_node", "robot/head/source_node"]),
        (
            "cameras:=front,rear",
            ["fer/front/fer_node", "fer/front/overlay_node", "fer/rear/fer_node", "fer/rear/overlay_node"],
        ),
        ("cameras:=front overlay:=false source:=astronaut", ["fer/front/fer_node"]),
        (
            "cameras:=a,b/c split:=true overlay:=false",
            ["fer/a/face_node", "fer/a/emotion_node", "fer/b/c/face_node", "fer/b/c/emotion_node"],
        ),
        ("cameras:=a,b overlay:=false namespace:=/", ["/a/fer_node", "/b/fer_node"]),
        (
            "cameras:=a,b shared_process:=true",
            ["/fer_nodes", "fer/a/overlay_node", "fer/b/overlay_node"],
        ),
        ("cameras:=a hri:=true overlay:=false", ["fer/a/fer_node", "fer/a/hri_node"]),
    ],
)
def test_which_nodes_run_where(arguments: str, nodes: list[str]) -> None:
    assert run(*arguments.split()) == nodes


def test_each_camera_has_a_page_of_its_own_where_the_user_says() -> None:
    arguments = "cameras:=a,b view:=true overlay:=false show_attention:=true view_address:=0.0.0.0"
    nodes = planned(fer.plan, *arguments.split()).nodes
    views = [node.parameters | node.chosen for node in nodes if node.executable == "view_node"]
    assert [view["view_port"] for view in views] == [9500, 9502]
    assert [view["view_address"] for view in views] == ["0.0.0.0"] * 2
    assert all(view["show_attention"] for view in views)


def test_spaces_around_the_names_of_cameras_do_not_count() -> None:
    assert planned(fer.plan, "cameras:=front, rear") == planned(fer.plan, "cameras:=front,rear")


@pytest.mark.parametrize(
    ("arguments", "topics"),
    [
        ("source:=none image:=/camera/image_raw", ["/camera/image_raw"]),
        ("image:=~/image", ["~/image", "~/image"]),
        ("cameras:=front,rear", ["/front/image_raw", "/rear/image_raw"]),
        ("cameras:=front,rear image:=/cam_{camera}/{camera}/rgb", ["/cam_front/front/rgb", "/cam_rear/rear/rgb"]),
        ("cameras:=front,rear image:=image_raw", ["image_raw", "image_raw"]),  # in each camera's namespace
        ("cameras:=front image:=/image_raw", ["/image_raw"]),
    ],
)
def test_the_topic_of_the_images(arguments: str, topics: list[str]) -> None:
    assert images("overlay:=false", *arguments.split()) == topics


@pytest.mark.parametrize(
    ("arguments", "topics"),
    [
        ("cameras:=front,rear", ["", ""]),  # beside the images
        ("cameras:=front,rear camera_info:=/cam/{camera}/info", ["/cam/front/info", "/cam/rear/info"]),
        ("cameras:=front,rear camera_info:=info", ["info", "info"]),  # in each camera's namespace
        ("cameras:=front camera_info:=/info", ["/info"]),
        ("cameras:=front,rear camera_info:=/cam/{camera}/info split:=true", ["/cam/front/info", "/cam/rear/info"]),
        ("cameras:=front,rear camera_info:=info shared_process:=true", ["info"]),
    ],
)
def test_the_topic_of_the_calibration(arguments: str, topics: list[str]) -> None:
    nodes = planned(fer.plan, "overlay:=false", *arguments.split()).nodes
    found = [{**node.parameters, **node.chosen} for node in nodes]
    assert [values["camera_info"] for values in found if "camera_info" in values] == topics


def test_parameters_reach_the_nodes_that_have_them() -> None:
    given = [
        "autostart:=false",
        "range:=far",
        "image_rotation:=180",
        "face_mode:=mesh",
        "min_confidence:=0.5",
        "max_faces:=3",
        "camera_info:=/eye/camera_info",
        "precision:=fp16",
        "backend:=tensorrt",
        "model:=42",
        "loop:=true",
        "source:=film.mp4",
        "hri:=true",
        "privacy:=strict",
        "audit_folder:=/var/log/fer",
        "prior:=training",
    ]
    images, privacy = {"autostart": False, "image_transport": "raw"}, {"privacy": "strict"}
    engine = {"model": "42", "precision": "fp16", "backend": "tensorrt", "prior": "training"}
    faces = {"range": "far", "image_rotation": 180, "face_mode": "mesh", "min_confidence": 0.5, "max_faces": 3}
    faces |= {"publish_tf": False, "camera_info": "/eye/camera_info"}
    assert parameters(*given) == {
        "fer_node": {**images, **privacy, **engine, **faces, "audit.folder": "/var/log/fer"},
        "overlay_node": {**images, **privacy, "show_attention": False},
        "hri_node": {**images, **privacy},
        "source_node": {"autostart": False, "source": "film.mp4", "loop": True},
    }


def test_split_sends_pixels_and_says_so() -> None:
    given = ["split:=true", "model:=baseline", "image_transport:=compressed", "source:=none", "face_mode:=mesh"]
    given += ["publish_tf:=true"]
    assert parameters(*given, "audit_folder:=audit", "show_attention:=true") == {
        "face_node": {
            "autostart": True,
            "image_transport": "compressed",
            **FACES,
            "face_mode": "mesh",
            "publish_tf": True,
            "model": "baseline",
            "backend": "auto",
            "privacy": "off",
        },
        "emotion_node": {
            "autostart": True,
            "model": "baseline",
            "precision": "auto",
            "backend": "auto",
            "prior": "balanced",
            "audit.folder": "audit",
        },
        "overlay_node": {
            "autostart": True,
            "image_transport": "compressed",
            "show_attention": True,
        },
    }
    assert planned(fer.plan, *given).notes == (NOTE,)
    assert parameters(*given, "privacy:=off")["overlay_node"]["privacy"] == "off"


def test_cameras_in_a_shared_process() -> None:
    given = "cameras:=front,rear shared_process:=true overlay:=false precision:=int8 log_level:=WARN"
    assert planned(fer.plan, *given.split()).nodes == (
        PlannedNode(
            "fer_nodes",
            arguments=("--namespace", "fer", "--image", "/{camera}/image_raw", "--cameras", "front", "rear"),
            parameters={
                "autostart": True,
                "image_transport": "raw",
                **FACES,
                "backend": "auto",
                "prior": "balanced",
                "audit.folder": "",
            },
            chosen={"precision": "int8"},
            log_level="warn",
        ),
    )


def test_fer_nodes_understands_its_arguments() -> None:
    parse_arguments = pytest.importorskip("fer_perception.nodes.fer_nodes").parse_arguments
    given = ["cameras:=front,rear", "shared_process:=true", "overlay:=false", "image:=/cam/{camera}"]
    for namespace, root in (("namespace:=robot", "robot"), ("namespace:=/robot", "/robot"), ("namespace:=/", "")):
        (node,) = planned(fer.plan, *given, namespace).nodes
        options = parse_arguments(list(node.arguments))
        assert vars(options) == {"cameras": ["front", "rear"], "image": "/cam/{camera}", "namespace": root}


@pytest.mark.parametrize(
    ("arguments", "enclaves"),
    [
        ("namespace:=/fer", ["/fer/fer_node"]),
        ("namespace:=/fer/", ["/fer/fer_node"]),
        ("namespace:=a/b/", ["/a/b/fer_node"]),
        ("namespace:=/", ["/fer_node"]),
        ("namespace:=//", ["/fer_node"]),
        ("namespace:=/ cameras:=front", ["/front/fer_node"]),
        ("namespace:=robot/fer cameras:=front,rear", ["/robot/fer/front/fer_node", "/robot/fer/rear/fer_node"]),
    ],
)
def test_each_node_has_an_enclave_of_its_full_name(arguments: str, enclaves: list[str]) -> None:
    plan = planned(fer.plan, "source:=none", "overlay:=false", *arguments.split())
    assert [node.enclave for node in plan.nodes] == enclaves


def test_a_parameter_file_and_a_log_level_are_every_nodes(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.touch()
    for shape in ("split:=true", "hri:=true", "cameras:=a,b", "cameras:=a,b shared_process:=true"):
        nodes = planned(fer.plan, *shape.split(), f"params_file:={file}", "log_level:=debug").nodes
        assert {node.params_file for node in nodes} == {str(file)}
        assert {node.log_level for node in nodes} == {"debug"}


def params_file(folder: Path, *keys: str) -> str:
    """An argument: a file with a parameter for each of these nodes."""
    file = folder / "params.yaml"
    file.write_text("".join(f"{key}:\n  ros__parameters:\n    max_faces: 2\n" for key in keys))
    return f"params_file:={file}"


@pytest.mark.parametrize(
    ("arguments", "keys", "named"),
    [
        (
            "",
            ["fer_node"],
            "what is under /fer_node is not used, as no node here has that name. Write /fer/fer_node or",
        ),
        ("split:=true", ["/fer/fer_node"], "Write /fer/face_node or /fer/emotion_node"),
        ("namespace:=robot", ["/fer/fer_node", "/fer/overlay_node"], "Write /robot/fer_node"),
        ("", ["/**", "fer_node"], "what is under /fer_node is not used"),
        ("", ["/**/source_node", "/fer/fer_nod"], "what is under /fer/fer_nod is not used"),
        ("", ["/fer/fer_node", "/fer/fer_nod"], "what is under /fer/fer_nod is not used"),
        (
            "cameras:=front,rear shared_process:=true",
            ["/fer/fer_node"],
            "Write /fer/front/fer_node or /fer/rear/fer_node",
        ),
    ],
)
def test_a_parameter_file_that_is_of_no_node_is_told(
    arguments: str, keys: list[str], named: str, tmp_path: Path
) -> None:
    plan = planned(fer.plan, *arguments.split(), params_file(tmp_path, *keys))
    (warning,) = plan.warnings
    assert named in warning
    assert warning.startswith("params_file:=")


@pytest.mark.parametrize(
    ("arguments", "keys", "executables"),
    [
        ("", ["/**"], ["fer_node", "overlay_node", "source_node"]),
        ("", ["/fer/fer_node"], ["fer_node"]),
        ("", ["/**/fer_node", "/**/hri_node", "/other/planner"], ["fer_node"]),
        ("", ["/one/fer/fer_node", "/fer/fer_node"], ["fer_node"]),
        ("", ["/fer/fer_node", "/fer/fer_node_2"], ["fer_node"]),
        ("namespace:=/", ["fer_node"], ["fer_node"]),
        ("cameras:=front,rear overlay:=false", ["/fer/front/fer_node"], ["fer_node"]),
        ("cameras:=front,rear overlay:=false shared_process:=true", ["/fer/rear/fer_node"], ["fer_nodes"]),
    ],
)
def test_a_parameter_file_goes_to_the_nodes_that_it_is_of(
    arguments: str, keys: list[str], executables: list[str], tmp_path: Path
) -> None:
    plan = planned(fer.plan, *arguments.split(), params_file(tmp_path, *keys))
    assert plan.warnings == ()
    assert [node.executable for node in plan.nodes if node.params_file] == executables


def test_a_misspelt_argument_is_told() -> None:
    plan = planned(fer.plan, "privcy:=strict", "map:=kitchen.yaml")
    assert plan.warnings == ("the argument privcy:= is not known and not used: privacy:= is",)


def test_what_the_user_chose_wins_over_the_parameter_file_and_a_default_does_not() -> None:
    (node,) = planned(fer.plan, *["source:=none", "overlay:=false", "model:=baseline", "use_sim_time:=true"]).nodes
    assert node.chosen == {"model": "baseline", "use_sim_time": True}
    assert not {"model", "use_sim_time"} & node.parameters.keys()
    (node, *_) = planned(fer.plan, "split:=true").nodes
    assert node.chosen == {"privacy": "off"}  # whatever the file says: emotion_node needs the crops


def test_an_engine_is_built_first_where_that_is_wished() -> None:
    assert fer.plan({}).build_engine is None
    assert planned(fer.plan, "prebuild:=true").build_engine == ("--precision", "auto")
    plan = planned(fer.plan, *["prebuild:=true", "model:=baseline", "precision:=fp16", "backend:=tensorrt"])
    assert plan.build_engine == ("--precision", "fp16", "--model", "baseline")
    assert [node.executable for node in plan.nodes] == ["fer_node", "overlay_node", "source_node"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("split:=yes", "split:=yes: use true or false"),
        ("overlay:=", "overlay:=: use true or false"),
        ("precision:=fp8", "precision:=fp8: use 'auto', 'fp32', 'fp16' or 'int8'"),
        ("backend:=cuda", "backend:=cuda: use 'auto', 'tensorrt' or 'onnxruntime'"),
        ("face_mode:=3d", "face_mode:=3d: use 'keypoints' or 'mesh'"),
        ("range:=5", "range:=5: use 'near', 'far' or 'auto'"),
        ("image_rotation:=45", "image_rotation:=45: use 0, 90, 180 or 270"),
        ("image_rotation:=right", "image_rotation:=right: use 0, 90, 180 or 270"),
        ("image_transport:=h264", "image_transport:=h264: use 'raw' or 'compressed'"),
        ("privacy:=foo", "privacy:=foo: use 'off', 'no_images', 'strict' or ''"),
        ("log_level:=loud", "log_level:=loud: use 'debug', 'info', 'warn', 'error' or 'fatal'"),
        ("source:=", "source:=: String should have at least 1 character"),
        ("params_file:=missing.yaml", "params_file:=missing.yaml: there is no such file"),
        ("params_file:=.", "params_file:=.: there is no such file"),
        ("cameras:=a,a,b", "cameras:=a,a,b: a is given more than once"),
        ("cameras:=a,,b", "cameras:=a,,b: '' cannot be a namespace, use letters, digits and _"),
        ("cameras:=front,rear left", "cameras:=front,rear left: 'rear left' cannot be a namespace"),
        ("cameras:=1,2", "cameras:=1,2: '1' cannot be a namespace"),
        ("cameras:=/front", "cameras:=/front: '/front' cannot be a namespace"),
        ("namespace:=", "namespace:=: use letters, digits and _"),
        ("namespace:=/a b", "namespace:=/a b: use letters, digits and _"),
        ("min_confidence:=high", "min_confidence:=high: "),
        ("min_confidence:=2", "min_confidence:=2: .* less than or equal to 1"),
        ("max_faces:=0", "max_faces:=0: .* greater than or equal to 1"),
        ("hri:=true|cameras:=a,b", "hri:=true: the topics of REP 155 are absolute"),
        ("namespace:=a//b", "namespace:=a//b: use letters, digits and _"),
        ("namespace:=my robot", "namespace:=my robot: use letters, digits and _"),
        ("image:=/camera/", "image:=/camera/: use letters, digits and _"),
        ("image:=my camera", "image:=my camera: use letters, digits and _"),
        ("cameras:=a|image:=/{name}/rgb", "image:=/{name}/rgb: use letters.*; the only placeholder is {camera}"),
        ("image:=/{camera}/rgb", "image:=/{camera}/rgb: {camera} stands for the names in cameras, which is empty"),
        ("cameras:=a,b|image:=/rgb", "image:=/rgb: all cameras would have the same topic. Use {camera} in it"),
        ("camera_info:=/eye/", "camera_info:=/eye/: use letters, digits and _"),
        ("camera_info:=/{camera}/i", "camera_info:=/{camera}/i: {camera} stands for the names in cameras"),
        ("cameras:=a,b|camera_info:=/i", "camera_info:=/i: all cameras would have the same topic. Use {camera} in it"),
        (
            "cameras:=a,b|shared_process:=true|camera_info:=/{camera}/i",
            "camera_info:=/{camera}/i: shared_process:=true gives all cameras the same parameters",
        ),
        ("privacy:=strict|publish_tf:=true", "publish_tf:=true: privacy:=strict publishes no positions"),
        ("image_transport:=compressed", "image_transport:=compressed: source_node publishes raw.*Use source:=none"),
        ("shared_process:=true", "shared_process:=true: it is for several cameras. Name them"),
        ("shared_process:=true|cameras:=a,b|split:=true", "shared_process:=true: split:=true runs no fer_node"),
        ("split:=true|privacy:=strict", "privacy:=strict: split:=true sends the faces' pixels.*or privacy:=off"),
        ("split:=true|privacy:=no_images", "privacy:=no_images: split:=true sends the faces' pixels"),
        ("overlay:=false|show_attention:=true", "show_attention:=true: the maps are drawn into the overlay"),
        ("privacy:=strict|show_attention:=true", "show_attention:=true: privacy:=strict publishes no maps"),
        ("prebuild:=true|backend:=onnxruntime", "prebuild:=true: backend:=onnxruntime needs no engine"),
        ("split:=2|precision:=x", "split:=2: use true or false; precision:=x: use 'auto'"),
    ],
)
def test_wrong_arguments_are_named_with_what_is_allowed(arguments: str, message: str) -> None:
    pattern = message.replace("(", r"\(").replace("{", r"\{")
    with pytest.raises(FerError, match=f"^{pattern}"):
        planned(fer.plan, *arguments.split("|"))


def test_arguments_of_an_including_launch_file_are_ignored() -> None:
    assert planned(fer.plan, "robot_model:=tiago", "rate:=fast") == fer.plan({})


def test_declared_defaults_are_those_of_no_arguments() -> None:
    assert all(argument.description for argument in replay.ARGUMENTS + fer.ARGUMENTS)
    assert fer.plan({argument.name: argument.default for argument in fer.ARGUMENTS}) == fer.plan({})
    assert [argument.name for argument in replay.ARGUMENTS if argument.default is None] == ["bag"]


def test_the_nodes_have_the_parameters_with_the_same_defaults() -> None:
    plans = fer.plan({"hri": "true", "model": "42"}), fer.plan({"split": "true"})
    for node in (node for plan in plans for node in plan.nodes):
        known = {name: setting.default for name, setting in settings_of(NODE_SETTINGS[node.executable]).items()}
        own = {"source", "model"} | ({"privacy"} if node.executable == "face_node" else set())
        assert set(node.parameters) <= set(known)
        assert {name: known[name] for name in set(node.parameters) - own} == {
            name: value for name, value in node.parameters.items() if name not in own
        }


# replay.launch.py -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags") / "compressed"
    write_bag((Item(np.zeros((48, 64, 3), np.uint8)) for _ in range(2)), folder, 10.0, encoding="jpeg")
    return folder


def test_a_bag_is_played_to_the_pipeline_in_its_own_time(bag: Path) -> None:
    options = "options:=--labels 'my kitchen.csv' --rate 2"
    plan = planned(replay.plan, f"bag:={bag}", "namespace:=robot", "log_level:=warn", options)
    assert [node.executable for node in plan.nodes] == ["fer_node", "overlay_node", "live_replay"]
    for node in plan.nodes[:-1]:
        assert node.chosen == {"use_sim_time": True, "image_transport": "compressed"}
        assert (node.namespace, node.remappings, node.ends_launch) == ("robot", {"image": "image"}, False)
    assert plan.nodes[-1] == PlannedNode(
        "live_replay",
        namespace="robot",
        arguments=(str(bag), "--attach", "--labels", "my kitchen.csv", "--rate", "2"),
        ends_launch=True,
    )


def test_the_pipeline_of_a_replay_is_the_users(bag: Path) -> None:
    given = ["split:=true", "overlay:=false", "model:=my_bundle", "prebuild:=true"]
    plan = planned(replay.plan, f"bag:={bag}", *given)
    assert [node.executable for node in plan.nodes] == ["face_node", "emotion_node", "live_replay"]
    assert plan.nodes[1].chosen == {"model": "my_bundle", "use_sim_time": True}
    assert plan.build_engine == ("--precision", "auto", "--model", "my_bundle")
    assert plan.notes == (NOTE,)


def test_raw_images_and_a_chosen_topic(tmp_path: Path) -> None:
    write_bag([Item(np.zeros((48, 64, 3), np.uint8))], tmp_path / "raw", 10.0, topic="/rear/image")
    plan = planned(replay.plan, f"bag:={tmp_path / 'raw'}", "topic:=/rear/image")
    assert plan.nodes[0].parameters["image_transport"] == "raw"
    assert plan.nodes[-1].arguments == (str(tmp_path / "raw"), "--attach", "--topic=/rear/image")


def test_what_the_bag_decides_is_no_argument_of_a_replay(bag: Path) -> None:
    given = "source:=7 image:=/x cameras:=a,b shared_process:=true loop:=true image_transport:=raw use_sim_time:=false"
    ignored = given.split()
    names = {argument.name for argument in replay.ARGUMENTS}
    assert not names & {argument.split(":=")[0] for argument in ignored}
    assert {argument.name for argument in fer.ARGUMENTS} - names == {argument.split(":=")[0] for argument in ignored}
    plan = planned(replay.plan, f"bag:={bag}", *ignored)
    assert [warning.split()[2] for warning in plan.warnings] == [f"{text.split(':=')[0]}:=" for text in ignored]
    assert replace(plan, warnings=()) == planned(replay.plan, f"bag:={bag}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "bag:=: Field required"),
        (("bag:={bag}", "options:=--labels 'a"), "options:=--labels 'a: No closing quotation"),
        (("bag:={bag}", "precision:=fp8"), "precision:=fp8: use 'auto'"),
        (("bag:={bag}", "split:=true", "privacy:=strict"), "privacy:=strict: split:=true sends"),
    ],
)
def test_wrong_arguments_of_a_replay(bag: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(FerError, match=f"^{message}"):
        planned(replay.plan, *(argument.replace("{bag}", str(bag)) for argument in arguments))


def test_a_bag_that_cannot_be_used(bag: Path) -> None:
    with pytest.raises(BagError, match=r"missing: there is no such bag"):
        planned(replay.plan, "bag:=missing")
    with pytest.raises(BagError, match=r"has no image topic /rear.*It has /"):
        planned(replay.plan, f"bag:={bag}", "topic:=/rear")


@pytest.mark.parametrize(
    ("given", "model", "precision", "reach"),
    [
        (["profile:=fast"], "quantized", "int8", "near"),
        (["profile:=accurate", "model:=", "precision:=auto"], "hybrid_attention_lite0", "fp32", "far"),
        (["profile:=fast", "range:=far", "model:=mine"], "mine", "int8", "far"),
    ],
)
def test_profiles(given: list[str], model: str, precision: str, reach: str, tmp_path: Path) -> None:
    """A profile wins over the user's file, and other arguments over the profile."""
    file = tmp_path / "params.yaml"
    file.write_text("/**:\n  ros__parameters:\n    model: another\n")
    node = planned(fer.plan, *given, f"params_file:={file}", "source:=none", "overlay:=false").nodes[0]
    assert node.chosen == {"model": model, "precision": precision, "range": reach}
    split = planned(fer.plan, *given, "split:=true", "source:=none", "overlay:=false").nodes
    assert [node.chosen["model"] for node in split] == [model, model]
    assert split[0].chosen["range"] == reach
    assert split[1].chosen["precision"] == precision


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(FerError, match="profile:=fats: use '', 'fast' or 'accurate'"):
        planned(fer.plan, "profile:=fats")
