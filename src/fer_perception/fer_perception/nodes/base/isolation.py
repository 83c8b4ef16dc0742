"""Environment of a graph: the DDS profile, and for demo, tests and benchmarks a graph of its own on this machine."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import MutableMapping

from fer_perception.models.shipped import share_folder

# Every DDS domain has UDP ports of its own; participant 0's unicast port is 7410 + 250 x domain (RTPS, 9.6.1.1).
FIRST_PORT, PORTS_PER_DOMAIN, DOMAINS = 7410, 250, 100

# Fast DDS was renamed with its version 3, which came with Kilted.
DISTRIBUTIONS_WITH_FAST_DDS_2 = ("humble", "iron", "jazzy")


def use_dds_profile(environment: MutableMapping[str, str] = os.environ) -> None:
    """Name the suite's DDS profile in an environment; a profile that the user named stands."""
    old_name = environment.get("ROS_DISTRO") in DISTRIBUTIONS_WITH_FAST_DDS_2
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old_name else "FASTDDS_DEFAULT_PROFILES_FILE"
    environment.setdefault(variable, str(share_folder() / "config" / "fastdds.xml"))


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
    """Set a domain of its own, on this machine alone, whatever was set before: a demo must not meet a robot."""
    environment["ROS_DOMAIN_ID"] = str(free_domain_id())
    if environment.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    else:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    use_dds_profile(environment)
