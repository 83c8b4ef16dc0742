"""What a pipeline decided, as records of the audit log."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fer_perception.audit.log import CONTEXT_LENGTH, DIGITS, AuditLog, Limits, canonical, sha256
from fer_perception.emotions.classifier import EmotionClassifier
from fer_perception.emotions.quality_gate import strongest
from fer_perception.pipeline import Emotions
from fer_perception.settings import AuditSettings, Settings, values_of


class AuditTrail:
    """What a pipeline decided, on its way to the log: at most one record in an interval of the images' time.

    :param interval_s: in seconds; 0: one record for every image.
    :param with_tracks: name the tracks; without, nothing tells whether two records are of the same person.
    """

    def __init__(self, audit_log: AuditLog, interval_s: float, labels: Sequence[str], with_tracks: bool) -> None:
        self._log, self._interval_s = audit_log, interval_s
        self._labels, self._with_tracks = labels, with_tracks
        self._context = ""
        self._last_s = -math.inf
        self._images = 0
        self._counts: Counter[str] = Counter()

    @classmethod
    def from_settings(cls, settings: AuditSettings, name: str, labels: Sequence[str], with_tracks: bool) -> AuditTrail:
        """A trail in a folder of its own; to be closed.

        :param name: of the node, after which the folder below ``settings.folder`` is called.
        :raises FerError: the folder cannot be used.
        """
        limits = Limits.in_megabytes(settings.file_mb, settings.total_mb, settings.keep_days)
        folder = Path(settings.folder).expanduser() / name.strip("/").replace("/", ".")
        return cls(AuditLog(folder, limits), settings.interval_s, labels, with_tracks)

    def context(self, classifier: EmotionClassifier, settings: Settings) -> None:
        """Say what decides from now on; the records that follow name it by its hash."""
        values = {
            "model": classifier.model_id,
            "model_sha256": classifier.model_sha256,
            "engine": classifier.engine_name,
            "engine_sha256": classifier.engine_sha256,
            "parameters": values_of(settings),
        }
        self._context = sha256(canonical(values))[:CONTEXT_LENGTH]
        self._log.put("context", {"context": self._context, **values})

    def close(self) -> None:
        """Write what waits, and end."""
        self._log.close()

    def decided(self, stamp_s: float, track_ids: Sequence[str], emotions: Emotions, latency_ms: float) -> None:
        """The predictions for an image. Of an interval's images the first is written down, the others are counted.

        :param stamp_s: of the image, in seconds.
        """
        refusals = [emotions.refusal(index) for index in range(len(track_ids))]
        self._images += 1
        self._counts.update(refusal.reason if refusal else "answered" for refusal in refusals)
        if 0 <= stamp_s - self._last_s < self._interval_s:  # time that runs backwards (a looped bag) begins a new one
            return
        self._last_s = stamp_s
        faces = []
        for index, refusal in enumerate(refusals):
            row = emotions.probabilities[index]
            label, confidence = strongest(row, self._labels, refusal)
            known = [round(value, DIGITS) for value in row.tolist()]
            faces.append(
                {
                    **({"track": track_ids[index]} if self._with_tracks else {}),
                    "label": label,
                    "confidence": round(confidence, DIGITS),
                    # NaN, where the network was not asked.
                    "distribution": known if row[0] == row[0] else [],
                    "refusal": refusal.reason if refusal else "",
                }
            )
        self._log.put(
            "decision",
            {
                "context": self._context,
                "stamp": round(stamp_s, 6),
                "latency_ms": round(latency_ms, 3),
                "faces": faces,
                "images_since": self._images,
                "faces_since": dict(self._counts),
            },
        )
        self._images, self._counts = 0, Counter()
