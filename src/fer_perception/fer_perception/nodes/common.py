"""What every node's ``main`` shares."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

NAMESPACE = "fer"


def declare(
    node: Node,
    name: str,
    default: Any,
    description: str,
    bounds: tuple[float, float] | None = None,
    choices: str = "",
) -> Any:
    """Declare a parameter, fixed once the node runs, and return its value."""
    descriptor = ParameterDescriptor(description=description, read_only=True, additional_constraints=choices)
    if bounds and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=bounds[0], to_value=bounds[1])]
    elif bounds:
        descriptor.integer_range = [IntegerRange(from_value=int(bounds[0]), to_value=int(bounds[1]))]
    return node.declare_parameter(name, default, descriptor).value


def spin_node(create: Callable[[], Node]) -> None:
    """Create a node and spin it until it is interrupted or ROS is shut down."""
    rclpy.init()
    signal.signal(signal.SIGTERM, lambda *_: rclpy.try_shutdown())
    node: Node | None = None
    try:
        node = create()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
