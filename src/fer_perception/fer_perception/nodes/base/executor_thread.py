"""Executors in threads of their own."""

from __future__ import annotations

import threading
import traceback
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future


class ExecutorThread:
    """Serves the callbacks of nodes from now on. An exception in a callback is logged; it does not end the serving."""

    def __init__(self, *nodes: Node) -> None:
        executor = SingleThreadedExecutor(context=nodes[0].context)
        for node in nodes:
            executor.add_node(node)
        self._start(nodes[0], executor)

    def _start(self, node: Node, executor: Executor) -> None:
        self._node, self._executor = node, executor
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
                self._node.get_logger().error(traceback.format_exc())


class GroupThread(ExecutorThread):
    """Serves one callback group of a node whose other callbacks another executor serves.

    rclpy's executor looks at everything that it serves each time it wakes up, lifecycle and parameter services too.
    One that serves a single subscription is quicker, and images do not wait for other callbacks.
    """

    def __init__(self, node: Node, group: OwnThreadGroup) -> None:
        self._group = group
        self._start(node, _GroupExecutor(node, group))

    def _serve(self) -> None:
        self._group.thread = threading.current_thread()
        super()._serve()


class OwnThreadGroup(CallbackGroup):
    """A callback group that is served in one thread alone, that of :class:`GroupThread`."""

    thread: threading.Thread | None = None

    def can_execute(self, entity: Any) -> bool:
        """Whether it is this thread."""
        return threading.current_thread() is self.thread

    def beginning_execution(self, entity: Any) -> bool:
        """Nothing to wait for: one thread serves the group."""
        return True

    def ending_execution(self, entity: Any) -> None:
        """Nothing to release."""


class _GroupExecutor(SingleThreadedExecutor):
    """It sees the node without owning it: a node that is added to a second executor leaves the first."""

    def __init__(self, node: Node, group: OwnThreadGroup) -> None:
        super().__init__(context=node.context)
        self._node, self._group = node, group

    def get_nodes(self) -> list[Node]:
        return [self._node]

    def can_execute(self, entity: Any) -> bool:
        return entity.callback_group is self._group and super().can_execute(entity)
