"""A live graph: real nodes in processes of their own, real DDS, in a ROS domain of its own on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fer_perception.nodes.base.conversions import image_message
from fer_perception.nodes.base.isolation import isolate
from fer_perception.nodes.base.qos import IMAGE_QOS

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
isolate()

TIMEOUT_S = 120.0


@pytest.fixture(scope="session")
def data() -> Path:
    folder = Path(os.environ.get("FER_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine (set FER_DATA)")
    return folder


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


class NodeProcess:
    """A started executable; its output is collected in a file."""

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self._log = log
        command = [sys.executable, "-m", "fer_perception", *arguments]
        with open(log, "wb") as stream:
            self._popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT)
        self.pid = self._popen.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def running(self) -> bool:
        return self.status is None

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status; killed where it does not end."""
        if self.running():
            self._popen.send_signal(signal_number)
        try:
            return self._popen.wait(60)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            return -9


class ReaderProcess:
    """A script of ``fixtures`` that prints what it receives as lines of JSON."""

    def __init__(self, output: Path, script: str, *arguments: str) -> None:
        self._output = output
        with open(output, "wb") as stream:
            self._popen = subprocess.Popen([sys.executable, str(FIXTURES / script), *arguments], stdout=stream)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    def seen(self, topic: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("topic") == topic]

    def stop(self) -> None:
        self._popen.send_signal(signal.SIGINT)
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Received(defaultdict[str, list[Any]]):
    """Messages by topic; subscriptions append to the lists, so they are emptied in place."""

    def __init__(self) -> None:
        super().__init__(list)

    def clear_lists(self) -> None:
        for messages in self.values():
            messages.clear()


class Remote:
    """A node's services."""

    def __init__(self, graph: Any, name: str) -> None:
        self._graph, self._name = graph, name
        self._clients: dict[str, Any] = {}

    def call(self, service_type: type, service: str, request: Any, repeatable: bool = True) -> Any:
        """Ready says that this side knows the service. The other side may not know this client's reader yet, and a
        response sent before it does is lost: the request is repeated, or where that is not the same, waits a while.
        """
        if service not in self._clients:
            client = self._graph.node.create_client(service_type, f"{self._name}/{service}")
            self._graph.until(client.service_is_ready)
            if not repeatable:
                self._graph.spin(1.0)
            self._clients[service] = client
        futures: list[Any] = []

        def done() -> bool:
            if not futures or repeatable:
                futures.append(self._clients[service].call_async(request))
            self._graph.spin_while(lambda: not any(future.done() for future in futures), 1.0)
            return any(future.done() for future in futures)

        self._graph.until(done)
        return next(future.result() for future in futures if future.done())

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, "change_state", request, repeatable=False).success

    def set(self, name: str, value: Any) -> SetParametersResult:
        parameter = Parameter(name, value=value).to_parameter_msg()
        return self.call(SetParameters, "set_parameters", SetParameters.Request(parameters=[parameter])).results[0]


class Graph:
    """The test's own node, what it received, and the processes it started, all in one namespace."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder, self._namespace = folder, namespace
        self.node = Node("test", namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.received = Received()
        self.processes: list[NodeProcess] = []
        self._readers: list[ReaderProcess] = []
        self._stamps = 0

    @cached_property
    def _images(self) -> Publisher:
        return self.node.create_publisher(Image, "image", IMAGE_QOS)

    def start(self, executable: str, **parameters: Any) -> NodeProcess:
        arguments = [executable, "--ros-args", "-r", f"__ns:=/{self._namespace}"]
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={value}"]
        return self.start_with(*arguments)

    def start_with(self, executable: str, *arguments: str) -> NodeProcess:
        process = NodeProcess(self._folder / f"{len(self.processes)}-{executable}.log", [executable, *arguments])
        self.processes.append(process)
        return process

    def read(self, script: str, *arguments: str) -> ReaderProcess:
        output = self._folder / f"reader-{len(self._readers)}.jsonl"
        self._readers.append(ReaderProcess(output, script, *arguments))
        return self._readers[-1]

    def collect(self, message_type: type, topic: str, qos: QoSProfile | int = 1000) -> None:
        self.node.create_subscription(message_type, topic, self.received[topic].append, qos)

    def start_source(self, **parameters: Any) -> NodeProcess:
        """Start ``source_node`` and collect all that it sends: it waits for a subscription that knows it already, since
        what is sent to one that does not is lost.
        """
        process = self.start("source_node", wait_for_subscribers=1, **parameters)
        topic = self.node.resolve_topic_name("image")
        self.until(lambda: self.node.count_publishers(topic))
        self.collect(Image, "image", IMAGE_QOS)
        return process

    def until(self, condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> None:
        """Spin until the condition holds; fails with the processes' output where it does not."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline or not rclpy.ok():
                outputs = "\n".join(process.output for process in self.processes)
                pytest.fail(f"waited {timeout_s:g} s in vain; the processes said:\n{outputs}")
            self._executor.spin_once(timeout_sec=0.05)

    def spin(self, seconds: float) -> None:
        self.spin_while(lambda: True, seconds)

    def spin_while(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while condition() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)

    def remote(self, name: str) -> Remote:
        return Remote(self, name)

    def status_of(self, name: str) -> DiagnosticStatus | None:
        """The newest diagnostics of a node; ``/diagnostics`` is to be collected."""
        full_name = f"{self.node.get_namespace()}/{name}"
        statuses = [s for m in self.received["/diagnostics"] for s in m.status if s.name == full_name]
        return statuses[-1] if statuses else None

    def wait_for_image_subscribers(self, count: int = 1) -> None:
        self.until(lambda: self._images.get_subscription_count() >= count)

    def image(self, pixels: np.ndarray, stamp_s: float | None = None) -> Image:
        """A message with a header of its own; its stamp is now where none is given."""
        self._stamps += 1
        stamp = self.node.get_clock().now().to_msg() if stamp_s is None else Time(seconds=stamp_s).to_msg()
        return image_message(Header(stamp=stamp, frame_id=f"camera_{self._stamps}"), pixels)

    def publish(self, message: Image) -> None:
        self._images.publish(message)

    def ask(self, pixels: np.ndarray, *topics: str, stamp_s: float | None = None) -> list[Any]:
        """The answers to an image, published until it is answered on all topics, each time with a header of its own."""
        headers: list[Header] = []

        def answers() -> list[Any]:
            """To the first image that is answered on all topics."""
            for header in headers:
                found = [next((m for m in self.received[topic] if m.header == header), None) for topic in topics]
                if None not in found:
                    return found
            return []

        def answered() -> bool:
            image = self.image(pixels, stamp_s)
            headers.append(image.header)
            self.publish(image)
            self.spin_while(lambda: not answers(), 1.0)
            return bool(answers())

        self.until(answered)
        return answers()

    def close(self) -> None:
        for process in [*self._readers, *self.processes]:
            process.stop()
        self.node.destroy_node()


@pytest.fixture(scope="session", autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def message_environment() -> dict[str, str]:
    """The variables with which processes have hri_msgs, tf2_msgs and vision_msgs."""
    build = subprocess.run([sys.executable, str(FIXTURES / "build_messages.py")], stdout=subprocess.PIPE, check=True)
    return json.loads(build.stdout)


@pytest.fixture
def more_messages(message_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that a test starts have them; for the test's own it is too late."""
    for name, value in message_environment.items():
        monkeypatch.setenv(name, value)


def _graph(folder: Path, request: pytest.FixtureRequest) -> Iterator[Graph]:
    graph = Graph(folder, f"test_{abs(hash(request.node.nodeid)) % 10**9}")
    yield graph
    graph.close()


@pytest.fixture
def graph(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Graph]:
    yield from _graph(tmp_path, request)


@pytest.fixture(scope="module")
def shared_graph(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Graph]:
    """For the tests of a module that only look at what runs."""
    yield from _graph(tmp_path_factory.mktemp("graph"), request)
