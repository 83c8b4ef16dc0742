"""Facial emotion recognition on a camera, or on several.

ros2 launch fer_perception fer.launch.py                                         the first camera of this computer
ros2 launch fer_perception fer.launch.py source:=none image:=/camera/image_raw   a camera with its own driver
ros2 launch fer_perception fer.launch.py cameras:=front,rear                     /front/image_raw and /rear/image_raw
ros2 launch fer_perception fer.launch.py source:=astronaut loop:=true            a test image, no camera needed
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, LogInfo, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage

from fer_perception.nodes.isolation import use_dds_profile
from launch import Action, LaunchContext, LaunchDescription

ARGUMENTS = (
    ("source", "0", "Camera index, video, picture, folder, 'astronaut' (a test image), or 'none'; unused with cameras"),
    ("image", "", "Image topic, with {camera} for a camera's name; empty: image, or /{camera}/image_raw with cameras"),
    ("cameras", "", "Names of several cameras, by commas: each gets nodes in a namespace of its own"),
    ("shared_process", "false", "With cameras: all fer_nodes in one process, with one network"),
    ("split", "false", "face_node and emotion_node instead of fer_node"),
    ("hri", "false", "Also publish by REP 155 (/humans/faces/...); needs hri_msgs"),
    ("overlay", "true", "Also draw the results into the images, on the topic overlay, while somebody looks"),
    ("show_attention", "false", "The overlay also shows where the network looked, if the model has such maps"),
    ("loop", "false", "Begin again at the end of a video or folder"),
    ("image_transport", "raw", "raw or compressed"),
    ("model", "", "Model bundle: a folder, or the name of a shipped one; empty: the default"),
    ("precision", "auto", "auto, fp32, fp16 or int8"),
    ("backend", "auto", "auto, tensorrt or onnxruntime"),
    ("prebuild", "false", "Build the model's TensorRT engine first (build_engine), then start the nodes"),
    ("face_mode", "keypoints", "keypoints (fast) or mesh (478 points and head orientation)"),
    ("privacy", "", "off, no_images or strict; empty: no_images, and with split off, as the faces' pixels are sent"),
    ("audit_folder", "", "Keep a tamper-evident log of the decisions below this folder; empty: none"),
    ("params_file", "", "YAML file with parameters of the nodes; it wins over the arguments above"),
    ("autostart", "true", "Configure and activate the nodes; false: leave that to ros2 lifecycle or a manager"),
    ("namespace", "fer", "Namespace of all nodes and topics"),
    ("log_level", "info", "debug, info, warn or error"),
)


def start_nodes(context: LaunchContext) -> list[Action]:
    """The nodes that the arguments ask for; with ``prebuild`` when the engine's build has ended, well or not."""
    given = {name: context.launch_configurations[name] for name, *_ in ARGUMENTS}
    switches = [name for name, default, _ in ARGUMENTS if default in ("true", "false")]
    wanted = {name: given[name].lower() in ("true", "1") for name in switches}
    cameras = [camera.strip() for camera in given["cameras"].split(",") if camera.strip()]
    image = given["image"] or ("/{camera}/image_raw" if cameras else "image")
    files = [given["params_file"]] if given["params_file"] else []
    if wanted["split"] and given["privacy"] not in ("", "off"):
        raise RuntimeError(
            f"privacy:={given['privacy']}: split:=true sends the faces' pixels from face_node to emotion_node. Use "
            "split:=false, which keeps them in one process, or privacy:=off"
        )
    privacy = {"privacy": given["privacy"] or "no_images"}
    notes = []
    if wanted["split"]:
        notes.append(LogInfo(msg="split: face_node runs with privacy off, the faces' pixels are on the topic faces"))
    parameters = {
        "autostart": wanted["autostart"],
        "image_transport": given["image_transport"],
        "face_mode": given["face_mode"],
        "precision": given["precision"],
        "backend": given["backend"],
        **({"model": given["model"]} if given["model"] else {}),
    }
    own = {
        "fer_node": {**privacy, "audit.folder": given["audit_folder"]},
        "face_node": {"privacy": "off"},
        "emotion_node": {"audit.folder": given["audit_folder"]},
        "overlay_node": {**privacy, "show_attention": wanted["show_attention"]},
        "hri_node": privacy,
    }
    common = {
        "package": "fer_perception",
        "output": "screen",
        "ros_arguments": ["--log-level", given["log_level"]],
    }

    def typed(values: dict[str, str | bool]) -> dict[str, ParameterValue]:
        """A text stays a text, also when it looks like a number."""
        return {name: ParameterValue(value, value_type=type(value)) for name, value in values.items()}

    def node(executable: str, namespace: str, topic: str, **extra: str | bool) -> Node:
        # Used only where ROS_SECURITY_ENABLE says so; see docs/security.md.
        enclave = ["--enclave", f"/{namespace}/{executable}"]
        return Node(
            **{**common, "ros_arguments": [*common["ros_arguments"], *enclave]},
            executable=executable,
            name=executable,
            namespace=namespace,
            remappings=[("image", topic)],
            parameters=[typed({**parameters, **own.get(executable, {}), **extra}), *files],
        )

    nodes: list[Action] = [*notes]
    pipeline = ["face_node", "emotion_node"] if wanted["split"] else ["fer_node"]
    if cameras and wanted["shared_process"]:
        pipeline = []
        arguments = ["--namespace", given["namespace"], "--image", image, "--cameras", *cameras]
        nodes.append(
            Node(
                **common,
                executable="fer_nodes",
                arguments=arguments,
                parameters=[typed({**parameters, **own["fer_node"]}), *files],
            )
        )
    pipeline += ["overlay_node"] * wanted["overlay"] + ["hri_node"] * wanted["hri"]
    for camera in cameras or [""]:
        namespace = f"{given['namespace']}/{camera}".rstrip("/")
        nodes += [node(executable, namespace, image.format(camera=camera)) for executable in pipeline]
    if not cameras and given["source"] != "none":
        nodes.append(node("source_node", given["namespace"], image, source=given["source"], loop=wanted["loop"]))
    if not wanted["prebuild"]:
        return nodes
    # Without an engine the nodes do what backend says: build it themselves, or run on the CPU.
    build = ExecuteProcess(
        cmd=[
            ExecutableInPackage(package="fer_perception", executable="build_engine"),
            *("--precision", given["precision"]),
            *(("--model", given["model"]) if given["model"] else ()),
        ],
        output="screen",
    )
    return [RegisterEventHandler(OnProcessExit(target_action=build, on_exit=nodes)), build]


def generate_launch_description() -> LaunchDescription:
    """The arguments, the DDS profile for images unless the user set one, and the nodes."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=about)
                for name, default, about in ARGUMENTS
            ),
            OpaqueFunction(function=lambda context: use_dds_profile(context.environment)),
            OpaqueFunction(function=start_nodes),
        ]
    )
