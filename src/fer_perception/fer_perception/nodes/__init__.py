"""The ROS 2 nodes: parameters, QoS, conversion to and from messages. No arithmetic."""
