"""The page of Rerun's web viewer, which may ask nobody but the view's own server for anything."""

from __future__ import annotations

import shutil
import socket
import threading
from contextlib import closing
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 30.0
HEADERS = ("Content-Type", "Content-Length", "Content-Encoding", "rerun-final-length")


class ViewPage:
    """Hands on what Rerun's own server of the viewer serves, with a policy that the browser enforces: no usage
    statistics, no look for a newer version, no fonts from elsewhere. ``port``: where it listens.

    :param viewer_port: of Rerun's server, on this machine.
    :param data: origin that the page may fetch from, such as ``http://127.0.0.1:9501``.
    :raises OSError: the address and port cannot be listened on.
    """

    def __init__(self, address: str, port: int, viewer_port: int, data: str) -> None:
        kind = _ServerV6 if ":" in address else ThreadingHTTPServer
        self._server = kind((address, port), partial(_Handler, viewer_port, data))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="view page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _ServerV6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, viewer_port: int, data: str, *connection: object) -> None:
        self._viewer_port = viewer_port
        self._policy = (
            "default-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
            f"script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; connect-src 'self' data: blob: {data}"
        )
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        try:
            with closing(HTTPConnection(LOOPBACK, self._viewer_port, timeout=TIMEOUT_S)) as viewer:
                viewer.request("GET", self.path)
                found = viewer.getresponse()
                self.send_response(found.status)
                for name in HEADERS:
                    if value := found.getheader(name):
                        self.send_header(name, value)
                self.send_header("Content-Security-Policy", self._policy)
                self.end_headers()
                shutil.copyfileobj(found, self.wfile)
        except ConnectionError:  # the browser has left
            pass
        except (HTTPException, OSError) as error:
            self.send_error(HTTPStatus.BAD_GATEWAY, str(error))

    def log_message(self, *_: object) -> None:
        """Nobody needs to know who looks."""
