"""Each process of a running graph is killed and started again: the others go on, and emotions flow again."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fer_msgs.msg import EmotionArray

SOURCE: dict[str, Any] = {"source": "astronaut", "fps": 10.0, "loop": True}
# A face is remembered for longer than any restart takes: what lives on shows in the ids.
REMEMBER: dict[str, Any] = {"max_lost_s": 60.0, "smoothing_s": 5.0}
PARAMETERS: dict[str, dict[str, Any]] = {
    "source_node": SOURCE,
    "fer_node": REMEMBER,
    "face_node": {"max_lost_s": 60.0, "privacy": "off"},
    "emotion_node": REMEMBER,
}
FLOWING = 5


class Suite:
    """Processes by name, and the emotions that come out at the end."""

    def __init__(self, graph: Any, executables: tuple[str, ...]) -> None:
        self._graph = graph
        graph.collect(EmotionArray, "emotions")
        graph.collect(DiagnosticArray, "/diagnostics")
        self.processes = {name: graph.start(name, **PARAMETERS[name]) for name in executables}

    def track_id(self, timeout_s: float = 60.0) -> str:
        """Wait for some further emotions; the id of the one face in them."""
        emotions = self._graph.received["emotions"]
        emotions.clear()
        self._graph.until(lambda: len(emotions) >= FLOWING, timeout_s)
        track_ids = {emotion.track_id for message in emotions for emotion in message.emotions}
        assert [len(message.emotions) for message in emotions] == [1] * len(emotions)
        assert len(track_ids) == 1
        return track_ids.pop()

    def silence(self) -> None:
        """Wait until what is on its way has arrived and nothing comes any more."""
        emotions = self._graph.received["emotions"]

        def silent() -> bool:
            emotions.clear()
            self._graph.spin(0.5)
            return not emotions

        self._graph.until(silent)

    def kill(self, name: str) -> None:
        assert self.processes[name].stop(signal.SIGKILL) == -signal.SIGKILL

    def restart(self, name: str) -> str:
        """The id of the face after a restart, when some emotions have come."""
        self.processes[name] = self._graph.start(name, **PARAMETERS[name])
        return self.track_id()

    def await_active(self, names: set[str]) -> None:
        """Wait until these nodes, and no others, say of themselves that they are active."""
        reports = self._graph.received["/diagnostics"]
        reports.clear()

        def active() -> set[str]:
            return {
                status.name.rsplit("/", 1)[-1]
                for report in reports
                for status in report.status
                if any((value.key, value.value) == ("state", "active") for value in status.values)
            }

        self._graph.until(lambda: active() >= names)
        assert active() == names


@pytest.mark.parametrize(
    ("executables", "tracker"),
    [
        pytest.param(("source_node", "fer_node"), "fer_node", id="whole"),
        pytest.param(("source_node", "face_node", "emotion_node"), "face_node", id="split", marks=pytest.mark.slow),
    ],
)
def test_each_process_may_be_killed_and_started_again(graph: Any, executables: tuple[str, ...], tracker: str) -> None:
    suite = Suite(graph, executables)
    track_ids = [suite.track_id()]
    for name in executables:
        suite.kill(name)
        suite.silence()
        others = set(executables) - {name}
        assert all(suite.processes[other].running() for other in others)
        suite.await_active(others)

        track_id = suite.restart(name)

        if name == tracker:
            assert track_id not in track_ids  # a new track never has an old one's id
            track_ids.append(track_id)
        else:
            assert track_id == track_ids[-1]  # the tracker has not lost its memory
        suite.await_active(set(executables))
    for name, process in suite.processes.items():
        assert process.stop() == 0, name
        assert "Traceback" not in process.output
