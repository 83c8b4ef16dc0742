"""The tables of predictions from a recording of what a live pipeline published: no pipeline runs here.

An EmotionArray belongs to the image whose stamp it carries. An image without one was dropped, somewhere between the
publisher of the images and the recorder of the predictions.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_perception.emotions.quality_gate import Refusal
from fer_perception.errors import BagError
from fer_perception.faces.face import Face
from fer_perception.faces.single_face import NO_KEYPOINTS
from fer_perception.images.visibility import flaw_of
from fer_perception.pipeline import Emotions, Faces
from fer_perception.replay.bags import Bag, Frame, Selection, deserialize, nanoseconds, read_frames
from fer_perception.replay.offline import FRAMES_PER_PART, hash_files
from fer_perception.replay.output_bag import EMOTION_ARRAY, LATENCY
from fer_perception.replay.results import NodeCounts, StreamFacts
from fer_perception.replay.tables import LATENCY_FIELDS, Part

PREDICTIONS_TOPIC = "/fer/emotions"
CLOCK_TOPIC = "/clock"
CLOCK = "rosgraph_msgs/msg/Clock"


def read_recording(
    path: Path, topic: str, selection: Selection, recording: Path, predictions_topic: str, folder: Path
) -> StreamFacts:
    """Write the parts of the tables: every selected image of a bag with its predictions in a recording.

    :param path: the bag with the images that the pipeline was shown.
    :param recording: a bag with the predictions; it can be the same one. Where it holds ``/clock``, or is the same bag,
        the frames get their ``end_to_end_ms``.
    :param predictions_topic: of the EmotionArrays; ``latency`` is looked for beside it.
    :param folder: where to write the parts.
    :raises BagError: a bag is damaged, or the recording holds no predictions, or those of several models.
    """
    with Bag(recording) as bag:
        if bag.type_of(predictions_topic) != EMOTION_ARRAY:
            known = ", ".join(sorted(name for name in bag.counts if bag.type_of(name) == EMOTION_ARRAY))
            raise BagError(
                f"{recording}: has no predictions on {predictions_topic}. "
                + (f"It has {known}: choose by --predictions-topic" if known else f"Record {predictions_topic}, too")
            )
        emotions = _Recorded(bag, predictions_topic, EMOTION_ARRAY)
        latencies = _Recorded(bag, predictions_topic.rsplit("/", 1)[0] + "/latency", LATENCY)
        played_ns = _played_ns(bag, path)
    if emotions.last is None:
        raise BagError(f"{recording}: {predictions_topic} holds no message. Was the pipeline running?")
    model_id, labels = emotions.last.model_id, tuple(emotions.last.labels)
    with Bag(path) as bag:
        part, number = Part(labels), 0
        for frame in read_frames(bag, topic, selection):
            (received_ns, message), (_, latency) = emotions.take(frame.stamp_ns), latencies.take(frame.stamp_ns)
            durations_ms = {name: getattr(latency, f"{name}_ms") for name in LATENCY_FIELDS} if latency else {}
            if message:
                if message.model_id != model_id:
                    raise BagError(
                        f"{recording}: holds predictions of {message.model_id} and {model_id}. Record one model at a "
                        "time"
                    )
                durations_ms["end_to_end"] = (received_ns - played_ns(frame.time_ns)) * 1e-6
            part.add(frame, *_predictions_of(frame, message, len(labels)), durations_ms)
            if len(part.frames) == FRAMES_PER_PART:
                part.write(folder, number)
                part, number = Part(labels), number + 1
        if part.frames or not number:
            part.write(folder, number)
        messages, missing, last = bag.counts[topic], bag.counts[topic] - bag.read[topic], latencies.last
        return StreamFacts(
            bag=str(path),
            topic=topic,
            model_id=model_id,
            labels=list(labels),
            engine="in a live graph",
            files=hash_files(path),
            start_ns=bag.start_ns,
            messages=messages,
            # Of a part of the bag nobody knows how many there should be.
            missing=max(0, missing) if selection.end_s == float("inf") else 0,
            notes=bag.notes,
            node=NodeCounts(dropped=last.dropped_frames, rejected=last.rejected_frames) if last else None,
        )


class _Recorded:
    """The messages of a topic by the stamp of their image; serialized, as there can be many.

    ``last``: the last message, None where there is none.
    """

    def __init__(self, bag: Bag, topic: str, message_type: str) -> None:
        self._type = message_type
        self._by_stamp: dict[int, deque[tuple[int, bytes]]] = defaultdict(deque)
        self.last: Any = None
        for connection, time_ns, raw in bag.messages([topic]):
            if connection.msgtype == message_type:
                self.last = deserialize(raw, message_type)
                self._by_stamp[nanoseconds(self.last.header.stamp)].append((time_ns, raw))

    def take(self, stamp_ns: int) -> tuple[int, Any]:
        """When the next message of a stamp was recorded, and the message; 0 and None where there is none.

        Images that share a stamp are told apart by their order.
        """
        queue = self._by_stamp.get(stamp_ns)
        if not queue:
            return 0, None
        time_ns, raw = queue.popleft()
        return time_ns, deserialize(raw, self._type)


def _played_ns(recording: Bag, path: Path) -> Callable[[int], float]:
    """When what the bag recorded at a time was played, by the recording's clock; NaN where nobody knows."""
    if recording.path.resolve() == path.resolve():
        return float
    ticks = [
        (nanoseconds(deserialize(raw, CLOCK).clock), time_ns) for _, time_ns, raw in recording.messages([CLOCK_TOPIC])
    ]
    if not ticks:
        return lambda time_ns: float("nan")
    shown, at = np.asarray(sorted(ticks), np.int64).T
    # Differences, since a double is too short for nanoseconds since 1970.
    nan = float("nan")
    return lambda time_ns: at[0] + np.interp(time_ns - shown[0], shown - shown[0], at - at[0], left=nan, right=nan)


def _predictions_of(frame: Frame, message: Any, labels: int) -> tuple[Faces | None, Emotions | None]:
    if message is None or frame.rejected:
        return None, None
    faces = message.emotions
    boxes = [(face.roi.x_offset, face.roi.y_offset, face.roi.width, face.roi.height) for face in faces]
    refusals = [Refusal(face.refusal) if face.refusal else None for face in faces]
    nothing = np.full(labels, np.nan, np.float32)  # a refused face comes without probabilities
    probabilities, smoothed = (
        np.asarray(
            [nothing if refusal else getattr(face, name) for face, refusal in zip(faces, refusals, strict=True)],
            np.float32,
        ).reshape(len(faces), labels)
        for name in ("probabilities", "smoothed_probabilities")
    )
    found = Faces([Face(box, float("nan"), NO_KEYPOINTS) for box in boxes], [face.track_id for face in faces], [])
    if frame.image is not None and not faces:
        found = replace(found, flaw=flaw_of(frame.image))
    return found, Emotions(probabilities, smoothed, refusals)
