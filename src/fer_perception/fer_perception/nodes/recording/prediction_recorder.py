"""Records the predictions of a running pipeline, and knows whether it is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import EmotionArray, Latency, LatencyStatistics
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.parameter import parameter_value_to_python
from rosgraph_msgs.msg import Clock

from fer_perception.errors import FerError
from fer_perception.nodes.base.managed_node import FAILED
from fer_perception.nodes.recording.recording_node import RECORD_RESULTS, RecordingNode

POLL_S = 0.02
RESPONSE_TIMEOUT_S = 1.0
ATTEMPTS = 10
NAMELESS = "_NODE_NAME_UNKNOWN_"  # rmw's, of a publisher that was discovered before its node was


class PredictionRecorder(RecordingNode):
    """Records ``emotions``, ``latency`` and ``/clock``. Another thread serves it.

    ``predictions_topic``: the full name of ``emotions``. ``ready``: whether the pipeline says that it has found a
    publisher of what it takes. ``failure``: what a node of this namespace could not do, from ``/diagnostics``.

    :param bag: the new bag's folder.
    """

    def __init__(self, bag: Path) -> None:
        super().__init__("prediction_recorder", bag)
        self.ready = False
        self.failure = ""
        self.predictions_topic = self.record(EmotionArray, "emotions", RECORD_RESULTS)
        self.record(Latency, "latency", RECORD_RESULTS)
        self.record(Clock, "/clock", RECORD_RESULTS)
        self.create_subscription(LatencyStatistics, "latency_statistics", self._on_statistics, RECORD_RESULTS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, RECORD_RESULTS)

    def pipeline_settings(self, names: list[str]) -> dict[str, Any]:
        """Parameters of the node that publishes ``emotions``; without those that it does not have.

        :raises FerError: nobody publishes them, or several do, or the node does not respond.
        """
        nodes = self._publishing_nodes()
        given_up_s = time.monotonic() + ATTEMPTS * RESPONSE_TIMEOUT_S
        while any(NAMELESS in node for node in nodes) and time.monotonic() < given_up_s:
            time.sleep(POLL_S)
            nodes = self._publishing_nodes()
        if len(nodes) != 1:
            raise FerError(f"{self.predictions_topic} is published by {', '.join(nodes) or 'nobody'}. Run one pipeline")
        client = self.create_client(GetParameters, f"{nodes[0]}/get_parameters")
        # One by one, since of several there is no response when the node lacks one.
        responses = {name: self._ask(client, GetParameters.Request(names=[name])).values for name in names}
        return {name: parameter_value_to_python(values[0]) for name, values in responses.items() if values}

    def _publishing_nodes(self) -> list[str]:
        """Full names of the nodes that publish ``emotions``."""
        found = self.get_publishers_info_by_topic(self.predictions_topic)
        return [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found]

    def _ask(self, client: Client, request: Any) -> Any:
        """A service's response."""
        for _ in range(ATTEMPTS):  # a response is lost where the other side has not found this client yet
            future = client.call_async(request)
            asked_s = time.monotonic()
            while time.monotonic() < asked_s + RESPONSE_TIMEOUT_S:
                time.sleep(POLL_S)
                if future.done():
                    return future.result()
        raise FerError(f"{client.srv_name}: no response. Has the node stopped?")

    def _on_statistics(self, message: LatencyStatistics) -> None:
        self.ready = message.publishers > 0

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            mine = status.name.startswith(self.get_namespace().rstrip("/") + "/")
            if mine and any(value.key == FAILED for value in status.values):
                self.failure = f"{status.name}: {status.message}"
