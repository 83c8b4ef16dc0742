"""The layouts for Foxglove and RViz against a running graph: what they name is published, with such fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import EmotionArray, LatencyStatistics
from sensor_msgs.msg import Image

from fer_perception.models.shipped import share_folder
from fer_perception.nodes.base.qos import IMAGE_QOS

CONFIG = share_folder() / "config"
STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>\d+)\]|\[:\]\{(?P<key>\w+)==\"(?P<value>\w+)\"\}")
QUALITIES = {"Best Effort": "BEST_EFFORT", "Reliable": "RELIABLE"}


@pytest.fixture(scope="module")
def layout() -> dict[str, Any]:
    return dict(json.loads((CONFIG / "foxglove.json").read_text(encoding="utf-8")))


def panels_of(node: Any) -> Iterator[str]:
    """The panels of a layout's tree."""
    if isinstance(node, str):
        yield node
    else:
        assert node["direction"] in ("row", "column")
        yield from panels_of(node["first"])
        yield from panels_of(node["second"])


def value_at(message: Any, path: str) -> Any:
    """What a Foxglove message path without its topic names: fields, indices and filters on one field."""
    position = 0
    for step in STEP.finditer(path):
        assert step.start() == position, path
        position = step.end()
        if step["field"]:
            message = getattr(message, step["field"])
        elif step["index"]:
            message = message[int(step["index"])]
        else:
            (message,) = [element for element in message if getattr(element, step["key"]) == step["value"]]
    assert position == len(path), path
    return message


def test_every_panel_is_laid_out_once(layout: dict[str, Any]) -> None:
    assert sorted(panels_of(layout["layout"])) == sorted(layout["configById"])


def test_what_the_layouts_show_is_published(layout: dict[str, Any], graph: Any, portrait: np.ndarray) -> None:
    graph.collect(EmotionArray, "emotions")
    graph.collect(LatencyStatistics, "latency_statistics")
    graph.collect(Image, "overlay", IMAGE_QOS)
    graph.collect(DiagnosticArray, "/diagnostics")
    for executable in ("fer_node", "overlay_node"):
        graph.start(executable)

    def answered() -> bool:
        graph.publish(graph.image(portrait))
        graph.spin(0.2)
        statistics = graph.received["latency_statistics"]
        return bool(statistics and statistics[-1].stages and graph.received["overlay"] and graph.received["emotions"])

    graph.until(answered)

    def newest(topic: str) -> Any:
        name = topic if topic == "/diagnostics" else topic.removeprefix("/fer/")
        return graph.received[name][-1]

    panels = layout["configById"]
    plotted = [path for panel in panels.values() for path in panel.get("paths", ())]
    assert len(plotted) >= 10
    for path in plotted:
        topic, _, rest = path["value"].partition(".")
        assert isinstance(value_at(newest(topic), f".{rest}"), (int, float)), path
        assert path["enabled"]
        if (number := re.search(r"probabilities\[(\d+)\]", rest)) is not None:
            assert newest(topic).labels[int(number[1])] == path["label"]
    assert len(newest("/fer/emotions").labels) == sum("probabilities" in path["value"] for path in plotted)
    assert isinstance(newest(panels["Image!overlay"]["imageMode"]["imageTopic"]), Image)
    assert isinstance(newest(panels["RawMessages!emotions"]["topicPath"]), EmotionArray)
    assert isinstance(newest(panels["DiagnosticSummary!nodes"]["topicToRender"]), DiagnosticArray)

    rviz = yaml.safe_load((CONFIG / "fer.rviz").read_text(encoding="utf-8"))
    *images, frames = rviz["Visualization Manager"]["Displays"]
    assert frames["Class"] == "rviz_default_plugins/TF"  # which always reads /tf
    for display in images:
        name = graph.node.resolve_topic_name(display["Topic"]["Value"].removeprefix("/fer/"))
        (publisher, *_) = graph.node.get_publishers_info_by_topic(name)
        assert publisher.topic_type == "sensor_msgs/msg/Image"
        # A best effort display takes what any publisher sends, a reliable one only what is published so.
        wanted = QUALITIES[display["Topic"]["Reliability Policy"]]
        assert wanted in ("BEST_EFFORT", publisher.qos_profile.reliability.name)
