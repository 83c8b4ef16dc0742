"""Between ROS messages and the core's types."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from fer_msgs.msg import (
    Attention,
    AttentionArray,
    Emotion,
    EmotionArray,
    Face,
    FaceArray,
    Latency,
    LatencyStatistics,
    StageStatistics,
)
from geometry_msgs.msg import Point, PoseWithCovariance, Quaternion, Transform, TransformStamped, Vector3
from geometry_msgs.msg import Pose as PoseMessage
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from fer_perception.emotions.attention_maps import AttentionMap
from fer_perception.emotions.quality_gate import Refusal, strongest
from fer_perception.errors import ImageError
from fer_perception.faces import face as core
from fer_perception.faces.head_pose import FACE_FRAME, GAZE_FRAME
from fer_perception.faces.orientation import product
from fer_perception.labels import UNKNOWN
from fer_perception.models.bundle import Manifest
from fer_perception.pipeline import Emotions, Faces
from fer_perception.telemetry.timing import STAGES, Percentiles, WindowSummary
from fer_perception.types import Box, Float32Array, UInt8Image

NO_CROPS = "start face_node with privacy off. fer_node sends none, and needs no emotion_node"
CROP_ENCODINGS = {"grey": "mono8", "rgb": "rgb8"}


def header_of(message: Any) -> Header:
    """A message's header, also of one that rosbags has read."""
    header = message.header
    if isinstance(header, Header):
        return header
    return Header(stamp=Time(sec=header.stamp.sec, nanosec=header.stamp.nanosec), frame_id=header.frame_id)


def image_message(header: Header, image: UInt8Image) -> Image:
    """An RGB array, uint8 (H, W, 3), as an ``rgb8`` message."""
    height, width = image.shape[:2]
    return Image(header=header, height=height, width=width, encoding="rgb8", step=width * 3, data=_bytes(image))


def _bytes(image: UInt8Image) -> array[int]:
    """Rclpy takes an array.array as it is; any other type is checked and copied byte by byte."""
    data = array("B")
    data.frombytes(np.ascontiguousarray(image).data)
    return data


def face_array_message(
    header: Header, image: UInt8Image, found: Faces, mesh: bool = True, crops_for: Manifest | None = None
) -> FaceArray:
    """The faces of an image.

    :param mesh: with meshes and orientations, where they were made.
    :param crops_for: with crops, which were made for this network.
    """
    message = FaceArray(header=header, image_width=image.shape[1], image_height=image.shape[0])
    crops = found.crops if crops_for else [None] * len(found.faces)
    if crops_for:
        message.crop_width, message.crop_height = crops_for.input.width, crops_for.input.height
        message.crop_encoding = CROP_ENCODINGS[crops_for.input.color]
        message.crop_template = crops_for.alignment.id
    message.faces = [_face_message(*face, mesh) for face in zip(found.faces, found.track_ids, crops, strict=True)]
    return message


def _face_message(face: core.Face, track_id: str, crop: UInt8Image | None, mesh: bool) -> Face:
    return Face(
        track_id=track_id,
        confidence=face.confidence,
        roi=region(face.box),
        keypoints=face.keypoints.ravel(),
        mesh=array("f", face.mesh.ravel()) if mesh and face.mesh is not None else [],
        head_orientation=[_quaternion(face.orientation)] if mesh and face.orientation is not None else [],
        pose=[pose_message(face.pose)] if face.pose else [],
        crop=_bytes(crop) if crop is not None else [],
    )


def crops_from_message(message: FaceArray, manifest: Manifest) -> list[UInt8Image]:
    """The crops of a FaceArray for a network: uint8, (H, W) for a grey network, else (H, W, 3), RGB.

    :raises ImageError: it has none, or crops for another network.
    """
    spec = manifest.input
    wanted = (spec.width, spec.height, CROP_ENCODINGS[spec.color], manifest.alignment.id)
    got = (message.crop_width, message.crop_height, message.crop_encoding, message.crop_template)
    if got != wanted:
        raise ImageError(
            f"the faces' crops are {_crop_text(*got)}, this network takes {_crop_text(*wanted)}: "
            + ("start face_node with the same model" if message.crop_encoding else NO_CROPS)
        )
    shape = (spec.height, spec.width) if spec.color == "grey" else (spec.height, spec.width, 3)
    crops = []
    for face in message.faces:
        if len(face.crop) != spec.height * spec.width * spec.channels:
            raise ImageError(f"the crop of face {face.track_id[:20]} has {len(face.crop)} bytes: not a whole crop")
        crops.append(np.frombuffer(face.crop, np.uint8).reshape(shape))
    return crops


def _crop_text(width: int, height: int, encoding: str, template: str) -> str:
    return f"{width} x {height} {encoding[:20]}, template {template[:20]}" if encoding else "missing"


def pose_message(pose: core.Pose) -> PoseWithCovariance:
    """A head's pose, as REP 155's frame face_<id>."""
    x, y, z = pose.position_m.tolist()
    orientation = _quaternion(product(pose.orientation, FACE_FRAME))
    return PoseWithCovariance(
        pose=PoseMessage(position=Point(x=x, y=y, z=z), orientation=orientation), covariance=pose.covariance.ravel()
    )


def face_transforms(header: Header, faces: Faces) -> list[TransformStamped]:
    """REP 155's frames face_<id> and gaze_<id> of those faces whose pose is known."""
    transforms = []
    for face, track_id in zip(faces.faces, faces.track_ids, strict=True):
        if face.pose is None:
            continue
        x, y, z = face.pose.position_m.tolist()
        for name, frame in (("face", FACE_FRAME), ("gaze", GAZE_FRAME)):
            rotation = _quaternion(product(face.pose.orientation, frame))
            transforms.append(
                TransformStamped(
                    header=header,
                    child_frame_id=f"{name}_{track_id}",
                    transform=Transform(translation=Vector3(x=x, y=y, z=z), rotation=rotation),
                )
            )
    return transforms


def _quaternion(orientation: tuple[float, float, float, float]) -> Quaternion:
    x, y, z, w = orientation
    return Quaternion(x=x, y=y, z=z, w=w)


def faces_from_message(message: FaceArray, manifest: Manifest) -> Faces:
    """The faces that a face_node sent, with their crops for a network.

    :raises ImageError: see :func:`crops_from_message`.
    """
    crops = crops_from_message(message, manifest)
    return Faces([face_from_message(face) for face in message.faces], [face.track_id for face in message.faces], crops)


def region(box: Box) -> RegionOfInterest:
    """A box: x, y, width, height in pixels."""
    return RegionOfInterest(x_offset=box[0], y_offset=box[1], width=box[2], height=box[3])


def face_from_message(message: Face) -> core.Face:
    """The inverse of what :func:`face_array_message` does to one face.

    :raises ImageError: its mesh is none.
    """
    if len(message.mesh) % 3:
        raise ImageError(f"the mesh of face {message.track_id[:20]} has {len(message.mesh)} numbers, not 3 a point")
    roi, orientation = message.roi, message.head_orientation
    return core.Face(
        box=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        confidence=message.confidence,
        keypoints=np.asarray(message.keypoints, np.float32).reshape(5, 2),
        mesh=np.asarray(message.mesh, np.float32).reshape(-1, 3) if message.mesh else None,
        orientation=_orientation(orientation[0]) if orientation else None,
        pose=_pose(message.pose[0]) if message.pose else None,
    )


def _pose(message: PoseWithCovariance) -> core.Pose:
    """The inverse of :func:`pose_message`."""
    position = message.pose.position
    x, y, z, w = FACE_FRAME
    return core.Pose(
        np.array([position.x, position.y, position.z]),
        product(_orientation(message.pose.orientation), (-x, -y, -z, w)),
        np.reshape(message.covariance, (6, 6)),
    )


def _orientation(message: Quaternion) -> tuple[float, float, float, float]:
    return message.x, message.y, message.z, message.w


def emotion_array_message(
    header: Header,
    labels: tuple[str, ...],
    model_id: str,
    track_ids: Sequence[str],
    regions: Sequence[RegionOfInterest],
    emotions: Emotions,
) -> EmotionArray:
    """The emotions of an image's faces."""
    rows = zip(track_ids, regions, emotions.probabilities, emotions.smoothed, strict=True)
    return EmotionArray(
        header=header,
        labels=list(labels),
        model_id=model_id,
        emotions=[
            _emotion_message(labels, track_id, roi, row, smoothed, emotions.refusal(index))
            for index, (track_id, roi, row, smoothed) in enumerate(rows)
        ],
    )


def _emotion_message(
    labels: tuple[str, ...],
    track_id: str,
    roi: RegionOfInterest,
    row: Float32Array,
    smoothed: Float32Array,
    refusal: Refusal | None,
) -> Emotion:
    if refusal is not None:
        return Emotion(track_id=track_id, roi=roi, label=UNKNOWN, smoothed_label=UNKNOWN, refusal=refusal.value)
    (label, confidence), (smoothed_label, smoothed_confidence) = (
        strongest(values, labels, None) for values in (row, smoothed)
    )
    return Emotion(
        track_id=track_id,
        roi=roi,
        label=label,
        confidence=confidence,
        probabilities=array("f", row),
        smoothed_label=smoothed_label,
        smoothed_confidence=smoothed_confidence,
        smoothed_probabilities=array("f", smoothed),
    )


def probabilities_from_message(message: EmotionArray) -> Float32Array:
    """The smoothed distributions of all faces, NaN where one was refused: float32, (faces, labels)."""
    nothing = [math.nan] * len(message.labels)
    rows = [nothing if emotion.refusal else emotion.smoothed_probabilities for emotion in message.emotions]
    return np.asarray(rows, np.float32).reshape(len(rows), len(message.labels))


def detection_array_message(messages: Any, emotions: EmotionArray) -> Any:
    """What a message of emotions tells, as a Detection2DArray.

    :param messages: the module ``vision_msgs.msg``.
    """
    detections = []
    for emotion in emotions.emotions:
        roi, box = emotion.roi, messages.BoundingBox2D()
        box.center.position.x, box.center.position.y = roi.x_offset + roi.width / 2, roi.y_offset + roi.height / 2
        box.size_x, box.size_y = float(roi.width), float(roi.height)
        scores = sorted(zip(emotion.smoothed_probabilities, emotions.labels), reverse=True)
        results = [
            messages.ObjectHypothesisWithPose(hypothesis=messages.ObjectHypothesis(class_id=label, score=score))
            for score, label in scores
        ]
        detections.append(messages.Detection2D(header=emotions.header, results=results, bbox=box, id=emotion.track_id))
    return messages.Detection2DArray(header=emotions.header, detections=detections)


def attention_array_message(
    header: Header,
    map_id: str,
    track_ids: Sequence[str],
    regions: Sequence[RegionOfInterest],
    maps: Sequence[AttentionMap],
) -> AttentionArray:
    """The attention maps of faces."""
    return AttentionArray(
        header=header,
        model_id=map_id,
        attention=[
            Attention(
                track_id=track_id,
                roi=roi,
                width=values.shape[1],
                height=values.shape[0],
                values=_bytes(values),
                to_image=to_image.ravel(),
            )
            for track_id, roi, (values, to_image) in zip(track_ids, regions, maps, strict=True)
        ],
    )


def attention_from_message(message: AttentionArray) -> list[AttentionMap]:
    """The maps of a message.

    :raises ImageError: the number of values is not that of a map of the size that is told.
    """
    maps = []
    for entry in message.attention:
        if not len(entry.values) or len(entry.values) != entry.width * entry.height:
            raise ImageError(
                f"the attention map of face {entry.track_id[:20]} has {len(entry.values)} values and says that it has "
                f"{entry.width} x {entry.height}: mend what publishes it"
            )
        values = np.frombuffer(entry.values, np.uint8).reshape(entry.height, entry.width)
        maps.append(AttentionMap(values, np.asarray(entry.to_image, np.float64).reshape(2, 3)))
    return maps


def age_ms(now_ns: int, stamp: Any) -> float:
    """Age of a stamp (``sec``, ``nanosec``) in milliseconds of ROS time.

    NaN where the stamp is zero, not set, or ROS time is: with ``use_sim_time`` until the first ``/clock``.
    """
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    return (now_ns - stamp_ns) * 1e-6 if stamp_ns and now_ns else float("nan")


def latency_message(header: Header, durations_ms: dict[str, float], faces: int, dropped: int, rejected: int) -> Latency:
    """One frame's durations, by the names of Latency's fields without ``_ms``; NaN for stages that are not given."""
    return Latency(
        header=header,
        faces=faces,
        dropped_frames=dropped,
        rejected_frames=rejected,
        **{f"{stage}_ms": float("nan") for stage in STAGES if stage not in durations_ms},
        **{f"{name}_ms": value for name, value in durations_ms.items()},
    )


def statistics_message(
    stamp: Time, publishers: int, summary: WindowSummary, power_sensor: str, energy_j: float
) -> LatencyStatistics:
    """Summary of a window, the number of publishers of images, and the energy used in the window."""
    return LatencyStatistics(
        power_sensor=power_sensor,
        power_w=energy_j / summary.window_s,
        energy_per_image_j=energy_j / summary.processed if summary.processed else float("nan"),
        header=Header(stamp=stamp),
        publishers=publishers,
        window_s=summary.window_s,
        received=summary.received,
        answered=summary.processed,
        dropped=summary.dropped,
        rejected=summary.rejected,
        fps_in=summary.fps_in,
        fps_out=summary.fps_out,
        stages=[
            StageStatistics(stage=stage, p50_ms=values.p50, p95_ms=values.p95, p99_ms=values.p99)
            for stage, values in summary.stages.items()
        ],
    )


def summary_from_message(message: LatencyStatistics) -> WindowSummary:
    """The summary of a window, without power: the inverse of :func:`statistics_message`."""
    return WindowSummary(
        message.window_s,
        message.received,
        message.answered,
        message.dropped,
        message.rejected,
        {found.stage: Percentiles(found.p50_ms, found.p95_ms, found.p99_ms) for found in message.stages},
    )
