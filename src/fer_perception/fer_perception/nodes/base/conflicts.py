"""What the graph knows of nodes that are in each other's way."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.node import Node

# A node that was killed stays in the graph until DDS gives it up.
KILLED = "One that was killed is seen for up to 20 s more"


def publishers_of(node: Node, topic: str, message_type: str = "") -> list[str]:
    """The full names of the nodes that publish a topic, sorted; with a type only those with messages of that type."""
    found = [
        f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
        for publisher in node.get_publishers_info_by_topic(topic)
        if message_type in ("", publisher.topic_type)
    ]
    return sorted(found)


def others_seen(node: Node) -> bool:
    """Whether the graph has any other node; ros2's own hidden ones do not count."""
    own = (node.get_name(), node.get_namespace())
    return any(found != own and not found[0].startswith("_") for found in node.get_node_names_and_namespaces())


def conflict(node: Node, topics: Iterable[str]) -> str:
    """Which other node has this one's name, or publishes what it publishes, and what to do; empty where none does.

    :param topics: that this node publishes, alone.
    """
    own = (node.get_name(), node.get_namespace())
    name = node.get_fully_qualified_name()
    if (count := node.get_node_names_and_namespaces().count(own)) > 1:
        return f"{count} nodes are called {name}: stop all but one, or start each with -r __ns:=/OTHER. {KILLED}"
    for topic in topics:
        if node.count_publishers(topic) > 1:
            others = publishers_of(node, topic)
            if name in others:
                others.remove(name)
            return (
                f"{topic} is also published by {', '.join(others)}: who subscribes gets both mixed. Stop one, or give "
                f"it another namespace (-r __ns:=/OTHER). {KILLED}"
            )
    return ""
