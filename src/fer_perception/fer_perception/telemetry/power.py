"""Electrical energy from real sensors. Where there is none, energy is "not measured" (NaN), never an estimate."""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Reading an INA3221 takes about a millisecond on its bus; the power of a pipeline changes from frame to frame.
SAMPLE_S = 0.05

# The rails that carry all that a Jetson module consumes, on the boards that have one: POM_5V_IN on the Nano, VDD_IN on
# TX1, TX2, Xavier NX, Orin Nano and Orin NX. AGX Xavier and AGX Orin have none; which of their rails make up the total
# is told in contradictory ways, so they are not measured.
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")


class PowerIntegral:
    """Energy of a power that is sampled at any times, by the trapezoidal rule."""

    def __init__(self) -> None:
        self._energy_j = 0.0
        self._last: tuple[float, float] | None = None

    def add(self, now_s: float, power_w: float) -> float:
        """Energy in joules from the first sample to this one.

        :raises ValueError: the power is negative or not a number.
        """
        if not 0 <= power_w < math.inf:
            raise ValueError(f"the sensor gave {power_w} W")
        if self._last is not None:
            last_s, last_w = self._last
            self._energy_j += (last_w + power_w) / 2 * (now_s - last_s)
        self._last = now_s, power_w
        return self._energy_j


class EnergyCounter:
    """Energy that a counter has counted since its first reading.

    :param range_j: where it begins again at 0, in joules; it must be read before it comes past its last reading again.
        0: it never begins again.
    """

    def __init__(self, range_j: float = 0.0) -> None:
        self._range_j = range_j
        self._energy_j = 0.0
        self._last_j: float | None = None

    def add(self, reading_j: float) -> float:
        """Energy in joules from the first reading to this one.

        :raises ValueError: the counter went backwards, or its reading is not a number.
        """
        step_j = 0.0 if self._last_j is None else reading_j - self._last_j
        if step_j < 0:
            step_j += self._range_j
        if not 0 <= step_j < math.inf:
            raise ValueError(f"the counter went from {self._last_j} J to {reading_j} J")
        self._energy_j += step_j
        self._last_j = reading_j
        return self._energy_j


class PowerMeter:
    """The energy that the machine takes, from these sensors.

    1. INA3221 of a Jetson with a rail VDD_IN or POM_5V_IN: the module's input, without the carrier board. Where there
       is none, the sum of those of the others that can be read:
    2. RAPL: the processor packages.
    3. NVML, where the Python package nvidia-ml-py is installed: all NVIDIA GPUs, boards with their memory.

    It is the energy of those whole parts, idle power and other programs included, not the pipeline's share. Average
    power is its difference over the time between two calls of :meth:`energy_j`. Safe to use from several threads.

    ``sensor`` names what is measured, for example "INA3221 VDD_IN" or "RAPL package-0, NVML energy of GPU 0"; empty:
    nothing. ``reason`` says why nothing is measured, or no longer; empty: all is well.

    :param root: the folder that holds ``sys``, where it is not the machine's own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.sensor = self.reason = ""
        self._sensor: _Sensor | None = None
        self._lock = threading.Lock()
        self._running = False
        self._energy_j = math.nan
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._sensor = _find_sensor(root)
            self.sensor = self._sensor.name
        except _SensorError as error:
            self.reason = str(error)

    def start(self) -> None:
        """Begin at 0 J."""
        if self._sensor is None:
            return
        self._running = True
        self.energy_j()
        if self._sensor.sampled:
            self._thread = threading.Thread(target=self._sample, name="power_meter", daemon=True)
            self._thread.start()

    def energy_j(self) -> float:
        """Joules from the start until now, or until the end; NaN: not measured, see ``reason``.

        Takes one reading, about a millisecond. To be called every minute at least: RAPL's counters begin again at 0
        after some minutes of full power.
        """
        with self._lock:
            if self._running and self._sensor is not None:
                try:
                    self._energy_j = self._sensor.energy_j()
                except Exception as error:  # whatever a driver does, the caller's own work goes on
                    self._energy_j = math.nan
                    self.reason = f"{self.sensor} failed: {error}"
                    self._running = False
            return self._energy_j

    def close(self) -> None:
        """End the measurement; the energy stays what it is now."""
        self.energy_j()
        with self._lock:
            self._running = False
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._sensor is not None:
            self._sensor.close()
            self._sensor = None

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S) and not math.isnan(self.energy_j()):
            pass


@dataclass(frozen=True)
class _Sensor:
    """``energy_j`` gives joules since its first call; ``sampled``: it integrates power, so it must be called often."""

    name: str
    energy_j: Callable[[], float]
    sampled: bool
    close: Callable[[], None] = lambda: None


class _SensorError(Exception):
    """A sensor is missing, cannot be read or gives nonsense."""


def _find_sensor(root: Path) -> _Sensor:
    sensors: list[_Sensor] = []
    reasons: list[str] = []
    for find in (_find_ina3221, _find_rapl, _find_nvml):
        try:
            sensors.append(find(root))
        except _SensorError as error:
            reasons.append(str(error))
        if find is _find_ina3221 and sensors:
            break  # processor and GPU are behind that rail
    if not sensors:
        raise _SensorError("; ".join(reasons))

    def close() -> None:
        for sensor in sensors:
            sensor.close()

    return _Sensor(
        ", ".join(sensor.name for sensor in sensors),
        lambda: sum(sensor.energy_j() for sensor in sensors),
        sampled=any(sensor.sampled for sensor in sensors),
        close=close,
    )


def _sampled_power(read_w: Callable[[], float]) -> Callable[[], float]:
    integral = PowerIntegral()

    def energy_j() -> float:
        power_w = read_w()
        return integral.add(time.monotonic(), power_w)

    return energy_j


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError as error:  # its own text lacks the path where the driver and not the file system refuses
        raise _SensorError(f"{path} cannot be read ({error.strerror})") from error


def _read_number(path: Path, per_unit: float) -> float:
    """Content of a file over so many of its units in one of ours."""
    text = _read(path)
    try:
        return int(text) / per_unit
    except ValueError:
        raise _SensorError(f"{path} holds {text!r}, not a number") from None


def _find_ina3221(root: Path) -> _Sensor:
    rails = dict(_ina3221_rails(root))
    for label in TOTAL_RAILS:
        if label in rails:
            rails[label]()  # a rail that cannot be read is no sensor
            return _Sensor(f"INA3221 {label}", _sampled_power(rails[label]), sampled=True)
    if rails:
        raise _SensorError(f"INA3221: no rail {' or '.join(TOTAL_RAILS)}, only {', '.join(rails)}")
    raise _SensorError("no INA3221 (Jetson)")


def _ina3221_rails(root: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Labels of the rails and functions that give their power in watts."""
    for name in sorted(root.glob("sys/bus/i2c/devices/*/hwmon/hwmon*/name")):
        if _read(name) == "ina3221":
            # Channels above the third are no rails, the seventh is a sum of them.
            for label in sorted(name.parent.glob("in[123]_label")):
                voltage, current = (name.with_name(f"{kind}{label.name[2]}_input") for kind in ("in", "curr"))
                yield _read(label), partial(_read_power_w, voltage, current)
    # JetPack 4 has a driver of its own.
    for label in sorted(root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[0-2]")):
        power = label.with_name(f"in_power{label.name[-1]}_input")
        yield _read(label), partial(_read_number, power, 1e3)


def _read_power_w(millivolts: Path, milliamperes: Path) -> float:
    return _read_number(millivolts, 1e3) * _read_number(milliamperes, 1e3)


def _find_rapl(root: Path) -> _Sensor:
    folder = root / "sys/class/powercap"
    # Other zones are parts of a package (core, dram ...) or contain packages (psys), and the counters of another kind,
    # intel-rapl-mmio, count the same packages again.
    zones = {_read(zone / "name"): zone for zone in sorted(folder.glob("intel-rapl:[0-9]*"))}
    packages = {name: zone for name, zone in zones.items() if name.startswith("package-")}
    if not packages:
        raise _SensorError(f"no RAPL packages in {folder}")
    counters = []
    for zone in packages.values():
        energy = zone / "energy_uj"
        try:
            _read_number(energy, 1e6)
        except _SensorError as error:
            # Since 5.10 Linux lets only root read it, because it can betray secrets of other programs.
            raise _SensorError(f"RAPL: {error}; allow it: sudo chmod a+r {energy}, or a udev rule") from error
        range_j = _read_number(zone / "max_energy_range_uj", 1e6)
        counters.append((partial(_read_number, energy, 1e6), EnergyCounter(range_j)))
    return _Sensor(
        f"RAPL {' + '.join(packages)}",
        lambda: sum(counter.add(read_j()) for read_j, counter in counters),
        sampled=False,
    )


def _find_nvml(_root: Path) -> _Sensor:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        raise _SensorError("NVML: the Python package nvidia-ml-py is not installed") from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise _SensorError(f"NVML: {error}") from error

    def close() -> None:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()

    def counted_j() -> float:
        return sum(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) for gpu in gpus) / 1e3

    def power_w() -> float:
        return sum(nvml.nvmlDeviceGetPowerUsage(gpu) for gpu in gpus) / 1e3

    try:
        gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        name = " + ".join(f"GPU {index}" for index in range(len(gpus)))
        try:
            counted_j()
        except nvml.NVMLError:  # GPUs before Volta do not count their energy
            power_w()
            return _Sensor(f"NVML power of {name}", _sampled_power(power_w), sampled=True, close=close)
    except nvml.NVMLError as error:
        close()
        raise _SensorError(f"NVML: {error}") from error
    if not gpus:
        close()
        raise _SensorError("NVML: no GPU")
    counter = EnergyCounter()
    return _Sensor(f"NVML energy of {name}", lambda: counter.add(counted_j()), sampled=False, close=close)
