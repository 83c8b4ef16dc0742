"""What fer_node takes: compressed images, qualities of service, clocks; and what it says where nothing comes."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fer_msgs.msg import EmotionArray, Latency, LatencyStatistics
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from fer_perception.nodes.base.isolation import free_domain_id

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


def diagnostics(graph: Any, name: str) -> list[DiagnosticStatus]:
    full_name = f"{graph.node.get_namespace()}/{name}"
    return [s for m in graph.received["/diagnostics"] for s in m.status if s.name == full_name]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_compressed_images_are_taken(graph: Any, portrait: np.ndarray, suffix: str) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.start("fer_node", image_transport="compressed")
    publisher = graph.node.create_publisher(CompressedImage, "image/compressed", BEST_EFFORT)
    _, data = cv2.imencode(suffix, cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR))
    message = CompressedImage(format=f"rgb8; {suffix[1:]} compressed bgr8", data=data.tobytes())

    def answered() -> bool:
        message.header = Header(stamp=graph.node.get_clock().now().to_msg())
        publisher.publish(message)
        graph.spin(0.2)
        return bool(graph.received["emotions"])

    graph.until(answered)
    assert [emotion.label for emotion in graph.received["emotions"][-1].emotions] == ["happy"]


@pytest.mark.parametrize("reliability", [RELIABLE, BEST_EFFORT], ids=["reliable", "best_effort"])
def test_a_reliable_subscription_says_so_where_the_publisher_is_not(
    graph: Any, portrait: np.ndarray, reliability: QoSProfile
) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.collect(EmotionArray, "emotions")
    process = graph.start("fer_node", image_reliability="reliable", image_timeout_s=1.0)
    publisher = graph.node.create_publisher(Image, "image", reliability)
    fits = reliability is RELIABLE

    def seen() -> bool:
        publisher.publish(graph.image(portrait))
        graph.spin(0.2)
        problems = [s for s in diagnostics(graph, "fer_node") if "quality of service does not fit" in s.message]
        return bool(graph.received["emotions"] if fits else problems)

    graph.until(seen)
    assert bool(graph.received["emotions"]) == fits
    assert ("Set image_reliability to best_effort" in process.output) != fits


def test_silence_is_reported_with_its_likely_cause(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start("fer_node", image_timeout_s=1.0)
    graph.until(lambda: any("nothing publishes on" in s.message for s in diagnostics(graph, "fer_node")))
    graph.wait_for_image_subscribers()
    assert all(s.level == DiagnosticStatus.ERROR for s in diagnostics(graph, "fer_node")[-1:])

    def says(text: str) -> Any:
        return lambda: any(text in s.message for s in diagnostics(graph, "fer_node"))

    graph.until(says(f"though {graph.node.get_namespace()}/test publishes there"))
    graph.received.clear_lists()

    def recovered() -> bool:
        graph.publish(graph.image(portrait))
        graph.spin(0.1)
        return any(s.level == DiagnosticStatus.OK for s in diagnostics(graph, "fer_node"))

    graph.until(recovered)
    assert process.output.count("nothing publishes on") <= 3  # throttled


def test_images_that_cannot_show_a_face_are_reported(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    process = graph.start("fer_node")

    def says(pixels: np.ndarray, text: str) -> Any:
        def said() -> bool:
            graph.publish(graph.image(pixels))
            graph.spin(0.1)
            return any(text in s.message for s in diagnostics(graph, "fer_node"))

        return said

    graph.until(says(np.zeros((480, 640, 3), np.uint8), "the images are nearly black and show no face: is the lens"))
    assert diagnostics(graph, "fer_node")[-1].level == DiagnosticStatus.WARN
    assert "nearly black" in process.output
    graph.until(says(np.full((480, 640, 3), 128, np.uint8), "the images are without contrast"))


def start_remapped(graph: Any, image: str, *arguments: str) -> None:
    namespace = graph.node.get_namespace()
    remappings = ("-r", f"__ns:={namespace}", "-r", f"image:={image}")
    graph.start_with("fer_node", "--ros-args", *remappings, "-p", "image_timeout_s:=1.0", *arguments)


def diagnosis(graph: Any, text: str) -> str:
    """The message of fer_node that holds a text, awaited."""

    def found() -> list[str]:
        return [s.message for s in diagnostics(graph, "fer_node") if text in s.message]

    graph.until(lambda: bool(found()))
    return found()[-1]


def test_a_topic_of_another_type_is_named_with_the_remedy(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.node.create_publisher(CompressedImage, "image", BEST_EFFORT)
    graph.start("fer_node", image_timeout_s=1.0)
    message = diagnosis(graph, "/image is sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image")
    assert "set image_transport to compressed" in message


def test_a_raw_topic_is_none_for_compressed_images(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.node.create_publisher(Image, "camera/compressed", BEST_EFFORT)
    start_remapped(graph, "camera/compressed", "-p", "image_transport:=compressed")
    assert "set image_transport to raw" in diagnosis(graph, "camera/compressed is sensor_msgs/msg/Image, not")


def test_where_nothing_is_published_the_image_topics_that_exist_are_named(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.node.create_publisher(Image, "camera/image_raw", BEST_EFFORT)
    graph.node.create_publisher(CompressedImage, "camera/image_raw/compressed", BEST_EFFORT)
    start_remapped(graph, "camera/image_rwa")
    message = diagnosis(graph, "camera/image_raw (Image)")
    assert "nothing publishes on" in message
    assert "camera/image_raw/compressed (CompressedImage)" in message


def test_the_overlay_is_no_source_of_the_images_it_is_drawn_on(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.node.create_publisher(Image, "other/image", BEST_EFFORT)
    graph.start("overlay_node")
    graph.until(lambda: graph.node.count_publishers(f"{graph.node.get_namespace()}/overlay") > 0)
    graph.start("fer_node", image_timeout_s=1.0)
    diagnosis(graph, "other/image (Image)")
    graph.spin(2)  # until it has discovered overlay_node, too
    graph.received.clear_lists()
    assert "overlay" not in diagnosis(graph, "other/image (Image)")


def test_the_same_images_in_the_other_transport_are_named(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.node.create_publisher(Image, "camera/image", BEST_EFFORT)
    graph.node.create_publisher(CompressedImage, "camera/image_raw/compressed", BEST_EFFORT)
    start_remapped(graph, "camera/image_raw")
    message = diagnosis(graph, "camera/image_raw/compressed is sensor_msgs/msg/CompressedImage: set image_transport to")
    assert "nothing publishes on" in message


def test_another_type_is_no_other_transport(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.node.create_publisher(Header, "image", BEST_EFFORT)
    graph.start("fer_node", image_timeout_s=1.0)
    message = diagnosis(graph, "/image is std_msgs/msg/Header, not sensor_msgs/msg/Image: remap image to a topic of")
    assert "image_transport to" not in message


def test_two_publishers_of_images_are_named(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    graph.start("fer_node")
    graph.start("source_node", loop=True)
    graph.until(lambda: any(s.level == DiagnosticStatus.OK for s in diagnostics(graph, "fer_node")))
    graph.wait_for_image_subscribers()  # makes this test's publisher
    space = graph.node.get_namespace()
    message = diagnosis(graph, "their messages are mixed")
    assert f"{space}/source_node, {space}/test publish on {space}/image" in message
    graph.until(
        lambda: any(
            f"{space}/image is also published by {space}/test" in s.message for s in diagnostics(graph, "source_node")
        )
    )


def test_two_nodes_that_publish_the_same_are_named(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    space = graph.node.get_namespace()
    for name in ("fer_node", "second"):
        graph.start_with("fer_node", "--ros-args", "-r", f"__ns:={space}", "-r", f"__node:={name}")
    graph.start("source_node", loop=True)

    def says(name: str, text: str) -> bool:
        return any(s.level == DiagnosticStatus.WARN and text in s.message for s in diagnostics(graph, name))

    graph.until(lambda: says("fer_node", f"is also published by {space}/second: who subscribes gets both"))
    graph.until(lambda: says("second", f"is also published by {space}/fer_node"))


def test_two_nodes_of_one_name_are_told(graph: Any) -> None:
    graph.collect(DiagnosticArray, "/diagnostics")
    for _ in range(2):
        graph.start("source_node", loop=True)
    diagnosis_of = f"2 nodes are called {graph.node.get_namespace()}/source_node: stop all but one"
    graph.until(lambda: any(diagnosis_of in s.message for s in diagnostics(graph, "source_node")))


def test_without_any_other_node_the_domain_is_named(graph: Any, tmp_path: Path) -> None:
    """In another domain than this test, whose diagnostics cannot be heard here: the log tells."""
    domain = str(free_domain_id())
    command = [sys.executable, "-m", "fer_perception", "fer_node", "--ros-args", "-p", "image_timeout_s:=1.0"]
    with open(tmp_path / "log", "w+") as log:
        process = subprocess.Popen(command, env={**os.environ, "ROS_DOMAIN_ID": domain}, stdout=log, stderr=log)
        try:
            graph.until(lambda: f"no other node is seen in ROS domain {domain}" in (tmp_path / "log").read_text())
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


def test_the_graph_shows_where_the_images_go(graph: Any) -> None:
    graph.start("fer_node")
    topic = graph.node.resolve_topic_name("image")
    # Its endpoints may be known before its name is.
    graph.until(lambda: [s.node_name for s in graph.node.get_subscriptions_info_by_topic(topic)] == ["fer_node"])


@pytest.mark.parametrize("reliability", [RELIABLE, BEST_EFFORT], ids=["reliable", "best_effort"])
def test_images_are_published_for_any_subscription(graph: Any, reliability: QoSProfile) -> None:
    graph.collect(Image, "image", reliability)
    graph.start("source_node", source="astronaut")
    graph.until(lambda: len(graph.received["image"]) >= 3)


def test_ages_are_of_ros_time_and_durations_are_not(graph: Any, portrait: np.ndarray) -> None:
    graph.collect(Latency, "latency")
    graph.collect(LatencyStatistics, "latency_statistics")
    graph.start("fer_node", use_sim_time=True)
    clock = graph.node.create_publisher(Clock, "/clock", RELIABLE)
    message = Clock()
    message.clock.sec = 1_000

    def answered() -> bool:
        clock.publish(message)
        image = graph.image(portrait)
        image.header.stamp.sec, image.header.stamp.nanosec = 998, 500_000_000
        graph.publish(image)
        graph.spin(0.2)
        return any(latency.age_at_receipt_ms == pytest.approx(1_500) for latency in graph.received["latency"])

    graph.until(answered)
    latency = graph.received["latency"][-1]
    assert latency.age_at_publication_ms == pytest.approx(1_500)  # the clock stands still
    assert 0 < latency.total_ms < 1_000
    # The first window is shorter: it begins with the activation.
    graph.until(lambda: len(graph.received["latency_statistics"]) >= 3)
    statistics = graph.received["latency_statistics"][-1]
    assert statistics.header.stamp.sec == 1_000
    assert statistics.window_s == pytest.approx(1, abs=0.5)


def test_energy_is_a_measurement_or_nothing(graph: Any) -> None:
    graph.collect(LatencyStatistics, "latency_statistics")
    graph.start("fer_node")
    graph.until(lambda: len(graph.received["latency_statistics"]) >= 2)
    statistics = graph.received["latency_statistics"][-1]
    assert math.isnan(statistics.power_w) == (not statistics.power_sensor)
    assert math.isnan(statistics.energy_per_image_j)  # nothing was answered
