"""Where faces are in space, of the running nodes: by a published camera_info, as poses and as frames."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import EmotionArray, FaceArray
from lifecycle_msgs.msg import Transition
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo

from fer_perception.faces.head_pose import PUPILS_M

# The pupils of the portrait are some 44 pixels apart: it is about a metre away from such a camera.
FOCAL_PX = 700.0


def camera_info(**changes: Any) -> CameraInfo:
    """Of a camera that looks at the middle of the portrait."""
    matrix = [FOCAL_PX, 0.0, 255.5, 0.0, FOCAL_PX, 255.5, 0.0, 0.0, 1.0]
    values = {"k": matrix, "d": [0.0] * 5, "distortion_model": "plumb_bob", "width": 512, "height": 512}
    return CameraInfo(**values | changes)


def positions(graph: Any, node: str = "fer_node") -> str:
    """What the newest diagnostics say of positions."""
    status = graph.status_of(node)
    return "" if status is None else next((v.value for v in status.values if v.key == "positions"), "")


def calibrate(graph: Any, pixels: np.ndarray, expected: str, node: str = "fer_node", **changes: Any) -> None:
    """Publish a camera_info and images until the diagnostics say what is expected."""
    publisher = graph.node.create_publisher(CameraInfo, "camera_info", 1)

    def said() -> bool:
        publisher.publish(camera_info(**changes))
        graph.publish(graph.image(pixels))
        graph.spin(0.2)
        return expected in positions(graph, node)

    graph.until(said)
    graph.node.destroy_publisher(publisher)


def listen(graph: Any) -> None:
    graph.collect(FaceArray, "faces")
    graph.collect(DiagnosticArray, "/diagnostics")


def axes(orientation: Any) -> np.ndarray:
    """The axes of a frame, one a column, in the camera's optical frame (x right, y down, z away)."""
    return Rotation.from_quat([getattr(orientation, name) for name in "xyzw"]).as_matrix()


def test_a_face_has_a_pose_where_the_camera_is_calibrated(graph: Any, portrait: np.ndarray) -> None:
    listen(graph)
    graph.start("fer_node")
    (faces,) = graph.ask(portrait, "faces")
    assert len(faces.faces[0].pose) == 0
    topic = graph.node.resolve_topic_name("camera_info")
    graph.until(lambda: positions(graph) == f"none: nothing on {topic} yet")

    calibrate(graph, portrait, "by camera_info of 512 x 512 pixels")
    (faces,) = graph.ask(portrait, "faces")
    (pose,) = faces.faces[0].pose
    eyes = np.asarray(faces.faces[0].keypoints).reshape(5, 2)[:2]
    distance_m = FOCAL_PX * PUPILS_M / np.linalg.norm(eyes[1] - eyes[0])
    position = pose.pose.position
    assert 0.8 < distance_m < 1.2
    assert position.z == pytest.approx(distance_m, rel=0.15)
    expected = (eyes.mean(0) - 255.5) / FOCAL_PX * position.z
    np.testing.assert_allclose([position.x, position.y], expected, atol=0.03)
    forward, left, up = axes(pose.pose.orientation).T
    assert forward[2] < -0.8  # towards the camera
    assert left[0] > 0.8
    assert up[1] < -0.8
    deviation = np.sqrt(np.asarray(pose.covariance).reshape(6, 6)[2, 2])
    assert 0.03 < deviation < 0.3

    cases = {
        "none: camera_info has the distortion model equidistant": {"distortion_model": "equidistant"},
        "none: camera_info of 640 x 480 pixels, and the image has 512 x 512": {"width": 640, "height": 480},
        "none: camera_info has no focal length": {"k": [0.0] * 9},
        "none: camera_info has the distortion coefficients [0.1, 0.2, 0.3]": {"d": [0.1, 0.2, 0.3]},
    }
    for said, changes in cases.items():
        calibrate(graph, portrait, said, **changes)
        (faces,) = graph.ask(portrait, "faces")
        assert len(faces.faces[0].pose) == 0
    calibrate(graph, portrait, "by camera_info of 512 x 512 pixels")
    assert len(graph.ask(portrait, "faces")[0].faces[0].pose) == 1


@pytest.mark.usefixtures("more_messages")
def test_frames_agree_with_the_poses(graph: Any, portrait: np.ndarray) -> None:
    listen(graph)
    graph.start("fer_node", publish_tf=True)
    reader = graph.read("echo.py", "tf2_msgs/msg/TFMessage", "/tf")
    calibrate(graph, portrait, "by camera_info")
    head = portrait[:256, 100:356]
    two = np.vstack([np.hstack([head, head]), portrait[256:]])

    def transforms(faces: FaceArray) -> dict[str, dict[str, Any]]:
        """Of an image, by the frame's name."""
        frames = [transform for line in reader.lines() for transform in line["transforms"]]
        name = faces.header.frame_id
        return {frame["child_frame_id"]: frame for frame in frames if frame["header"]["frame_id"] == name}

    answers: list[FaceArray] = []

    def published() -> bool:
        """The reader may be found late."""
        answers[:] = graph.ask(two, "faces")
        graph.spin_while(lambda: not transforms(answers[0]), 1.0)
        return bool(transforms(answers[0]))

    graph.until(published)
    faces, frames = answers[0], transforms(answers[0])
    assert set(frames) == {f"{name}_{face.track_id}" for name in ("face", "gaze") for face in faces.faces}
    assert len(frames) == 4
    for face in faces.faces:
        pose = face.pose[0].pose
        for name in ("face", "gaze"):
            frame = frames[f"{name}_{face.track_id}"]
            stamp = faces.header.stamp
            assert frame["header"]["stamp"] == {"sec": stamp.sec, "nanosec": stamp.nanosec}
            place = frame["transform"]["translation"]
            assert place == {"x": pose.position.x, "y": pose.position.y, "z": pose.position.z}
        turned = Rotation.from_quat(list(frames[f"face_{face.track_id}"]["transform"]["rotation"].values())).as_matrix()
        gaze = Rotation.from_quat(list(frames[f"gaze_{face.track_id}"]["transform"]["rotation"].values())).as_matrix()
        np.testing.assert_allclose(turned, axes(pose.orientation), atol=1e-9)
        np.testing.assert_allclose(gaze[:, 2], turned[:, 0], atol=1e-9)  # z of gaze_ is x of face_: the look
        np.testing.assert_allclose(gaze[:, 0], -turned[:, 1], atol=1e-9)
        np.testing.assert_allclose(gaze[:, 1], -turned[:, 2], atol=1e-9)


@pytest.mark.skipif(importlib.util.find_spec("tf2_msgs") is not None, reason="tf2_msgs is installed")
def test_without_tf2_msgs_frames_cannot_be_had(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    node = graph.start("fer_node", publish_tf=True)
    graph.until(lambda: graph.status_of("fer_node") is not None)
    assert "publish_tf needs tf2_msgs, which is not installed" in graph.status_of("fer_node").message
    assert "sudo apt install ros-$ROS_DISTRO-tf2-msgs" in node.output
    assert "Traceback" not in node.output


@pytest.mark.usefixtures("more_messages")
def test_strict_tells_no_positions(graph: Any, portrait: np.ndarray) -> None:
    listen(graph)
    graph.start("fer_node", publish_tf=True, privacy="strict")
    calibrate(graph, portrait, "none: privacy is strict")
    (faces,) = graph.ask(portrait, "faces")
    assert len(faces.faces) == 1
    assert len(faces.faces[0].pose) == 0
    assert not graph.node.count_publishers("/tf")
    assert not graph.node.count_subscribers(graph.node.resolve_topic_name("camera_info"))


def test_both_shapes_give_the_same_poses(graph: Any, portrait: np.ndarray) -> None:
    listen(graph)
    poses = []
    for shape in (["fer_node"], ["face_node", "emotion_node"]):
        for name in shape:
            graph.start(name, **({"privacy": "off"} if name == "face_node" else {}))
        calibrate(graph, portrait, "by camera_info", shape[0])
        (faces,) = graph.ask(portrait, "faces")
        poses.append(faces.faces[0].pose)
        for process in graph.processes:
            process.stop()
        graph.received.clear_lists()
    # How many images came before, which differs, decides where a close look at the face is taken.
    for name, tolerance in (("position", 0.02), ("orientation", 0.05)):
        fused, split = (getattr(pose.pose, name) for (pose,) in poses)
        for axis in fused.get_fields_and_field_types():
            assert getattr(split, axis) == pytest.approx(getattr(fused, axis), abs=tolerance)


@pytest.mark.parametrize(
    ("image", "calibration", "parameter"),
    [
        ("cam/image_raw", "cam/camera_info", ""),
        ("cam/image_raw/compressed", "cam/camera_info", ""),
        ("cam/image_raw", "depth/info", "depth/info"),
    ],
)
def test_the_calibration_is_looked_for_once_beside_the_images(
    graph: Any, image: str, calibration: str, parameter: str
) -> None:
    space = graph.node.get_namespace()
    arguments = ["-r", f"__ns:={space}", "-r", f"image:={image}", "-p", f"camera_info:='{parameter}'"]
    arguments += ["-p", "image_transport:=compressed"] if image.endswith("compressed") else []
    graph.start_with("fer_node", "--ros-args", *arguments)

    def subscribed() -> dict[str, int]:
        """Topics of a CameraInfo, and how often each is subscribed to."""
        topics = {
            topic for topic, types in graph.node.get_topic_names_and_types() if "sensor_msgs/msg/CameraInfo" in types
        }
        counts = {topic: graph.node.count_subscribers(topic) for topic in topics if topic.startswith(f"{space}/")}
        return {topic: count for topic, count in counts.items() if count}

    node = graph.remote("fer_node")
    for _ in range(2):
        graph.until(subscribed)
        assert subscribed() == {f"{space}/{calibration}": 1}
        assert node.change(Transition.TRANSITION_DEACTIVATE)
        graph.until(lambda: not subscribed())
        assert node.change(Transition.TRANSITION_ACTIVATE)


def test_a_camera_upside_down_is_noticed_and_can_be_set_right(graph: Any, portrait: np.ndarray) -> None:
    listen(graph)
    graph.collect(EmotionArray, "emotions")
    clock = graph.node.create_publisher(Clock, "/clock", 10)
    graph.start("fer_node", use_sim_time=True)
    (upright,) = graph.ask(portrait, "faces", stamp_s=1000.0)
    turned = np.ascontiguousarray(portrait[::-1, ::-1])
    stamps = iter(np.arange(1001.0, 1e6, 1.0))

    def noticed() -> bool:
        stamp_s = float(next(stamps))
        clock.publish(Clock(clock=Time(sec=int(stamp_s))))
        graph.ask(turned, "emotions", stamp_s=stamp_s)
        status = graph.status_of("fer_node")
        return status is not None and status.message == "faces are turned in the image: set image_rotation to 180"

    graph.until(noticed)
    assert graph.status_of("fer_node").level == b"\x01"
    assert graph.remote("fer_node").set("image_rotation", 180).successful
    faces, emotions = graph.ask(turned, "faces", "emotions", stamp_s=float(next(stamps)))
    (face,), (expected,) = faces.faces, upright.faces
    np.testing.assert_allclose(face.keypoints, 511 - np.asarray(expected.keypoints), atol=0.01)
    assert face.roi.x_offset == 512 - expected.roi.x_offset - expected.roi.width
    assert face.roi.y_offset == 512 - expected.roi.y_offset - expected.roi.height
    assert emotions.emotions[0].label == "happy"
    graph.received["/diagnostics"].clear()
    graph.until(lambda: graph.status_of("fer_node") is not None)
    assert "image_rotation" not in graph.status_of("fer_node").message
