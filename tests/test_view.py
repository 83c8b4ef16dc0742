"""view_node over real DDS, and its page in a real browser."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import psutil
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
needs_rerun = pytest.mark.skipif(
    importlib.util.find_spec("rerun") is None, reason="rerun-sdk is not installed (requirements/view.txt)"
)


def start_view(graph: Any, **parameters: Any) -> tuple[Any, str]:
    """A view_node that is active; its process and the address that it tells."""
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start("view_node", view_port=0, **parameters)
    graph.until(lambda: address_of(graph))
    return process, address_of(graph)


def address_of(graph: Any) -> str:
    status = graph.status_of("view_node")
    return next((value.value for value in status.values if value.key == "address"), "") if status else ""


@needs_rerun
def test_the_view_is_served_on_this_machine_and_ends_with_its_node(graph: Any, portrait: np.ndarray) -> None:
    process, address = start_view(graph)
    assert address.startswith("http://127.0.0.1:")
    with urlopen(address, timeout=30) as page:
        assert b"Rerun" in page.read()
    graph.wait_for_image_subscribers()
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    assert process.stop() == 0
    assert not any(member.is_running() for member in family)


@needs_rerun
def test_a_killed_node_leaves_no_server_behind(graph: Any) -> None:
    process, _ = start_view(graph)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("rerun" in child.name() for child in children)
    process.stop(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


@needs_rerun
@pytest.mark.parametrize(("privacy", "images"), [("strict", 0), ("no_images", 1)])
def test_with_privacy_strict_images_are_not_even_received(graph: Any, privacy: str, images: int) -> None:
    start_view(graph, privacy=privacy)
    count = graph.node.count_subscribers
    graph.until(lambda: count(graph.node.resolve_topic_name("emotions")))
    graph.spin(1.0)
    assert count(graph.node.resolve_topic_name("image")) == images


def test_a_missing_package_is_named(graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['rerun'] = None\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.start("view_node")
    graph.until(lambda: (s := graph.status_of("view_node")) and s.level == DiagnosticStatus.ERROR)
    assert graph.status_of("view_node").message.startswith("the Python package rerun-sdk is not installed")


@needs_rerun
def test_the_demo_is_seen_in_a_browser(tmp_path: Path) -> None:
    """The picture of the camera, the box and the curves; and the page has asked nobody else for anything."""
    pytest.importorskip("playwright", reason="playwright is not installed (requirements/dev.txt)")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip(f"none of {', '.join(BROWSERS)} is on this machine (Debian: apt install chromium)")
    image = tmp_path / "view.png"
    command = [sys.executable, str(ROOT / "scripts" / "screenshot_view.py"), str(image)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "asked for elsewhere: nothing" in result.stdout
    assert cv2.imread(str(image)).shape == (720, 1280, 3)
