import logging

import pytest

from fer_perception.nodes.base.core_log import core_log


def test_what_the_core_logs_is_in_ross_log(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("fer_perception.test")
    with core_log():
        for _ in range(2):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
                logger.log(level, "%s of %d", logging.getLevelName(level), level)
    logger.error("afterwards")
    log = "".join(capfd.readouterr())
    for name, text in (("INFO", "INFO of 20"), ("WARN", "WARNING of 30"), ("ERROR", "ERROR of 40")):
        assert log.count(f"[{name}]") == log.count(f"[fer_perception.test]: {text}") == 2
    assert "DEBUG" not in log
    assert "[fer_perception.test]: afterwards" not in log
