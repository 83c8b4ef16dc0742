"""Rerun's server of data and of its web viewer, as a process of its own. Needs requirements/view.txt."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import rerun_cli

from fer_perception.errors import FerError
from fer_perception.visualization.view_page import LOOPBACK, ViewPage

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.05
# What late viewers still get to see; the oldest is forgotten.
MEMORY = "64MB"
EVERYWHERE = ("0.0.0.0", "::")
# Kills the server when its input ends, and deletes its folder, $0: that happens, too, when this process is killed.
# Nobody else could do it then.
UNTIL_INPUT_ENDS = '"$@" </dev/null & read -r _; exec 2>/dev/null; kill $!; wait $!; rm -r "$0"'


class ViewServer:
    """Serves the viewer's page on ``port``, and the data on the port above it.

    ``url``: what a browser opens. ``data_url``: what a view is connected to.

    :param address: of the network interface that listens; 127.0.0.1: this machine alone.
    :param port: 0: two free ones.
    :raises FerError: it cannot listen there.
    """

    def __init__(self, address: str, port: int) -> None:
        host = f"[{address}]" if ":" in address else address
        everywhere = address in EVERYWHERE
        with ExitStack() as undo:
            data = _free_port(address, port and port + 1)
            viewer = _free_port(LOOPBACK, 0)
            others = "*" if everywhere else host  # what this machine is called by those who look
            try:
                page = ViewPage(address, port, viewer, f"http://{others}:{data}")
            except OSError as error:
                raise _not_free(address, port, error) from error
            undo.callback(page.close)
            origin = f"http://{others}:{page.port}"
            undo.enter_context(_rerun(address, viewer, data, origin))
            self._undo = undo.pop_all()
        self.data_url = f"rerun+http://{LOOPBACK if everywhere else host}:{data}/proxy"
        shown = socket.gethostname() if everywhere else host
        proxy = quote(f"rerun+http://{shown}:{data}/proxy", safe="")
        # Labels have the emotions' colours, which are bright: they are read on a dark ground.
        self.url = f"http://{shown}:{page.port}/?url={proxy}&theme=dark"

    def close(self) -> None:
        """End the server; what it held is gone."""
        self._undo.close()


def _rerun(address: str, viewer_port: int, data_port: int, origin: str) -> ExitStack:
    """Start Rerun's server, and end it at the end of the context.

    :param origin: of the page that may read the data; those of other sites may not, in a browser of this machine.
    :raises FerError: it does not serve in time.
    """
    with ExitStack() as undo:
        folder = Path(mkdtemp(prefix="fer_view_"))
        command = [
            *(str(Path(rerun_cli.__file__).with_name("rerun")), "--serve-web", "--bind", address),
            *("--web-viewer-port", str(viewer_port), "--port", str(data_port)),
            *("--server-memory-limit", MEMORY, "--newest-first", "--cors-allow-origin", origin),
        ]
        process = subprocess.Popen(
            ["sh", "-c", UNTIL_INPUT_ENDS, str(folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ | _without_analytics(folder),
            start_new_session=True,
        )
        undo.callback(_stop, process)
        for port in (viewer_port, data_port):
            _wait_for(address, port)
        return undo.pop_all()


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _without_analytics(folder: Path) -> dict[str, str]:
    """Variables with which Rerun finds its usage statistics switched off, as its own command would do it for good."""
    config, data = folder / "config", folder / "data"
    file = config / "rerun" / "analytics.json"
    file.parent.mkdir(parents=True)
    switched_off = {
        "analytics_enabled": False,
        "analytics_id": "",
        "config_file_path": str(file),
        "data_dir_path": str(data / "rerun" / "analytics"),
    }
    file.write_text(json.dumps(switched_off), encoding="utf-8")
    return {
        "XDG_CONFIG_HOME": str(config),
        "XDG_DATA_HOME": str(data),
        "TELEMETRY_ENABLED": "false",
        "RUST_LOG": "error",
    }


def _free_port(address: str, port: int) -> int:
    """A port that can be listened on; this one, if it is not 0.

    :raises FerError: it cannot.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as error:
            raise _not_free(address, port, error) from error
        return int(listener.getsockname()[1])


def _not_free(address: str, port: int, error: OSError) -> FerError:
    return FerError(
        f"the view cannot listen on {address}, port {port} ({error.strerror}). Set view_address to an address of this "
        "machine, and view_port so that this port and the next one are free"
    )


def _wait_for(address: str, port: int) -> None:
    """Until somebody listens.

    :raises FerError: nobody does in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((address, port), 1.0).close()  # 0.0.0.0 is this machine, too
            return
        except OSError:
            if time.monotonic() > deadline:
                raise FerError(
                    "rerun's server does not start: it says above why. Is it the version of requirements/view.txt?"
                ) from None
            time.sleep(POLL_S)
