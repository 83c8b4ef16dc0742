"""Serves nodes by an executor in a thread of its own."""

from __future__ import annotations

import threading
import traceback

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future


class ExecutorThread:
    """Serves the callbacks of nodes from now on. An exception in a callback is logged; it does not end the serving."""

    def __init__(self, *nodes: Node) -> None:
        self._nodes = nodes
        self._executor = SingleThreadedExecutor(context=nodes[0].context)
        for node in nodes:
            self._executor.add_node(node)
        self._end: Future = Future()
        self._thread = threading.Thread(target=self._serve, name="executor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and only then the executor: the other way round can crash the process."""
        self._end.set_result(None)
        self._thread.join()
        self._executor.shutdown()

    def _serve(self) -> None:
        while not self._end.done():
            try:
                self._executor.spin_until_future_complete(self._end)
            except ExternalShutdownException:
                return
            except Exception:
                self._nodes[0].get_logger().error(traceback.format_exc())
