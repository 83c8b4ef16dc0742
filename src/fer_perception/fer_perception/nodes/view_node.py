"""``view_node``: shows images and results in a browser, without ROS tools. Needs requirements/view.txt."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from fer_msgs.msg import LatencyStatistics

from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.latest_slot import LatestSlot
from fer_perception.nodes.base.managed_node import NAMESPACE, OK, WARN, ManagedNode, run_node
from fer_perception.nodes.base.qos import RESULT_QOS
from fer_perception.nodes.image_results import ImageResults, Results
from fer_perception.settings import ViewNodeSettings
from fer_perception.telemetry.priority import give_way

# At most ten images a second are shown: more take the pipeline's and the browser's time and tell people nothing.
PERIOD_S = 0.1
# Key of the diagnostics: what a browser opens.
ADDRESS = "address"


class Arrival(NamedTuple):
    """Results, and when they were there, in nanoseconds of ROS time: a camera's stamps may be of another clock."""

    results: Results
    time_ns: int


class ViewNode(ManagedNode):
    """Serves a page with images, boxes, key points, probabilities, latencies and positions; says its address in the
    log and on ``/diagnostics``.

    Subscribes to ``image``, ``faces``, ``emotions``, ``latency_statistics``, and with ``show_attention`` to
    ``attention``. Images that come before the last one was shown are dropped. By ``privacy`` images are shown, with
    blurred faces, or not even subscribed to.
    """

    settings_type = ViewNodeSettings
    settings: ViewNodeSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("view_node", namespace)

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        # Here, so that a missing package is told as everything else that a node lacks.
        from fer_perception.visualization.rerun_view import RerunView
        from fer_perception.visualization.view_server import ViewServer

        self._sensor = SensorRange(self.settings.image_bits)
        self._server = ViewServer(self.settings.view_address, self.settings.view_port)
        self.at_cleanup(self._server.close)
        self._view = RerunView.live(self._server.data_url)
        self.at_cleanup(self._view.close)
        self.get_logger().info(f"open {self._server.url}")

    def activate(self) -> None:
        """See :meth:`ManagedNode.activate`."""
        slot: LatestSlot[Arrival] = LatestSlot()
        worker = threading.Thread(target=self._work, args=(slot,), name="worker", daemon=True)
        worker.start()
        self.at_deactivate(worker.join)
        self.at_deactivate(slot.close)

        def receive(results: Results) -> None:
            slot.put(Arrival(results, self.get_clock().now().nanoseconds))

        images = self.settings.privacy != "strict"
        self._results = ImageResults(self, self.settings, receive, images)
        self.at_deactivate(self._results.close)
        statistics = self.create_subscription(
            LatencyStatistics, "latency_statistics", self._show_statistics, RESULT_QOS
        )
        self.at_deactivate(lambda: self.destroy_subscription(statistics))

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        problem, values = self._results.problem(), {ADDRESS: self._server.url}
        return (WARN, problem, values) if problem else (OK, f"open {self._server.url}", values)

    def _work(self, slot: LatestSlot[Arrival]) -> None:
        while (arrival := slot.take()) is not None:
            begun = time.monotonic()
            try:
                self._show(arrival)
            except Exception as error:  # a node never dies from a message
                if self.context.ok():  # else it is the end that interrupted the work
                    self._results.refuse(str(error))
            else:
                self._results.shown()
            time.sleep(max(0.0, begun + PERIOD_S - time.monotonic()))

    def _show(self, arrival: Arrival) -> None:
        from fer_perception.visualization.rerun_view import Shown

        results, privacy = arrival.results, self.settings.privacy
        known = results.known_faces()
        self._view.show(
            arrival.time_ns,
            Shown(
                image=results.ground(known, privacy, self._sensor) if results.image is not None else None,
                faces=known,
                track_ids=[face.track_id for face in results.faces.faces],
                probabilities=conversions.probabilities_from_message(results.emotions),
                labels=results.emotions.labels,
            ),
        )

    def _show_statistics(self, message: LatencyStatistics) -> None:
        self._view.statistics(self.get_clock().now().nanoseconds, conversions.summary_from_message(message))


def main() -> None:
    """Run the node, which gives way where the pipeline needs the processor; so does Rerun's server."""
    give_way()
    run_node(ViewNode)
