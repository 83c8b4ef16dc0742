"""Facial emotion recognition on a camera.

ros2 launch fer_perception fer.launch.py                                   the first camera of this computer
ros2 launch fer_perception fer.launch.py source:=none image:=/camera/image_raw   a camera with its own driver
ros2 launch fer_perception fer.launch.py source:=astronaut loop:=true      a test image, no camera needed
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from fer_perception.nodes.isolation import use_dds_profile
from launch import LaunchDescription

ARGUMENTS = (
    (
        "source",
        "0",
        "Camera index, video, picture, folder, 'astronaut' (a test image), or 'none': images come from image",
    ),
    ("image", "image", "Image topic to subscribe to; relative names lie in the namespace"),
    ("loop", "false", "Begin again at the end of a video or folder"),
    ("model", "", "Model bundle: a folder, or the name of a shipped one; empty: the default"),
    ("face_mode", "keypoints", "keypoints (fast) or mesh (478 points and head orientation)"),
    ("threads", "1", "Threads of the emotion network; 0: all cores"),
    ("overlay", "true", "Also draw the results into the images, on the topic overlay"),
    ("namespace", "fer", "Namespace of all nodes and topics"),
    ("log_level", "info", "debug, info, warn or error"),
)


def text(name: str) -> ParameterValue:
    """A launch argument as a string parameter, also when it looks like a number."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)


def fer_node(executable: str, condition: IfCondition | None = None, **parameters: ParameterValue) -> Node:
    """One of the suite's nodes."""
    return Node(
        package="fer_perception",
        executable=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[parameters],
        remappings=[("image", LaunchConfiguration("image"))],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        condition=condition,
        output="screen",
    )


def generate_launch_description() -> LaunchDescription:
    """Source (unless 'none'), pipeline and overlay, with the DDS profile for images unless the user set one."""
    with_source = IfCondition(PythonExpression(["'", LaunchConfiguration("source"), "' != 'none'"]))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=about)
                for name, default, about in ARGUMENTS
            ),
            OpaqueFunction(function=lambda context: use_dds_profile(context.environment)),
            fer_node(
                "fer_node",
                model=text("model"),
                face_mode=text("face_mode"),
                threads=ParameterValue(LaunchConfiguration("threads"), value_type=int),
            ),
            fer_node("overlay_node", IfCondition(LaunchConfiguration("overlay"))),
            fer_node(
                "source_node",
                with_source,
                source=text("source"),
                loop=ParameterValue(LaunchConfiguration("loop"), value_type=bool),
            ),
        ]
    )
