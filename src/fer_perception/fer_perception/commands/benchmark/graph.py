"""A fer_node in a process of its own, with load on it, and what it uses."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import psutil

from fer_perception.commands.benchmark.load import LoadNode
from fer_perception.commands.processes import start, stop
from fer_perception.settings import FaceMode, Value


class Graph:
    """A fer_node in a process of its own, and the load's node in this one.

    :param parameters: of the fer_node.
    """

    def __init__(self, parameters: Mapping[str, Value], mode: FaceMode) -> None:
        self.process = start("fer_node", {**parameters, "face_mode": mode})
        self.load = LoadNode()

    def __enter__(self) -> Graph:
        try:
            self.load.await_pipeline()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.load.close()
        stop({"fer_node": self.process})


class Usage:
    """CPU time of a process from now on, and its memory."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = psutil.Process(process.pid)
        self._process.cpu_percent()
        self._begin_s = self._cpu_s()

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def cpu_s(self) -> float:
        """User and system time in seconds since the start; the system counts in hundredths."""
        return self._cpu_s() - self._begin_s

    def cpu_percent(self) -> float:
        """Of one core, since the start."""
        return self._process.cpu_percent()

    def rss_mb(self) -> float:
        """Resident memory."""
        return round(self._process.memory_info().rss / 1e6, 2)
