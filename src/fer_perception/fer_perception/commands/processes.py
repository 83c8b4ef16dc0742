"""Starts and stops nodes as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from fer_perception.settings import Value

STOP_TIMEOUT_S = 10.0


def end_on_signals() -> None:
    """End as by Ctrl-C when this process is asked to end, so that the nodes are stopped, too."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def start(
    executable: str,
    parameters: Mapping[str, Value] = MappingProxyType({}),
    arguments: Sequence[str] = (),
    ros_arguments: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Start a node as a process of its own, deaf to the terminal's interrupt: whoever started it stops it.

    :param environment: variables beside those of this process.
    """
    command = [sys.executable, "-m", "fer_perception", executable, *arguments]
    command += ["--ros-args", "--log-level", "warn", *ros_arguments]
    for name, value in parameters.items():
        if value != "":  # an empty text cannot be given on the command line; it is every such parameter's default
            # Quoted, so that a camera's index stays a text.
            text = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
            command += ["-p", f"{name}:={text}"]
    variables = {**os.environ, **environment}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env=variables)


def stop(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Ask all processes to end; kill what does not."""
    for process in processes.values():
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes.values():
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
