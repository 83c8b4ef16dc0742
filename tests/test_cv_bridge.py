"""The suite's images are those of cv_bridge, which it does not use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_cv_bridge.py"


def test_all_that_cv_bridge_reads_is_read_to_the_same_pixels() -> None:
    pytest.importorskip("cv_bridge", reason="cv_bridge is not on PyPI: source a ROS distribution to run this")
    result = subprocess.run([sys.executable, SCRIPT, "--size", "64x48"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    differences = {row.split(" | ")[0].strip("| "): row.split(" | ")[1] for row in result.stdout.splitlines()[2:]}
    assert {differences[encoding] for encoding in ("rgb8", "bgr8", "mono8", "rgba8", "bayer_rggb8", "yuv422")} == {"0"}
