"""What the pipeline sees and says, in Rerun's viewer: live, or as a recording. Needs requirements/view.txt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from fer_perception.faces.face import Face
from fer_perception.labels import UNKNOWN
from fer_perception.telemetry.timing import WindowSummary
from fer_perception.types import Float32Array, UInt8Image
from fer_perception.visualization.drawing import color_of

TIMELINE = "time"
JPEG_QUALITY = 75
# Plots of the newest few faces, of those that were seen in so many images.
MAX_PLOTS, ESTABLISHED = 3, 10
# Live plots show so much of the past.
WINDOW_S = 30.0
# Live, what is logged within so long goes out together: a browser without a GPU is slow at many small pieces.
TOGETHER_S = 0.2
PROBABILITIES = (-0.02, 1.02)  # a line at 0 or 1 is not cut
LATENCY_COLORS = ((74, 127, 181), (245, 166, 35), (220, 60, 50))  # RGB of p50, p95, p99
RATE_COLORS = ((74, 127, 181), (130, 160, 40), (220, 60, 50))  # of received, processed and dropped images


@dataclass(frozen=True)
class Shown:
    """One image and its results.

    ``image``: uint8, (H, W, 3), RGB, as it may be shown; None: no pixels. ``probabilities``: smoothed, float32,
    (faces, labels), a row of NaN for a face whose emotion is refused.
    """

    image: UInt8Image | None
    faces: Sequence[Face]
    track_ids: Sequence[str]
    probabilities: Float32Array
    labels: Sequence[str]


@dataclass
class _Layout:
    """What there are views of."""

    tracks: list[str] = field(default_factory=list)
    positions: bool = False
    truth: bool = False


class RerunView:
    """Images with boxes, key points or meshes, a plot of the smoothed probabilities for each face, latencies and rates,
    positions where there are any, and what was shown where that is known; laid out when it opens.

    Times are nanoseconds of one clock. Not for several threads, but for :meth:`statistics`.

    :param window_s: plots show so many seconds of the past; 0: all.
    """

    def __init__(self, stream: rr.RecordingStream, window_s: float = 0.0) -> None:
        self._stream, self._window_s = stream, window_s
        self._layout = _Layout()
        self._seen: Counter[str] = Counter()
        stream.log("space", rr.ViewCoordinates.RDF, static=True)
        self._name("latency", ("p50", "p95", "p99"), LATENCY_COLORS)
        self._name("images", ("received", "processed", "dropped"), RATE_COLORS)
        self._lay_out()

    @classmethod
    def live(cls, url: str) -> RerunView:
        """A view that a server of this URL hands on to those who look."""
        batches = rr.ChunkBatcherConfig(flush_tick=TOGETHER_S)
        stream = rr.RecordingStream("fer_perception", batcher_config=batches)
        stream.connect_grpc(url)
        return cls(stream, WINDOW_S)

    @classmethod
    def recording(cls, file: Path, name: str) -> RerunView:
        """A view that is written to a file, which ``rerun FILE`` opens.

        :param name: what is recorded.
        """
        stream = rr.RecordingStream("fer_perception")
        stream.save(file)
        stream.send_recording_name(name)
        return cls(stream)

    def close(self) -> None:
        """Hand on or write what is left."""
        self._stream.disconnect()

    def show(self, time_ns: int, shown: Shown) -> None:
        """Show an image with its results."""
        self._at(time_ns)
        if shown.image is not None:
            self._stream.log("camera/image", _jpeg(shown.image))
        winners = [UNKNOWN if np.isnan(row).any() else shown.labels[row.argmax()] for row in shown.probabilities]
        colors = [color_of(label) for label in winners]
        texts = [
            f"{track_id} {label}" + ("" if label == UNKNOWN else f" {row.max():.0%}")
            for track_id, label, row in zip(shown.track_ids, winners, shown.probabilities, strict=True)
        ]
        boxes = [face.box for face in shown.faces]
        self._stream.log(
            "camera/faces",
            rr.Boxes2D(array=np.reshape(boxes, (-1, 4)), array_format=rr.Box2DFormat.XYWH, colors=colors, labels=texts),
        )
        self._show_points(shown.faces, colors)
        self._show_positions(shown.faces, colors, texts)
        for track_id, row in zip(shown.track_ids, shown.probabilities, strict=True):
            self._plot(track_id, row, shown.labels)

    def statistics(self, time_ns: int, summary: WindowSummary) -> None:
        """Show the latency of a window, and how many images a second were received, processed and dropped."""
        self._at(time_ns)
        if "total" in summary.stages:
            self._stream.log("latency", rr.Scalars(list(summary.stages["total"])))
        self._stream.log("images", rr.Scalars([summary.fps_in, summary.fps_out, summary.fps_dropped]))

    def truth(self, time_ns: int, label: str, labels: Sequence[str]) -> None:
        """Show which emotion the image shows; of a label that is none of the labels: none of them."""
        self._at(time_ns)
        if not self._layout.truth:
            self._layout.truth = True
            self._name("ground_truth", labels, [color_of(name) for name in labels], steps=True)
            self._lay_out()
        self._stream.log("ground_truth", rr.Scalars([float(name == label) for name in labels]))

    def _show_points(self, faces: Sequence[Face], colors: Sequence[tuple[int, int, int]]) -> None:
        """Meshes where there are some, else key points."""
        points = [face.keypoints if face.mesh is None else face.mesh[:, :2] for face in faces]
        rows = [points[index][~np.isnan(points[index]).any(axis=1)] for index in range(len(faces))]
        radii = [1.0 if face.mesh is not None else 2.5 for face in faces]
        counts = [len(row) for row in rows]
        self._stream.log(
            "camera/points",
            rr.Points2D(
                np.concatenate([np.empty((0, 2)), *rows]),
                colors=np.repeat(np.reshape(colors, (-1, 3)), counts, axis=0).astype(np.uint8),
                radii=np.repeat(radii, counts),
            ),
        )

    def _show_positions(
        self, faces: Sequence[Face], colors: Sequence[tuple[int, int, int]], texts: Sequence[str]
    ) -> None:
        known = [index for index, face in enumerate(faces) if face.pose]
        if known and not self._layout.positions:
            self._layout.positions = True
            self._lay_out()
        if self._layout.positions:
            positions = [face.pose.position_m for face in faces if face.pose]
            self._stream.log(
                "space/faces",
                rr.Points3D(
                    np.reshape(positions, (-1, 3)),
                    colors=[colors[index] for index in known],
                    labels=[texts[index] for index in known],
                    radii=0.08,  # metres: as wide as a face
                ),
            )

    def _plot(self, track_id: str, row: Float32Array, labels: Sequence[str]) -> None:
        entity = f"emotions/{track_id}"
        if not self._seen[track_id]:
            self._name(entity, labels, [color_of(label) for label in labels])
        self._seen[track_id] += 1
        if self._seen[track_id] == ESTABLISHED:
            self._layout.tracks = [*self._layout.tracks, track_id][-MAX_PLOTS:]
            self._lay_out()
        self._stream.log(entity, rr.Scalars(row))

    def _at(self, time_ns: int) -> None:
        self._stream.set_time(TIMELINE, timestamp=np.datetime64(time_ns, "ns"))

    def _name(
        self, entity: str, names: Sequence[str], colors: Sequence[tuple[int, int, int]], steps: bool = False
    ) -> None:
        """What the lines of a plot are called, and their colours."""
        mode = rr.components.InterpolationMode.StepAfter if steps else rr.components.InterpolationMode.Linear
        lines = rr.SeriesLines(names=list(names), colors=list(colors), interpolation_mode=mode)
        self._stream.log(entity, lines, static=True)

    def _lay_out(self) -> None:
        """Send how the views lie; a viewer takes it over at once."""
        layout = self._layout
        # Whoever comes first has a plot at once: that of all faces.
        plots = [self._time_view(f"emotions/{track_id}", f"face {track_id}") for track_id in layout.tracks]
        plots = plots or [self._time_view("emotions", "emotions")]
        if layout.truth:
            plots.insert(0, self._time_view("ground_truth", "ground truth"))
        pictures: list[rrb.View] = [rrb.Spatial2DView(origin="camera", name="camera")]
        if layout.positions:
            pictures.append(rrb.Spatial3DView(origin="space", name="positions"))
        figures = rrb.Horizontal(
            self._time_view("latency", "latency, ms"), self._time_view("images", "images a second")
        )
        self._stream.send_blueprint(
            rrb.Blueprint(
                rrb.Horizontal(rrb.Vertical(*pictures), rrb.Vertical(*plots, figures), column_shares=[3, 2]),
                rrb.TimePanel(state="collapsed", timeline=TIMELINE),
                collapse_panels=True,
            )
        )

    def _time_view(self, entity: str, name: str) -> rrb.TimeSeriesView:
        past = [
            rrb.VisibleTimeRange(
                TIMELINE,
                start=rrb.TimeRangeBoundary.cursor_relative(seconds=-self._window_s),
                end=rrb.TimeRangeBoundary.cursor_relative(),
            )
        ]
        axis = None if entity in ("latency", "images") else rrb.ScalarAxis(range=PROBABILITIES)
        return rrb.TimeSeriesView(
            origin=f"/{entity}", name=name, axis_y=axis, time_ranges=past if self._window_s else None
        )


def _jpeg(image: UInt8Image) -> rr.EncodedImage:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return rr.EncodedImage(contents=encoded.tobytes(), media_type="image/jpeg")
