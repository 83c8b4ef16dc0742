"""The audit log of ``fer_node`` and ``emotion_node``."""

from __future__ import annotations

from collections.abc import Sequence

from fer_perception.audit.trail import AuditTrail
from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.nodes.base.managed_node import ManagedNode
from fer_perception.pipeline import Emotions
from fer_perception.settings import AuditSettings, Privacy


class AuditedDecisions:
    """Logs what a node decides, where a folder is set. Made in the transition configure, and closed by cleanup.

    :raises FerError: the folder cannot be used.
    """

    def __init__(
        self, node: ManagedNode, settings: AuditSettings, classifier: EmotionClassifier, privacy: Privacy = "no_images"
    ) -> None:
        self._node, self._classifier = node, classifier
        self._trail: AuditTrail | None = None
        if settings.folder:
            name = node.get_fully_qualified_name()
            self._trail = AuditTrail.from_settings(settings, name, classifier.labels, privacy != "strict")
            node.at_cleanup(self._trail.close)
            self.changed()

    def changed(self) -> None:
        """Log the settings that decide from now on."""
        if self._trail is not None:
            self._trail.context(self._classifier, self._node.settings)

    def decided(self, stamp_s: float, track_ids: Sequence[str], emotions: Emotions, latency_ms: float) -> None:
        """See :meth:`AuditTrail.decided`."""
        if self._trail is not None:
            self._trail.decided(stamp_s, track_ids, emotions, latency_ms)
