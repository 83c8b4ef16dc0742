"""A recorded bag in the live graph: plays it to the pipeline, records the answers, evaluates them, and ends.

ros2 launch fer_perception replay.launch.py bag:=bags/kitchen
ros2 launch fer_perception replay.launch.py bag:=bags/kitchen options:="--labels kitchen.csv --rate 2 --out out/live"
ros2 launch fer_perception replay.launch.py bag:=bags/kitchen split:=true model:=my_bundle

What fer.launch.py knows about the pipeline can be given, too. The options: ros2 run fer_perception live_replay --help
"""

import shlex
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node, SetParameter

from fer_perception.replay.bags import image_transport
from launch import Action, LaunchContext, LaunchDescription


def start(context: LaunchContext) -> list[Action]:
    """The pipeline in the bag's time, and what plays the bag to it; at the end of that, all is shut down."""
    bag, topic, namespace, options = (
        context.launch_configurations[name] for name in ("bag", "topic", "namespace", "options")
    )
    topics = [topic] if topic else []
    pipeline = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("fer.launch.py"))),
        launch_arguments={
            "source": "none",
            "image": "image",
            "image_transport": image_transport(Path(bag), topics),
            "namespace": namespace,
        }.items(),
    )
    replay = Node(
        package="fer_perception",
        executable="live_replay",
        namespace=namespace,
        arguments=[bag, "--attach", *(f"--topic={name}" for name in topics), *shlex.split(options)],
        output="screen",
        on_exit=Shutdown(),
    )
    return [GroupAction([SetParameter("use_sim_time", True), pipeline]), replay]


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what they start."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="A bag's folder, or a single .mcap or .db3 file"),
            DeclareLaunchArgument("topic", default_value="", description="Topic of its images; empty: the only one"),
            DeclareLaunchArgument(
                "options", default_value="", description="live_replay's, such as --labels and --rate"
            ),
            DeclareLaunchArgument("namespace", default_value="fer", description="Namespace of all nodes and topics"),
            OpaqueFunction(function=start),
        ]
    )
