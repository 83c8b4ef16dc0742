"""The base of the suite's nodes: lifecycle, parameters and diagnostics."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, State, TransitionCallbackReturn
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header

from fer_perception.errors import FerError, missing_package
from fer_perception.nodes.base.conflicts import conflict
from fer_perception.nodes.base.core_log import core_log
from fer_perception.nodes.base.executor_thread import ExecutorThread
from fer_perception.nodes.base.parameters import descriptor
from fer_perception.nodes.base.qos import RESULT_QOS
from fer_perception.nodes.base.ros_start import explained_start
from fer_perception.settings import NodeSettings, Setting, Value, from_values, settings_of, values_of
from fer_perception.settings.unused import misspelt, owners_of, unused_arguments
from fer_perception.telemetry.malloc import keep_freed_memory

NAMESPACE = "fer"
LOG_PERIOD_S = 5.0
POLL_S = 0.05

# Key of the diagnostics of a node that could not do what it was told.
FAILED = "failed"

# Many nodes publish them.
SHARED_TOPICS = ("/tf",)

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class ManagedNode(LifecycleNode):
    """A lifecycle node. Subclasses give ``settings_type`` and what to do in the transitions configure and activate.

    A node whose work has an end sets ``finished``; where it also sets ``error``, the process ends with the status 1.

    Both transitions say at once how each step is undone, by :meth:`at_cleanup` and :meth:`at_deactivate`. They raise a
    :class:`FerError` that says what is wrong and what to do: the node then undoes what was done, logs the error,
    reports it on ``/diagnostics``, stays in the state it was in, and can be tried again.
    """

    settings_type: ClassVar[type[NodeSettings]] = NodeSettings
    settings: NodeSettings

    def __init__(self, name: str, namespace: str = NAMESPACE, remappings: Mapping[str, str] | None = None) -> None:
        rules = [word for old, new in (remappings or {}).items() for word in ("-r", f"{old}:={new}")]
        # Before rclpy's part: a signal may come at any time, and rclpy then destroys the node as far as it is made.
        self.state = "unconfigured"
        self.error = ""
        self.finished = threading.Event()
        self._invalid: dict[str, str] = {}
        self._published: set[str] = set()  # topics
        self._configured, self._activated = ExitStack(), ExitStack()
        super().__init__(name, namespace=namespace, cli_args=["--ros-args", *rules] if rules else None)
        self._declared = settings_of(self.settings_type)
        self.settings = from_values(self.settings_type, dict(map(self._declare, self._declared.values())))
        self.unused: list[str] = []  # what was set and nobody takes
        self._look_for_unused()
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RESULT_QOS)
        # Once a second of real time, whatever the ROS time does.
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._every_second, clock=self.steady_clock)

    # For subclasses ------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load what the parameters say and create publishers.

        :raises FerError: a parameter names something that cannot be used.
        """

    def activate(self) -> None:
        """Begin to work.

        :raises FerError: it cannot.
        """

    def at_cleanup(self, undo: Callable[[], Any]) -> None:
        """Call this in the transition cleanup, the last one given first."""
        self._configured.callback(undo)

    def at_deactivate(self, undo: Callable[[], Any]) -> None:
        """Call this in the transition deactivate, the last one given first."""
        self._activated.callback(undo)

    def publisher(self, message_type: type, topic: str, qos: QoSProfile = RESULT_QOS) -> LifecyclePublisher:
        """A publisher that lives until cleanup and is silent while the node is not active."""
        publisher = self.create_lifecycle_publisher(message_type, topic, qos)
        if publisher.topic_name not in SHARED_TOPICS:
            self._published.add(publisher.topic_name)
        self.at_cleanup(self._published.clear)
        self.at_cleanup(lambda: self.destroy_lifecycle_publisher(publisher))
        return publisher

    def changed(self) -> None:
        """Hand ``settings`` on to the running parts, after a parameter that may always be changed was changed."""

    def tick(self) -> None:
        """Once a second while active."""

    def log_skipped(self, count: int, reason: str) -> None:
        """Say why a message was skipped, the ``count``-th one: at most every few seconds."""
        self.get_logger().error(f"message skipped ({count} so far): {reason}", throttle_duration_sec=LOG_PERIOD_S)

    def diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values of the diagnostics while active."""
        return OK, "active", {}

    # Lifecycle -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Configure and activate where ``autostart`` says so."""
        if not self.settings.autostart:
            self.get_logger().info(f"waiting for: ros2 lifecycle set {self.get_fully_qualified_name()} configure")
        elif self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Transition to inactive."""
        if self._invalid:
            return self._fail("configure", FerError("; ".join(self._invalid.values())))
        try:
            self.configure()
        except Exception as error:
            self._configured.close()
            return self._fail("configure", error)
        self.state, self.error = "inactive", ""
        return super().on_configure(state)

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Transition to active."""
        result = super().on_activate(state)  # first the publishers, then what publishes
        try:
            self.activate()
        except Exception as error:
            self._activated.close()
            super().on_deactivate(state)
            return self._fail("activate", error)
        self.state, self.error = "active", ""
        return result

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Transition to inactive."""
        self.state = "inactive"
        self._activated.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Transition to unconfigured."""
        self.state = "unconfigured"
        self._configured.close()
        return super().on_cleanup(state)

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Transition to finalized. The process goes on until it is stopped."""
        self._stop()
        return super().on_shutdown(state)

    def destroy_node(self) -> None:
        """Stop working, free everything, then the node."""
        self._stop()
        super().destroy_node()

    def _stop(self) -> None:
        self.state = "unconfigured"
        self._activated.close()
        self._configured.close()

    def _fail(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        if isinstance(error, ModuleNotFoundError):
            self.error = missing_package(error)
        elif isinstance(error, (FerError, OSError)):
            self.error = str(error)
        else:
            self.error = "".join(traceback.format_exception(error))
        retry = f"ros2 lifecycle set {self.get_fully_qualified_name()} {transition}"
        end = "" if self.error.endswith(("?", ".")) else "."
        self.get_logger().error(f"{transition} failed: {self.error}{end} Then: {retry}")
        return TransitionCallbackReturn.FAILURE

    # Parameters ----------------------------------------------------------------------------------------------------

    def _declare(self, parameter: Setting) -> tuple[str, Value]:
        """Declare with the value the node was started with; of a bad one configure complains.

        :return: name and value.
        """
        described = descriptor(parameter)
        try:
            if "off" in parameter.choices and self._is_false(parameter.name):
                self.declare_parameter(parameter.name, "off", described, ignore_override=True)
            else:
                self.declare_parameter(parameter.name, parameter.default, described)
        except ParameterException as error:
            what, remedy = f"{parameter.name} ({parameter.description})", f"Give a value like {parameter.default!r}"
            self._invalid[parameter.name] = f"parameter {what}: {error}. {remedy}"
            self.declare_parameter(parameter.name, parameter.default, described, ignore_override=True)
        value = self.get_parameter(parameter.name).value
        if problem := parameter.problem(value):
            self._invalid[parameter.name] = problem
            return parameter.name, parameter.default
        return parameter.name, value

    def _look_for_unused(self) -> None:
        """Warn of parameters that the node was started with and does not have; ``/**`` may have other nodes'."""
        for name in self._parameter_overrides:
            if self.has_parameter(name) or name.startswith("qos_overrides."):
                continue
            if owners := owners_of(name):
                self.get_logger().info(
                    f"parameter {name} is not of this node and not used: {', '.join(owners)} have it"
                )
            else:
                self.warn_unused(misspelt(name, list(self._declared)))

    def warn_unused(self, warning: str) -> None:
        """Say in the log and on ``/diagnostics`` what was set and is not used."""
        self.unused.append(warning)
        self.get_logger().warning(warning)

    def _is_false(self, name: str) -> bool:
        """Whether the node was started with false for a parameter: YAML's way to read a bare ``off``."""
        override = self._parameter_overrides.get(name)  # rclpy has no public way to ask before it is declared
        return override is not None and override.value is False

    def _on_set_parameters(self, changes: Sequence[RosParameter]) -> SetParametersResult:
        """All or nothing; type and range were checked by rclpy before."""
        accepted: dict[str, Value] = {}
        for change in changes:
            parameter = self._declared.get(change.name)
            if parameter is None:
                continue  # use_sim_time and its like
            if parameter.changes == "unconfigured" and self.state != "unconfigured":
                return SetParametersResult(
                    successful=False,
                    reason=f"{change.name} is read by configure and the node is {self.state}: deactivate, clean up, "
                    "set it, then configure",
                )
            if problem := parameter.problem(change.value):
                return SetParametersResult(successful=False, reason=problem)
            accepted[change.name] = change.value
        self.settings = from_values(self.settings_type, values_of(self.settings) | accepted)
        for name in accepted:
            self._invalid.pop(name, None)
        if accepted and self.state != "unconfigured":
            self.changed()
        return SetParametersResult(successful=True)

    # Diagnostics ---------------------------------------------------------------------------------------------------

    def _every_second(self) -> None:
        if self.state == "active":
            self.tick()
        self.publish_diagnostics()

    def publish_diagnostics(self, flush_within: Duration | None = None) -> None:
        """Publish the node's state on ``/diagnostics`` now, and wait until it has arrived for at most so long."""
        values: dict[str, str] = {}
        if self.error:
            level, message, values = ERROR, self.error, {FAILED: "true"}
        elif self.state == "active":
            level, message, values = self.diagnose()
        else:
            level, message = WARN, f"{self.state}: waiting for the next lifecycle transition"
        if level == OK and (problem := conflict(self, sorted(self._published))):
            self.get_logger().warning(problem, throttle_duration_sec=LOG_PERIOD_S)
            level, message = WARN, problem
        if self.unused:
            values["unused"] = "; ".join(self.unused)
            level, message = (WARN, values["unused"]) if level == OK else (level, message)
        status = DiagnosticStatus(
            level=level,
            name=self.get_fully_qualified_name(),
            message=message,
            values=[KeyValue(key=key, value=value) for key, value in {"state": self.state, **values}.items()],
        )
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))
        if flush_within is not None:
            self._diagnostics.wait_for_all_acked(flush_within)


def run_node(create: Callable[[], ManagedNode]) -> None:
    """Create a node and run it until it has finished, or is asked to end by SIGINT or SIGTERM."""
    run_nodes([create])


def run_nodes(creators: Sequence[Callable[[], ManagedNode]]) -> None:
    """Run several nodes in one process: see :func:`run_node`."""
    keep_freed_memory()
    # rclpy's own handlers shut ROS down under the threads that are using it, which can crash the process. And no
    # node could publish a last message any more.
    with explained_start():
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signals: list[int] = []
    starting = True

    def end(number: int, _: object) -> None:
        signals.append(number)
        if starting and len(signals) == 1:  # models take seconds to load: do not wait for them
            raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        with ExitStack() as undo:
            for number in (signal.SIGINT, signal.SIGTERM):
                # All is done: a second one must not kill the interpreter while it ends.
                undo.callback(signal.signal, number, signal.SIG_IGN)
            undo.enter_context(core_log())
            undo.callback(rclpy.try_shutdown)
            nodes: list[ManagedNode] = []
            for create in creators:
                with explained_start():
                    nodes.append(create())
                undo.callback(nodes[-1].destroy_node)
            for warning in unused_arguments(sys.argv, [node.get_fully_qualified_name() for node in nodes]):
                nodes[0].warn_unused(warning)
            for node in nodes:
                node.start()
            starting = False
            undo.callback(ExecutorThread(*nodes).close)
            while not signals and not any(node.finished.is_set() for node in nodes):
                time.sleep(POLL_S)
            if any(node.finished.is_set() and node.error for node in nodes):
                raise SystemExit(1)
    except SystemExit:
        if not signals:
            raise
        # What a library was just making has no owner who would free it, and MediaPipe's destructors fail while the
        # interpreter ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
