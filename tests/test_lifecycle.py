"""Lifecycle, parameters and diagnostics of real nodes, through the services that ros2 lifecycle and ros2 param use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fer_msgs.msg import EmotionArray, FaceArray
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, ListParameters
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from fer_perception.nodes.bag_player import BagPlayer
from fer_perception.nodes.base.managed_node import ManagedNode
from fer_perception.nodes.base.qos import IMAGE_QOS
from fer_perception.nodes.emotion_node import EmotionNode
from fer_perception.nodes.face_node import FaceNode
from fer_perception.nodes.fer_node import FerNode
from fer_perception.nodes.hri.hri_node import HriNode
from fer_perception.nodes.overlay_node import OverlayNode
from fer_perception.nodes.source_node import SourceNode
from fer_perception.nodes.view_node import ViewNode
from fer_perception.replay.storage.new_bag import START_NS, Item, write_bag
from fer_perception.settings import settings_of

NODES: dict[str, type[ManagedNode]] = {
    "fer_node": FerNode,
    "face_node": FaceNode,
    "emotion_node": EmotionNode,
    "overlay_node": OverlayNode,
    "view_node": ViewNode,
    "source_node": SourceNode,
    "bag_player": BagPlayer,
    "hri_node": HriNode,
}

VALUE_FIELDS = {
    bool: ("bool_value", ParameterType.PARAMETER_BOOL),
    int: ("integer_value", ParameterType.PARAMETER_INTEGER),
    float: ("double_value", ParameterType.PARAMETER_DOUBLE),
    str: ("string_value", ParameterType.PARAMETER_STRING),
}


def answered(graph: Any, portrait: np.ndarray, topic: str = "emotions") -> bool:
    graph.publish(graph.image(portrait))
    graph.spin(0.2)
    return bool(graph.received[topic])


def test_a_node_goes_through_its_states(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    process = graph.start("fer_node", autostart=False)
    node = graph.remote("fer_node")
    assert node.state() == "unconfigured"
    assert graph.node.count_publishers(graph.node.resolve_topic_name("emotions")) == 0
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.state() == "inactive"
    assert graph.node.count_subscribers(graph.node.resolve_topic_name("image")) == 0
    for _ in range(2):
        assert node.change(Transition.TRANSITION_ACTIVATE)
        graph.until(lambda: answered(graph, portrait))
        assert node.change(Transition.TRANSITION_DEACTIVATE)
        graph.until(lambda: graph.node.count_subscribers(graph.node.resolve_topic_name("image")) == 0)
        graph.spin(0.3)
        graph.received.clear_lists()
        graph.publish(graph.image(portrait))
        graph.spin(0.5)
        assert not graph.received["emotions"]
    assert node.change(Transition.TRANSITION_CLEANUP)
    assert node.state() == "unconfigured"
    graph.until(lambda: graph.node.count_publishers(graph.node.resolve_topic_name("emotions")) == 0)
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.change(Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: answered(graph, portrait))
    assert process.stop() == 0
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("executable", "parameters", "message"),
    [
        ("fer_node", {"model": "/nowhere/model"}, "/nowhere/model/manifest.yaml: cannot be read"),
        ("fer_node", {"face_model": "/nowhere/face.task"}, "/nowhere/face.task: cannot be read"),
        ("face_node", {"face_mode": "guess"}, "parameter face_mode is 'guess': use one of keypoints, mesh"),
        ("emotion_node", {"model": "baseline", "precision": "int8"}, "has no precision 'int8', only fp32"),
        ("emotion_node", {"backend": "gpu"}, "parameter backend is 'gpu': use one of auto, tensorrt, onnxruntime"),
        (
            "emotion_node",
            {"prior": "even"},
            "prior is 'even': use balanced, training or one frequency for each of angry,",
        ),
        ("fer_node", {"backend": "tensorrt", "dla_core": 7}, "Or use backend auto or onnxruntime"),
        ("source_node", {"fps": 20}, "of type 'INTEGER', expecting type 'DOUBLE': fps. Give a value like 0.0"),
        (
            "fer_node",
            {"min_confidence": 3.0},
            "parameter min_confidence (Face detections with a lower confidence are ignored):",
        ),
        ("source_node", {"source": "/nowhere.mp4"}, "/nowhere.mp4: there is no such file or folder"),
    ],
)
def test_a_node_that_cannot_be_configured_says_why_and_stays(
    graph: Any, executable: str, parameters: dict[str, Any], message: str
) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start(executable, **parameters)
    graph.until(lambda: graph.status_of(executable) is not None)
    status = graph.status_of(executable)
    assert status is not None
    assert status.level == DiagnosticStatus.ERROR
    assert message in status.message
    assert message in process.output
    assert [value.value for value in status.values if value.key == "state"] == ["unconfigured"]
    assert process.stop() == 0
    assert "Traceback" not in process.output


def test_a_bad_parameter_is_mended_without_a_restart(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    process = graph.start("fer_node", threads="many", model="/nowhere")
    node = graph.remote("fer_node")
    assert node.set("threads", 1).successful
    assert not node.change(Transition.TRANSITION_CONFIGURE)
    assert "/nowhere/manifest.yaml: cannot be read" in process.output
    assert node.set("model", "baseline").successful
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.change(Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: answered(graph, portrait))


def test_parameters_change_at_run_time_where_that_is_safe(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(FaceArray, "faces")
    graph.start("fer_node")
    node = graph.remote("fer_node")
    graph.until(lambda: answered(graph, portrait, "faces"))
    graph.until(lambda: node.state() == "active")

    refused = node.set("model", "baseline")
    assert not refused.successful
    assert "model is read by configure and the node is active: deactivate, clean up" in refused.reason
    assert not node.set("autostart", False).successful
    assert not node.set("min_confidence", 0.1).successful
    assert not node.set("face_mode", "guess").successful
    assert not node.set("max_faces", 2.5).successful

    def settles(condition: Any) -> None:
        def holds() -> bool:
            graph.received.clear_lists()
            return answered(graph, portrait, "faces") and condition(graph.received["faces"][-1].faces)

        graph.until(holds)

    settles(lambda faces: len(faces) == 1 and not faces[0].mesh)
    assert node.set("face_mode", "mesh").successful
    settles(lambda faces: len(faces) == 1 and len(faces[0].mesh) == 478 * 3)
    assert node.set("min_confidence", 1.0).successful
    settles(lambda faces: not faces)


def test_landmarks_are_made_for_who_asks(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(FaceArray, "faces")
    graph.collect(FaceArray, "landmarks")
    graph.start("fer_node")
    graph.until(lambda: answered(graph, portrait, "faces") and graph.received["landmarks"])
    faces, landmarks = graph.received["faces"][-1], graph.received["landmarks"][-1]
    assert len(landmarks.faces[0].mesh) == 478 * 3
    assert len(landmarks.faces[0].head_orientation) == 1
    assert len(faces.faces[0].mesh) == 0
    assert landmarks.faces[0].keypoints.tolist() == faces.faces[0].keypoints.tolist()


def test_landmarks_have_a_rate_of_their_own(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(FaceArray, "faces")
    graph.collect(FaceArray, "landmarks")
    graph.start("fer_node", landmarks_rate_hz=3.0, image_timeout_s=60.0, use_sim_time=True)
    stamps_s = iter(range(1, 1000))
    graph.until(lambda: graph.ask(portrait, "faces", stamp_s=next(stamps_s)) and graph.received["landmarks"])
    for number in range(10):
        graph.ask(portrait, "faces", stamp_s=1000 + number / 10)

    def stamps() -> list[float]:
        found = [message.header.stamp for message in graph.received["landmarks"]]
        return [stamp.sec + stamp.nanosec / 1e9 for stamp in found if stamp.sec >= 1000]

    graph.until(lambda: len(stamps()) == 3)  # an image's landmarks come after all else
    assert stamps() == pytest.approx([1000, 1000.4, 1000.7])


def test_several_cameras_share_a_process_and_a_network(graph: Any, portrait: np.ndarray) -> None:
    space = graph.node.get_namespace().strip("/")
    for camera in ("front", "rear"):
        graph.collect(EmotionArray, f"{camera}/emotions")
    images = f"/{space}/{{camera}}/image"
    process = graph.start_with("fer_nodes", "--namespace", space, "--image", images, "--cameras", "front", "rear")
    publishers = {
        camera: graph.node.create_publisher(Image, f"{camera}/image", IMAGE_QOS) for camera in ("front", "rear")
    }

    def both_answered() -> bool:
        publishers["front"].publish(graph.image(portrait))
        publishers["rear"].publish(graph.image(np.zeros((48, 64, 3), np.uint8)))
        graph.spin(0.2)
        return all(graph.received[f"{camera}/emotions"] for camera in publishers)

    graph.until(both_answered)
    assert [e.label for e in graph.received["front/emotions"][-1].emotions] == ["happy"]
    assert graph.received["rear/emotions"][-1].emotions == []
    assert graph.remote("front/fer_node").change(Transition.TRANSITION_DEACTIVATE)
    assert graph.remote("rear/fer_node").state() == "active"
    assert process.stop() == 0
    assert "Traceback" not in process.output


def test_the_bag_player_pauses_and_goes_on_where_it_was(graph: Any, portrait: np.ndarray, tmp_path: Path) -> None:
    write_bag((Item(portrait) for _ in range(60)), tmp_path / "bag", 20.0)
    graph.collect(Image, "image", IMAGE_QOS)
    graph.collect(Clock, "/clock")
    process = graph.start("bag_player", autostart=False, bag=tmp_path / "bag")
    node, images, clock = graph.remote("bag_player"), graph.received["image"], graph.received["/clock"]
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.change(Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: len(images) > 10)
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    graph.spin(0.3)
    before = len(images), len(clock)
    graph.spin(1.0)
    assert (len(images), len(clock)) == before
    assert node.change(Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: not process.running())
    graph.spin(0.3)
    assert process.status == 0
    stamps = [message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec for message in images]
    assert len(stamps) == len(set(stamps)) > 10  # best effort
    assert set(stamps) <= {START_NS + number * 50_000_000 for number in range(60)}
    shown = [message.clock.sec * 1_000_000_000 + message.clock.nanosec for message in clock]
    for times in (stamps, shown):
        assert times == sorted(times)
    assert shown[-1] > stamps[-1]
    assert set(stamps) <= set(shown)  # a tick with each image
    assert np.diff(shown).max() <= 50_000_000


@pytest.mark.parametrize("name", NODES)
def test_parameters_are_described(graph: Any, name: str) -> None:
    graph.start(name, autostart=False)
    node = graph.remote(name)
    names = node.call(ListParameters, "list_parameters", ListParameters.Request()).result.names
    parameters = settings_of(NODES[name].settings_type).values()
    assert {parameter.name for parameter in parameters} <= set(names)
    request = DescribeParameters.Request(names=[parameter.name for parameter in parameters])
    described = node.call(DescribeParameters, "describe_parameters", request).descriptors
    for parameter, descriptor in zip(parameters, described, strict=True):
        assert descriptor.type == VALUE_FIELDS[type(parameter.default)][1]
        assert descriptor.description.startswith(parameter.description)
        assert descriptor.description.endswith(f"[{parameter.unit}]" if parameter.unit else parameter.description)
        assert descriptor.read_only == (parameter.changes == "start")
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        assert [(r.from_value, r.to_value) for r in ranges] == ([parameter.bounds] if parameter.bounds else [])
