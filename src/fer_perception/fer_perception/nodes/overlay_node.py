"""``overlay_node``: draws faces and emotions into the images they belong to."""

from __future__ import annotations

from sensor_msgs.msg import Image

from fer_perception.images.visibility import SensorRange
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import NAMESPACE, OK, WARN, ManagedNode, run_node
from fer_perception.nodes.base.qos import IMAGE_QOS
from fer_perception.nodes.image_results import ImageResults, Results
from fer_perception.settings import OverlayNodeSettings
from fer_perception.telemetry.priority import give_way
from fer_perception.visualization.drawing import draw_results

POLL_S = 0.2


class OverlayNode(ManagedNode):
    """Publishes ``overlay``; subscribes to ``image``, ``faces``, ``emotions``, and with ``show_attention`` to
    ``attention``, only while somebody looks.

    By ``privacy`` the results are drawn into the image, into the image with blurred faces, or on black.
    """

    settings_type = OverlayNodeSettings
    settings: OverlayNodeSettings

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("overlay_node", namespace)
        self._results: ImageResults | None = None

    def configure(self) -> None:
        """See :meth:`ManagedNode.configure`."""
        self._sensor = SensorRange(self.settings.image_bits)
        self._overlay = self.publisher(Image, "overlay", IMAGE_QOS)

    def activate(self) -> None:
        """See :meth:`ManagedNode.activate`."""
        timer = self.create_timer(POLL_S, self._follow_demand, clock=self.steady_clock)
        self.at_deactivate(self._unsubscribe)
        self.at_deactivate(lambda: self.destroy_timer(timer))

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """See :meth:`ManagedNode.diagnose`."""
        if self._results is None:
            return OK, "nobody subscribes to the overlay", {}
        problem = self._results.problem()
        return (WARN, problem, {}) if problem else (OK, "drawing", {})

    def _follow_demand(self) -> None:
        wanted = self._overlay.get_subscription_count() > 0
        if wanted and self._results is None:
            self._results = ImageResults(self, self.settings, self._draw)
        elif not wanted:
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        if self._results is not None:
            self._results.close()
            self._results = None

    def _draw(self, results: Results) -> None:
        assert self._results is not None
        try:
            known = results.known_faces()
            canvas = draw_results(
                results.ground(known, self.settings.privacy, self._sensor),
                known,
                conversions.probabilities_from_message(results.emotions),
                results.emotions.labels,
            )
        except Exception as error:  # a node never dies from a message
            self._results.refuse(str(error))
            return
        self._overlay.publish(conversions.image_message(results.emotions.header, canvas))
        self._results.shown()


def main() -> None:
    """Run the node, which gives way where the pipeline needs the processor."""
    give_way()
    run_node(OverlayNode)
