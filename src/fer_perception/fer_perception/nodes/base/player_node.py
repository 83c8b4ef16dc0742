"""The base of the nodes that publish images until their source ends."""

from __future__ import annotations

import threading
import traceback
from abc import abstractmethod

from rclpy.duration import Duration
from rclpy.lifecycle.publisher import LifecyclePublisher

from fer_perception.errors import FerError
from fer_perception.nodes.base.managed_node import OK, ManagedNode
from fer_perception.settings import PlayerSettings

POLL_S = 0.05
FLUSH_WITHIN = Duration(seconds=2)
FRAMES_SENT = "frames_sent"


class PlayerNode(ManagedNode):
    """Plays from a thread of its own while active; says on ``/diagnostics`` how many images it sent. At the end of what
    it plays, and where that cannot be read any more, the process ends.

    *configure* sets ``images`` and ``source_name``.
    """

    settings: PlayerSettings
    images: LifecyclePublisher
    source_name: str

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(name, namespace)
        self.sent = 0

    @abstractmethod
    def play(self, stopping: threading.Event) -> bool:
        """Publish until the end; false where ``stopping`` was set before.

        :raises FerError: the source cannot be read.
        """

    def activate(self) -> None:
        """See :meth:`ManagedNode.activate`."""
        stopping = threading.Event()
        player = threading.Thread(target=self._run, args=(stopping,), name="player", daemon=True)
        player.start()
        self.at_deactivate(player.join)
        self.at_deactivate(stopping.set)

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        return OK, f"publishing {self.source_name}", {FRAMES_SENT: str(self.sent)}

    def _run(self, stopping: threading.Event) -> None:
        try:
            if self._await_subscribers(stopping) and self.play(stopping):
                self.images.wait_for_all_acked(FLUSH_WITHIN)  # the last image would end with the process
                self.publish_diagnostics(flush_within=FLUSH_WITHIN)
                self.get_logger().info(f"{self.source_name}: end, {self.sent} images sent")
                self.finished.set()
        except Exception as error:
            if not self.context.ok():
                return
            self.error = str(error) if isinstance(error, (FerError, OSError)) else traceback.format_exc()
            self.get_logger().error(self.error)
            self.publish_diagnostics(flush_within=FLUSH_WITHIN)
            self.finished.set()

    def _await_subscribers(self, stopping: threading.Event) -> bool:
        """Whether they came before the node was stopped."""
        wait_for = self.settings.wait_for_subscribers
        while self.images.get_subscription_count() < wait_for:
            if stopping.wait(POLL_S):
                return False
            self.get_logger().info(
                f"waiting for {wait_for} subscribers of {self.images.topic_name}",
                throttle_duration_sec=5.0,
                skip_first=True,
            )
        return True
