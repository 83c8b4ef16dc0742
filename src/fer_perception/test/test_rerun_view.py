"""Rerun's view as a recording: what is in it, for a whole bag, too; and the server that shows it live."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import psutil
import pytest

pytest.importorskip("rerun", reason="rerun-sdk is not installed (requirements/view.txt)")

import rerun_cli

from fer_perception.commands.replay import main as replay
from fer_perception.errors import FerError
from fer_perception.faces.face import Face, Pose
from fer_perception.faces.single_face import NO_KEYPOINTS
from fer_perception.labels import EMOTIONS_7
from fer_perception.models.shipped import resolve_model
from fer_perception.replay.tables import keypoints_of, read_predictions
from fer_perception.telemetry.timing import Percentiles, WindowSummary
from fer_perception.visualization.rerun_view import ESTABLISHED, RerunView, Shown
from fer_perception.visualization.view_server import ViewServer

KEYPOINTS = np.full((5, 2), 150, np.float32)
POSE = Pose(np.array([0.1, 0.0, 1.0]), (0.0, 0.0, 0.0, 1.0), np.eye(6))
ROW = np.array([0.02, 0.02, 0.02, 0.9, 0.02, 0.01, 0.01], np.float32)


def contents(file: Path) -> str:
    """All that Rerun itself finds in a recording, which must be whole."""
    command = [str(Path(rerun_cli.__file__).with_name("rerun")), "rrd"]
    # In CI, as it is then, Rerun sends no usage statistics.
    environment = {**os.environ, "CI": "true", "XDG_CONFIG_HOME": str(file.parent), "XDG_DATA_HOME": str(file.parent)}
    subprocess.run([*command, "verify", str(file)], check=True, env=environment, stdin=subprocess.DEVNULL)
    printed = subprocess.run(
        [*command, "print", "-vvv", str(file)], check=True, env=environment, capture_output=True, text=True
    )
    return printed.stdout


def test_a_view_shows_faces_points_curves_and_positions(tmp_path: Path, portrait: np.ndarray) -> None:
    view = RerunView.recording(tmp_path / "view.rrd", "test")
    faces = [Face((177, 82, 95, 95), 0.9, KEYPOINTS, pose=POSE), Face((300, 82, 95, 95), 0.9, NO_KEYPOINTS)]
    rows = np.stack([ROW, np.full(7, np.nan, np.float32)])
    for number in range(ESTABLISHED + 1):
        view.show(number * 10**8, Shown(portrait, faces, ["aaaaa", "bbbbb"], rows, EMOTIONS_7))
    view.show(10**10, Shown(None, [], [], np.empty((0, 7), np.float32), EMOTIONS_7))
    view.statistics(10**10, WindowSummary(1.0, 30, 29, 1, 0, {"total": Percentiles(8.0, 12.0, 20.0)}))
    view.close()
    found = contents(tmp_path / "view.rrd")
    for entity in ("/camera/image", "/camera/faces", "/camera/points", "/emotions/aaaaa", "/emotions/bbbbb"):
        assert f" - {entity} - " in found
    for entity in ("/space/faces", "/latency", "/images"):
        assert f" - {entity} - " in found
    assert "aaaaa happy 90%" in found
    assert "bbbbb unknown" in found
    assert "face aaaaa" in found  # the plot in the layout


def test_without_pixels_and_positions_there_are_none(tmp_path: Path) -> None:
    view = RerunView.recording(tmp_path / "view.rrd", "test")
    view.show(0, Shown(None, [Face((160, 80, 100, 100), 0.9, NO_KEYPOINTS)], ["aaaaa"], ROW[None], EMOTIONS_7))
    view.close()
    found = contents(tmp_path / "view.rrd")
    assert " - /camera/faces - " in found
    assert " - /camera/image - " not in found
    assert " - /space/faces - " not in found


def test_replay_writes_a_recording_with_ground_truth(portrait_bag: Path, tmp_path: Path) -> None:
    model = str(resolve_model("baseline"))
    file = tmp_path / "view.rrd"
    arguments = [str(portrait_bag), "--model", model, "--no-bag", "--out", str(tmp_path / "out")]
    assert replay([*arguments, "--rrd", str(file)]) == 0
    found = contents(file)
    assert found.count("image/jpeg") == 24
    for entity in ("/camera/faces", "/camera/points", "/ground_truth", "/latency", "/images"):
        assert f" - {entity} - " in found
    points = keypoints_of(read_predictions(tmp_path / "out").emotions)
    assert len(points) == 24
    x, y = points[0, 0]
    assert f"[[{x!s}, {y!s}], " in found
    assert replay([*arguments, "--no-images", "--rrd", str(file)]) == 0
    assert "image/jpeg" not in contents(file)


def test_a_recording_is_of_one_bag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        replay(["one", "two", "--rrd", "view.rrd"])
    assert "--rrd: a recording is of one bag" in capsys.readouterr().err


@pytest.fixture(scope="module")
def server() -> Iterator[ViewServer]:
    server = ViewServer("127.0.0.1", 0)
    yield server
    server.close()


def get(server: ViewServer, path: str, origin: str = "") -> http.client.HTTPResponse:
    address = urlsplit(server.url if not origin else server.data_url.removeprefix("rerun+"))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    if origin:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        connection.request("OPTIONS", path, headers=headers)
    else:
        connection.request("GET", path)
    return connection.getresponse()


def test_everything_listens_on_this_machine_alone(server: ViewServer) -> None:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {c.laddr for p in processes for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    ports = {urlsplit(server.url).port, urlsplit(server.data_url).port}
    mine = [address for address in listening if address.port in ports]
    assert {address.port for address in mine} == ports
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_the_page_may_fetch_from_its_own_server_alone(server: ViewServer) -> None:
    answered = get(server, "/")
    assert answered.status == 200
    data = urlsplit(server.data_url).port
    assert f"connect-src 'self' data: blob: http://127.0.0.1:{data}" in str(answered.headers["Content-Security-Policy"])
    assert b"Rerun" in answered.read()
    assert get(server, "@example.com/").status in (400, 404, 502)
    assert parse_qs(urlsplit(server.url).query)["url"] == [server.data_url]


def test_pages_of_other_sites_may_not_read_the_data(server: ViewServer) -> None:
    path = "/rerun.sdk_comms.v1alpha1.MessageProxyService/ReadMessages"
    mine = server.url.partition("/?")[0]
    assert get(server, path, mine).headers["access-control-allow-origin"] == mine
    assert get(server, path, "http://example.com").headers["access-control-allow-origin"] is None


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(FerError, match=f"cannot listen on 127.0.0.1, port {port} .*view_port"):
            ViewServer("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(FerError, match=r"cannot listen on 192.0.2.1, port \d+ .*view_address"):
        ViewServer("192.0.2.1", 0)
