"""What every node's ``main`` shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from fer_perception.errors import FerError

NAMESPACE = "fer"

NodeType = TypeVar("NodeType", bound=Node)


def declare(
    node: Node,
    name: str,
    default: Any,
    description: str,
    bounds: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a parameter, fixed once the node runs, and return its value.

    :raises FerError: the value given is of another type, out of bounds, or none of the choices.
    """
    descriptor = ParameterDescriptor(
        description=description,
        read_only=True,
        additional_constraints=f"one of {', '.join(choices)}" if choices else "",
    )
    if bounds and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=bounds[0], to_value=bounds[1])]
    elif bounds:
        descriptor.integer_range = [IntegerRange(from_value=int(bounds[0]), to_value=int(bounds[1]))]
    try:
        value = node.declare_parameter(name, default, descriptor).value
    except ParameterException as error:
        raise FerError(f"parameter {name} ({description}): {error}. Give a value like {default!r}") from error
    if choices and value not in choices:
        raise FerError(f"parameter {name} is '{value}': use one of {', '.join(choices)}")
    return value


def spin(node: Node) -> None:
    """Serve the node's callbacks until ROS is shut down."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    finally:
        executor.shutdown()


def run_node(create: Callable[[], NodeType], run: Callable[[NodeType], None] = spin) -> None:
    """Create a node and run it until it is done, is interrupted, or ROS is shut down (SIGINT, SIGTERM)."""
    rclpy.init()
    node: NodeType | None = None
    try:
        node = create()
        run(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
