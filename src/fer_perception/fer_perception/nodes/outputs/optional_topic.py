"""A topic that cannot always be had."""

from __future__ import annotations

from fer_perception.nodes.base.managed_node import ManagedNode


class OptionalTopic:
    """The base of topics that keep no node from its work: who subscribes to one in vain is told in the log.

    ``why_not``: why it is not published, and what to do; empty where it is.
    """

    def __init__(self, node: ManagedNode, topic: str) -> None:
        self._node, self._topic = node, topic
        self.why_not = ""

    def tick(self) -> None:
        """Warn once where somebody waits in vain; to be called once a second."""
        if self.why_not and self._node.count_subscribers(self._node.resolve_topic_name(self._topic)):
            self._node.get_logger().warning(f"{self._topic} has a subscriber and is not published: {self.why_not}")
            self.why_not = ""
