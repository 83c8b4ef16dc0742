"""SROS2's policies against its schema and the running nodes; and where DDS security can be had, secured nodes."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from lxml import etree
from rclpy.node import NodeNameNonExistentError
from sensor_msgs.msg import Image

from fer_perception.__main__ import NODES
from fer_perception.models.shipped import share_folder
from fer_perception.nodes.base.qos import IMAGE_QOS
from fer_perception.replay.storage.new_bag import Item, write_bag

POLICIES = share_folder() / "security" / "policies.xml"
FIXTURES = Path(__file__).parent / "fixtures"
PRIVACY_OFF = ["-p", 'privacy:="off"']  # unquoted it is YAML's false
ATTENTIVE = ["-p", "model:=hybrid_attention_lite0"]  # a model that has attention maps
FRAMES = ["-p", "publish_tf:=true"]
LISTENER = FIXTURES / "secure_listener.py"


class Rights(NamedTuple):
    """Full names of topics and services."""

    publish: frozenset[str]
    subscribe: frozenset[str]
    reply: frozenset[str]
    request: frozenset[str]


def policies() -> Any:
    tree = etree.parse(str(POLICIES))
    tree.xinclude()
    return tree


def full_name(name: str, namespace: str, node: str) -> str:
    """As sros2's permissions.xsl does it."""
    if name.startswith("/"):
        return name
    return f"{namespace}/{node}{name[1:]}" if name.startswith("~") else f"{namespace}/{name}"


def granted() -> dict[str, Rights]:
    """By node."""
    rights: dict[str, Rights] = {}
    for profile in policies().iter("profile"):
        names: dict[str, set[str]] = defaultdict(set)
        for group in profile:
            for kind in group.attrib:
                if kind in Rights._fields and group.get(kind) == "ALLOW":
                    names[kind] |= {full_name(child.text, profile.get("ns"), profile.get("node")) for child in group}
        rights[profile.get("node")] = Rights(*(frozenset(names[kind]) for kind in Rights._fields))
    return rights


def used(graph: Any, node: str) -> Rights:
    """What a running node does, as the graph tells it."""
    ask = graph.node
    try:
        answers = [
            getattr(ask, f"get_{kind}_names_and_types_by_node")(node, "/fer")
            for kind in ("publisher", "subscriber", "service", "client")
        ]
    except NodeNameNonExistentError:
        answers = [[]] * 4
    return Rights(*(frozenset(name for name, _ in names) for names in answers))


def difference(rights: Rights, use: Rights) -> str:
    """What is used and not granted, or granted and not used; * is any text. Empty: nothing."""
    lines = []
    for kind, allowed, names in zip(Rights._fields, rights, use, strict=True):
        missing = sorted(n for n in names if not any(fnmatch.fnmatchcase(n, pattern) for pattern in allowed))
        unused = sorted(pattern for pattern in allowed if not fnmatch.filter(names, pattern))
        lines += [f"{kind}: not granted {missing}"] * bool(missing) + [f"{kind}: not used {unused}"] * bool(unused)
    return "; ".join(lines)


def test_the_policies_follow_sros2s_schema() -> None:
    tree = policies()
    etree.RelaxNG(etree.parse(str(FIXTURES / "policies.rng"))).assertValid(tree)
    enclaves = tree.find("enclaves")
    assert all(isinstance(child.tag, str) for child in enclaves), "sros2 takes a comment for an enclave"
    assert {enclave.get("path") for enclave in enclaves} >= {f"/fer/{name}" for name in NODES}


def test_a_schema_error_is_found() -> None:
    tree = policies()
    tree.find(".//topics").set("publish", "PERHAPS")
    with pytest.raises(etree.DocumentInvalid, match="topics failed to validate attributes"):
        etree.RelaxNG(etree.parse(str(FIXTURES / "policies.rng"))).assertValid(tree)


def test_no_pixels_are_granted_to_readers() -> None:
    rights = granted()
    for name in ("reader", "operator"):
        assert rights[name].subscribe.isdisjoint({"/fer/image", "/fer/overlay", "/fer/faces", "/fer/landmarks"})
        assert "/fer/attention" not in rights[name].subscribe
        assert not any(topic.startswith("/fer/") for topic in rights[name].publish)
    assert not rights["reader"].request


def test_the_policies_grant_what_the_running_nodes_use_and_nothing_else(
    graph: Any, portrait: np.ndarray, tmp_path: Path, more_messages: None
) -> None:
    write_bag((Item(portrait) for _ in range(600)), tmp_path / "bag", 2.0)
    graph.collect(Image, "/fer/overlay", IMAGE_QOS)  # it subscribes while somebody looks
    parameters = {
        "source_node": ["-p", "loop:=true", "-p", "fps:=2.0"],
        "bag_player": ["-p", f"bag:={tmp_path / 'bag'}"],
        "overlay_node": [*PRIVACY_OFF, "-p", "show_attention:=true"],
        "view_node": ["-p", "show_attention:=true", "-p", "view_port:=0"],
        "fer_node": [*ATTENTIVE, *FRAMES],
        "emotion_node": ATTENTIVE,
        "face_node": [*PRIVACY_OFF, *FRAMES],
        "hri_node": PRIVACY_OFF,
    }
    for name in NODES:
        graph.start_with(name, "--ros-args", "-r", "__ns:=/fer", "-p", "use_sim_time:=true", *parameters.get(name, []))
    reader = subprocess.Popen(
        [sys.executable, str(FIXTURES / "libhri_like.py"), "expression", "roi", "cropped", "aligned", "landmarks"],
        stdout=subprocess.DEVNULL,  # hri_node subscribes to what its topics' readers need
    )
    rights = granted()

    def differences() -> dict[str, str]:
        found = {name: difference(rights[name], used(graph, name)) for name in NODES}
        return {name: text for name, text in found.items() if text}

    try:
        graph.until(lambda: not differences())
    except pytest.fail.Exception:
        pytest.fail(json.dumps(differences(), indent=2))
    finally:
        reader.terminate()
        reader.wait()


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    """Keys of all enclaves, for this test's ROS domain; skips where nothing can be secured."""
    if importlib.util.find_spec("sros2") is None:
        pytest.skip("sros2 is not installed (apt install ros-$ROS_DISTRO-sros2)")
    from sros2.api._artifact_generation import generate_artifacts

    folder = tmp_path / "keystore"
    generate_artifacts(folder, [], [POLICIES])
    probe = subprocess.run(
        [sys.executable, str(LISTENER), "0", *enclave("reader")],
        env=secured(folder),
        capture_output=True,
        text=True,
        timeout=240,
    )
    if "security libraries" in probe.stdout:
        pytest.skip(f"this middleware was built without DDS security: {probe.stdout.strip()[:200]}")
    return folder


def enclave(name: str) -> list[str]:
    return ["--ros-args", "-r", f"__node:={name}", "-r", "__ns:=/fer", "--enclave", f"/fer/{name}"]


def secured(keystore: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keystore),
    }


def test_only_who_has_the_right_enclave_hears_emotions(
    graph: Any, keystore: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name, value in secured(keystore).items():
            patch.setenv(name, value)
        graph.start_with("source_node", *enclave("source_node"), "-p", "loop:=true", "-p", "fps:=10.0")
        graph.start_with("fer_node", *enclave("fer_node"))
        environment = dict(os.environ)
    listeners = {
        "reader": ([*enclave("reader")], environment),
        "operator": ([*enclave("operator")], environment),
        "unknown": ([*enclave("unknown")], environment),
        "plain": (["--ros-args", "-r", "__ns:=/fer"], {**environment, "ROS_SECURITY_ENABLE": "false"}),
    }
    processes = {
        name: subprocess.Popen(
            [sys.executable, str(LISTENER), "15", *arguments], env=env, stdout=subprocess.PIPE, text=True
        )
        for name, (arguments, env) in listeners.items()
    }
    heard = {name: process.communicate(timeout=240)[0].splitlines()[-1] for name, process in processes.items()}
    assert heard["reader"].startswith("heard ")
    assert int(heard["reader"].split()[1]) >= 30, heard
    assert heard["plain"] == "heard 0"
    assert heard["operator"].startswith("refused ")  # it may subscribe to other topics only
    assert heard["unknown"].startswith("refused ")  # there are no keys for it
    assert all(process.running() for process in graph.processes)
