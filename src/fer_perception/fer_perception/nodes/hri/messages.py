"""hri_msgs, which may be missing, and what both nodes make of it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from std_msgs.msg import Header

from fer_perception.emotions import rep155
from fer_perception.errors import FerError
from fer_perception.types import Float32Array

FACES = "/humans/faces"


def hri_messages() -> Any:
    """The module hri_msgs.msg.

    :raises FerError: it is not installed.
    """
    try:
        return import_module("hri_msgs.msg")
    except ImportError as error:
        raise FerError(
            f"hri_msgs is not installed ({error}): sudo apt install ros-$ROS_DISTRO-hri-msgs (Humble, Jazzy, Rolling, "
            "Lyrical), or git clone -b humble-devel https://github.com/ros4hri/hri_msgs into src/ and build the "
            "workspace; then source it and start the node again"
        ) from error


def expression_message(messages: Any, header: Header, probabilities: Float32Array, labels: Sequence[str]) -> Any:
    """hri_msgs/Expression of smoothed probabilities: float32, (labels,)."""
    result = rep155.expression(probabilities, labels)
    return messages.Expression(
        header=header,
        expression=result.expression,
        valence=result.valence,
        arousal=result.arousal,
        confidence=result.confidence,
    )
