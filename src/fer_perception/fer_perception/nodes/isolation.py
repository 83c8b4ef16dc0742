"""Keeps a graph to this machine and apart from others: for the demo, tests and benchmarks, never for a robot."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import MutableMapping

from fer_perception.resources import share_folder

# Every DDS domain has UDP ports of its own; participant 0's unicast port is 7410 + 250 x domain (RTPS, 9.6.1.1).
FIRST_PORT, PORTS_PER_DOMAIN, DOMAINS = 7410, 250, 100


def free_domain_id() -> int:
    """A ROS domain in which no participant runs on this machine."""
    for domain in random.SystemRandom().sample(range(1, DOMAINS + 1), DOMAINS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", FIRST_PORT + PORTS_PER_DOMAIN * domain))
            except OSError:
                continue
            return domain
    raise RuntimeError(f"all {DOMAINS} ROS domains of this machine are in use")


def isolate(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the environment of a graph of its own, with the DDS profile for images; what the user set stands."""
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if "ROS_DOMAIN_ID" not in environment:
        environment["ROS_DOMAIN_ID"] = str(free_domain_id())
    environment.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(share_folder() / "config" / "fastdds.xml"))
