"""The demo's own node: subscribes to all that the suite publishes, prints a line a second and records."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import EmotionArray, FaceArray, Latency, LatencyStatistics
from rclpy.time import Time
from sensor_msgs.msg import Image

from fer_perception.commands.demo.summary import SessionSummary
from fer_perception.images.messages import image_from_message
from fer_perception.nodes.base.managed_node import FAILED
from fer_perception.nodes.base.player_node import FRAMES_SENT
from fer_perception.nodes.recording.recorder import VideoRecorder
from fer_perception.nodes.recording.recording_node import RECORD_IMAGES, RECORD_RESULTS, RecordingNode
from fer_perception.nodes.view_node import ADDRESS
from fer_perception.telemetry.timing import STAGES


class DemoMonitor(RecordingNode):
    """Collects the session's summary and writes bag, video and image."""

    def __init__(self, bag: Path, video: Path, snapshot: Path, fps: float) -> None:
        super().__init__("demo_monitor", bag)
        self.summary = SessionSummary()
        self.failure = ""
        self.view = ""
        self._last_emotions: EmotionArray | None = None
        self._video = VideoRecorder(video, snapshot, fps)
        self.record(FaceArray, "faces", RECORD_RESULTS)
        self.record(EmotionArray, "emotions", RECORD_RESULTS, self._on_emotions)
        self.record(Latency, "latency", RECORD_RESULTS, self._on_latency)
        self.record(LatencyStatistics, "latency_statistics", RECORD_RESULTS, self._on_statistics)
        self.record(DiagnosticArray, "/diagnostics", RECORD_RESULTS, self._on_diagnostics)
        self.create_subscription(Image, "overlay", self._on_overlay, RECORD_IMAGES)
        self._images_recorded = False

    def finish(self) -> None:
        """Complete the files and leave the graph."""
        self._video.close()
        super().finish()

    def _on_emotions(self, message: EmotionArray, received_s: float) -> None:
        self._last_emotions = message
        self.summary.model = message.model_id
        image_s = Time.from_msg(message.header.stamp).nanoseconds * 1e-9
        self.summary.add_predictions([emotion.label for emotion in message.emotions], image_s, received_s)

    def _on_latency(self, message: Latency, received_s: float) -> None:
        self.summary.add_stages({stage: getattr(message, f"{stage}_ms") for stage in STAGES})

    def _on_statistics(self, message: LatencyStatistics, received_s: float) -> None:
        if message.publishers and not self._images_recorded:
            # The source begins when this last subscriber is there: not before the pipeline has found the source, since
            # a publisher knows its subscribers, but not whether they know it.
            self.record(Image, "image", RECORD_IMAGES)
            self._images_recorded = True
        if not message.answered or self._last_emotions is None:
            return
        ages = next(stage for stage in message.stages if stage.stage == "age_at_publication")
        emotions = self._last_emotions.emotions
        best = max(emotions, key=lambda emotion: emotion.confidence) if emotions else None
        shown = f"{best.label} {best.confidence:.2f}" if best else "-"
        print(
            f"faces {len(emotions)}  top emotion {shown:<14}  {message.fps_out:5.1f} FPS  "
            f"latency p50 {ages.p50_ms:5.1f} ms  p95 {ages.p95_ms:5.1f} ms",
            flush=True,
        )

    def _on_diagnostics(self, message: DiagnosticArray, received_s: float) -> None:
        for status in message.status:
            for value in status.values:
                if value.key == FRAMES_SENT:
                    self.summary.frames_sent = int(value.value)
                elif value.key == FAILED:
                    self.failure = f"{status.name}: {status.message}"
                elif value.key == ADDRESS and not self.view:
                    self.view = value.value
                    self._open_view()

    def _open_view(self) -> None:
        """Where there is a desktop: a text browser would take the terminal, and can show nothing."""
        print(f"view: {self.view}", flush=True)
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(self.view)

    def _on_overlay(self, message: Image) -> None:
        last = self._last_emotions
        confidence = max((emotion.confidence for emotion in last.emotions), default=0.0) if last else 0.0
        self._video.write(image_from_message(message), confidence)
