"""What goes wrong before a node runs, in one line with the remedy: variables, arguments and folders of ROS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ament_index_python import get_resources

from fer_perception.errors import FerError
from fer_perception.settings.unused import FILE_FORM

HIGHEST_DOMAIN = 232  # by the numbers of UDP ports
# With another value than 0 or 1, logging cannot start, and every line of it is an error on stderr.
LOG_SWITCHES = ("RCUTILS_COLORIZED_OUTPUT", "RCUTILS_LOGGING_USE_STDOUT", "RCUTILS_LOGGING_BUFFERED_STREAM")


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Look at the variables that end a process, or are ignored, when rclpy is imported or started. Without rclpy.

    :raises FerError: one of them cannot be used.
    """
    domain = environment.get("ROS_DOMAIN_ID", "")
    if domain and not (domain.isdecimal() and int(domain) <= HIGHEST_DOMAIN):
        raise FerError(f"ROS_DOMAIN_ID is '{domain}': set it to a number from 0 to {HIGHEST_DOMAIN}, or unset it")
    for switch in LOG_SWITCHES:
        if (value := environment.get(switch, "")) not in ("", "0", "1"):
            raise FerError(f"{switch} is '{value}': set it to 0 or 1, or unset it")
    if not environment.get("AMENT_PREFIX_PATH"):
        raise FerError("AMENT_PREFIX_PATH is not set: source the workspace's install/setup.bash, or scripts/env.sh")
    middleware, known = environment.get("RMW_IMPLEMENTATION", ""), sorted(get_resources("rmw_typesupport"))
    known = [name for name in known if name != "rmw_implementation"]
    if middleware and known and middleware not in known:
        raise FerError(
            f"RMW_IMPLEMENTATION is '{middleware}', which is not installed: set it to {' or '.join(known)}, or unset it"
        )


@contextmanager
def explained_start() -> Iterator[None]:
    """Within, ROS is started.

    :raises FerError: it cannot be, for what rclpy has a traceback.
    """
    from rclpy.exceptions import NameValidationException
    from rclpy.impl.implementation_singleton import rclpy_implementation as rcl

    try:
        yield
    except (rcl.RCLError, rcl.UnknownROSArgsError, NameValidationException) as error:
        raise FerError(_explained(str(error))) from error


def _explained(text: str) -> str:
    text = re.sub(r",? at \S+:\d+", "", text).replace("\n", " ").strip()  # where in ROS's sources
    if "logging" in text:
        return f"ROS cannot write its log ({text}): set HOME or ROS_LOG_DIR to a folder that can be written"
    if "params file" in text:
        return f"{text}. Give the path of a YAML file. {FILE_FORM}"
    if "SECURITY" in text or text.endswith("error not set"):  # rcl gives no reason without a keystore
        return f"ROS's security cannot be used ({text}): see docs/security.md for ROS_SECURITY_KEYSTORE and the others"
    return f"ROS cannot be started: {text}. Correct the argument, or the variable ROS_... that it is from"
