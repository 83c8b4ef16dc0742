"""What native code writes to stderr, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fer_perception.faces.native_log import without_chatter

PROGRAM = """
import sys
from fer_perception.faces.finder import FaceFinder
from skimage.data import astronaut
finder = FaceFinder(sys.argv[1], None)
finder.find(astronaut())
print([face.mesh.shape for face in finder.find(astronaut(), mesh=True)])
finder.close()
"""


def test_mediapipe_prints_nothing(face_model: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(face_model)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[(478, 3)]\n", "")


def write(text: str) -> None:
    os.write(2, text.encode())


def test_errors_and_other_lines_pass(capfd: pytest.CaptureFixture[str]) -> None:
    with without_chatter():
        write("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        write("W0000 00:00:1795639572.780070    7884 inference.cc:1433] Reallocating memory.\n")
        write("E0000 00:00:1795639572.780071    7884 inference.cc:99] Out of memory.\n")
        write("[WARN] of a node: INFO: is not at the line's start\n")
    assert capfd.readouterr().err == (
        "E0000 00:00:1795639572.780071    7884 inference.cc:99] Out of memory.\n"
        "[WARN] of a node: INFO: is not at the line's start\n"
    )


def test_stderr_comes_back_after_an_error_and_after_blocks_in_two_threads(capfd: pytest.CaptureFixture[str]) -> None:
    def block() -> None:
        for _ in range(50):
            with without_chatter():
                write("I0000 00:00:1 chatter\n")

    with pytest.raises(ZeroDivisionError), without_chatter():
        raise ZeroDivisionError
    threads = [threading.Thread(target=block) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    write("here\n")
    assert capfd.readouterr().err == "here\n"


def test_a_process_without_stderr() -> None:
    program = """
import os
from fer_perception.faces.native_log import without_chatter
os.close(2)
with without_chatter():
    print(1)
"""
    result = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "1\n")
