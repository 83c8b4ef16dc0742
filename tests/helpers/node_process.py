"""Starts the suite's executables as processes of their own, without paying for their imports each time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

# Forked from a server that has imported what takes nodes longest; it has no ROS context and no models.
_FORKED = multiprocessing.get_context("forkserver")
_LIBRARIES = os.environ.get("LD_LIBRARY_PATH")
_NODES = ("fer_node", "face_node", "emotion_node", "overlay_node", "source_node", "hri_node")
_FORKED.set_forkserver_preload(
    [*(f"fer_perception.nodes.{node}" for node in _NODES), "mediapipe.tasks.python.vision", "onnxruntime"]
)


class NodeProcess:
    """A started executable; its output is collected in a file. ``status``: None while it runs, else as of Popen."""

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self._log = log
        log.touch()
        # Where libraries are looked for is read when an interpreter starts.
        forked = os.environ.get("LD_LIBRARY_PATH") == _LIBRARIES
        context = _FORKED if forked else multiprocessing.get_context("spawn")
        self._process = context.Process(target=_run, args=(log, arguments, dict(os.environ), Path.cwd()))
        self._process.start()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.exitcode

    def running(self) -> bool:
        return self.status is None

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status; killed where it does not end."""
        if self.running():
            os.kill(self.pid, signal_number)
        self._process.join(60)
        if self.status is None:
            self._process.kill()
            self._process.join()
        assert self.status is not None
        return self.status


def _run(log: Path, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    """In the new process: what ``python -m fer_perception`` does, in the caller's folder and environment."""
    output, nothing = os.open(log, os.O_WRONLY | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    folders = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", *sys.path)]
    sys.path[:0] = folders
    sys.argv = [sys.argv[0], *arguments]
    from fer_perception.__main__ import main

    main()
