"""A recorded bag in the live graph: plays it to the pipeline, records the predictions, evaluates them, and ends.

ros2 launch fer_perception replay.launch.py bag:=bags/kitchen
ros2 launch fer_perception replay.launch.py bag:=bags/kitchen options:="--labels kitchen.csv --rate 2 --out out/live"
ros2 launch fer_perception replay.launch.py bag:=bags/kitchen split:=true model:=my_bundle

The options: ros2 run fer_perception live_replay --help
"""

from fer_perception.launching.actions import description
from fer_perception.launching.replay import ARGUMENTS, plan
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """What is planned for the arguments."""
    return description(ARGUMENTS, plan)
