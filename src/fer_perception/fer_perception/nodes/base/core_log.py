"""What the core logs, in ROS's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.logging import get_logger

CORE = logging.getLogger("fer_perception")


class RosHandler(logging.Handler):
    """Hands each record on, with its level."""

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        logger, text = get_logger(record.name), self.format(record)
        # One line for each level: rclpy wants it the same whenever it is called from the same line.
        if record.levelno >= logging.ERROR:
            logger.error(text)
        elif record.levelno >= logging.WARNING:
            logger.warning(text)
        else:
            logger.info(text)


@contextmanager
def core_log() -> Iterator[None]:
    """Within, the core's log from level info on goes to ROS's."""
    handler, level = RosHandler(), CORE.level
    CORE.addHandler(handler)
    CORE.setLevel(logging.INFO)
    try:
        yield
    finally:
        CORE.setLevel(level)
        CORE.removeHandler(handler)
