"""Summary of a recorded session: what was sent, what was predicted, how fast."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from fer_perception.telemetry.timing import STAGES, percentiles

END_TO_END = "end_to_end"


class SessionSummary:
    """Collects the predictions of a session frame by frame."""

    def __init__(self) -> None:
        self.frames_sent = 0
        self.model = ""
        self.frames_processed = 0
        self._faces: Counter[int] = Counter()
        self._emotions: Counter[str] = Counter()
        self._durations: dict[str, list[float]] = defaultdict(list)
        self._first_s = self._last_s = 0.0

    def add_predictions(self, emotions: Sequence[str], image_s: float, received_s: float) -> None:
        """One processed frame.

        :param emotions: the strongest label of each face.
        :param image_s: stamp of the image, in seconds.
        :param received_s: when its EmotionArray reached this process, in seconds of the same clock.
        """
        if not self.frames_processed:
            self._first_s = image_s
        self._last_s = received_s
        self.frames_processed += 1
        self._faces[len(emotions)] += 1
        self._emotions.update(emotions)
        self._durations[END_TO_END].append((received_s - image_s) * 1000)

    def add_stages(self, stages_ms: dict[str, float]) -> None:
        """The durations of one frame's stages, in milliseconds."""
        for stage, duration in stages_ms.items():
            self._durations[stage].append(duration)

    def result(self) -> dict[str, Any]:
        """The summary as plain values for JSON; None where there is nothing to say."""
        latency = {}
        for stage in (END_TO_END, *STAGES):
            if self._durations[stage]:
                latency[stage] = {
                    name: round(value, 3) for name, value in percentiles(self._durations[stage])._asdict().items()
                }
        return {
            # The source reports once a second, so an interrupted session can have seen more than was reported.
            "frames_sent": max(self.frames_sent, self.frames_processed),
            "frames_processed": self.frames_processed,
            "frames_with_faces": sum(count for faces, count in self._faces.items() if faces),
            "faces_per_frame": {str(faces): count for faces, count in sorted(self._faces.items())},
            "emotions": dict(self._emotions.most_common()),
            "top_emotion": self._emotions.most_common(1)[0][0] if self._emotions else None,
            "latency_ms": latency,
            "model": self.model,
            "duration_s": round(self._last_s - self._first_s, 3),
        }


def format_summary(result: dict[str, Any]) -> str:
    """A summary for a terminal: images, emotions and stages as tables."""
    processed = result["frames_processed"]
    lines = [
        "",
        f"{result['frames_sent']} images sent, {processed} processed, {result['frames_with_faces']} with a face, in "
        f"{result['duration_s']:.1f} s; model {result['model'] or 'unknown'}",
    ]
    if result["emotions"]:
        faces = sum(result["emotions"].values())
        lines += ["", f"{'emotion':12}{'faces':>8}{'share':>8}"]
        lines += [f"{label:12}{count:8}{count / faces:8.0%}" for label, count in result["emotions"].items()]
    if result["latency_ms"]:
        lines += ["", f"{'stage, ms':12}{'p50':>8}{'p95':>8}{'p99':>8}"]
        lines += [
            f"{stage.replace('_', ' '):12}" + "".join(f"{value:8.1f}" for value in values.values())
            for stage, values in result["latency_ms"].items()
        ]
    return "\n".join([*lines, ""])
