"""Plans as actions of ``launch``: the only module that needs ``launch`` and ``launch_ros``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.logging import get_logger
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage

from fer_perception.launching.arguments import Argument
from fer_perception.launching.choices import write_choices
from fer_perception.launching.plan import Plan, PlannedNode
from fer_perception.nodes.base.isolation import use_dds_profile
from launch import Action, LaunchDescription

PACKAGE = "fer_perception"


def description(arguments: Sequence[Argument], plan: Callable[[Mapping[str, str]], Plan]) -> LaunchDescription:
    """The arguments, the DDS profile for images unless the user set one, and what is planned for the arguments."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(argument.name, default_value=argument.default, description=argument.description)
                for argument in arguments
            ),
            OpaqueFunction(function=lambda context: use_dds_profile(context.environment)),
            OpaqueFunction(function=lambda context: _actions(plan(context.launch_configurations))),
        ]
    )


def _actions(plan: Plan) -> list[Action]:
    for warning in plan.warnings:
        get_logger("launch.user").warning(warning)
    notes = [LogInfo(msg=note) for note in plan.notes]
    nodes = [_node(node) for node in plan.nodes]
    if plan.build_engine is None:
        return [*notes, *nodes]
    # Without an engine the nodes do what backend says: build it themselves, or run on the CPU.
    build = ExecuteProcess(
        cmd=[ExecutableInPackage(package=PACKAGE, executable="build_engine"), *plan.build_engine], output="screen"
    )
    return [*notes, RegisterEventHandler(OnProcessExit(target_action=build, on_exit=nodes)), build]


def _node(node: PlannedNode) -> Node:
    # A text stays a text, also when it looks like a number.
    defaults = {name: ParameterValue(value, value_type=type(value)) for name, value in node.parameters.items()}
    chosen = write_choices(node.chosen) if node.chosen else None
    # With a name: launch events such as ChangeState reach it. fer_nodes and live_replay hold several nodes.
    names = {"name": node.name or None, "namespace": node.namespace or None}
    return (LifecycleNode if node.name else Node)(
        **names,
        package=PACKAGE,
        executable=node.executable,
        remappings=list(node.remappings.items()),
        parameters=[*filter(None, (defaults, node.params_file, chosen))],
        arguments=list(node.arguments),
        ros_arguments=[
            *(("--log-level", node.log_level) if node.log_level else ()),
            *(("--enclave", node.enclave) if node.enclave else ()),
        ],
        output="screen",
        on_exit=Shutdown() if node.ends_launch else None,
    )
