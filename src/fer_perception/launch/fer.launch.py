"""Facial emotion recognition on a camera, or on several.

ros2 launch fer_perception fer.launch.py                                         the first camera of this computer
ros2 launch fer_perception fer.launch.py source:=none image:=/camera/image_raw   a camera with its own driver
ros2 launch fer_perception fer.launch.py cameras:=front,rear                     /front/image_raw and /rear/image_raw
ros2 launch fer_perception fer.launch.py source:=astronaut loop:=true            a test image, no camera needed
"""

from fer_perception.launching.actions import description
from fer_perception.launching.plan import ARGUMENTS, plan
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """What is planned for the arguments."""
    return description(ARGUMENTS, plan)
