"""Settings as ROS parameters."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from fer_perception.settings import Setting


def descriptor(setting: Setting) -> ParameterDescriptor:
    """A setting as ROS describes it; rclpy itself enforces the type and the range."""
    found = ParameterDescriptor(
        description=f"{setting.description} [{setting.unit}]" if setting.unit else setting.description,
        read_only=setting.changes == "start",
        additional_constraints=f"one of {setting.allowed}" if setting.choices else "",
    )
    if setting.bounds and isinstance(setting.default, float):
        found.floating_point_range = [FloatingPointRange(from_value=setting.bounds[0], to_value=setting.bounds[1])]
    elif setting.bounds:
        found.integer_range = [IntegerRange(from_value=int(setting.bounds[0]), to_value=int(setting.bounds[1]))]
    return found
