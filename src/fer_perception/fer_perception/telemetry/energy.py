"""What a piece of work costs: CPU time always, energy where there is a sensor, carbon where the grid is stated.

Energy is what the sensor sees above its idle power, which is measured first: the machine's own consumption is not the
work's. Carbon is operational only, by the method of Lacoste et al., "Quantifying the Carbon Emissions of Machine
Learning" (2019): energy times the grid's intensity. There is no default intensity, as grids differ widely.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fer_perception.errors import FerError
from fer_perception.telemetry.power import PowerMeter

J_PER_KWH = 3.6e6

# Sensors renew their values every 1 ms (RAPL) to 100 ms (NVML): over a second that is at most a tenth.
IDLE_S = 5.0
TURN_S = 1.0


class Cost(NamedTuple):
    """Of one call. ``cpu_ms``: user and system time of all threads of this process. ``joules``: above idle power,
    noise can make it negative; NaN: not measured.
    """

    cpu_ms: float
    joules: float


class CostMeter:
    """Measures what calls cost.

    ``sensor`` names what is measured, for example "RAPL package-0"; empty: energy is not measured. ``reason`` says
    why. ``idle_w``: NaN until :meth:`measure_idle`, or where nothing is measured.

    :param root: the folder that holds ``sys``, where it is not the machine's own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._meter = PowerMeter(root)
        self._meter.start()
        self.sensor = self._meter.sensor
        self.idle_w = math.nan

    @property
    def reason(self) -> str:
        """Why energy is not measured, or no longer; empty: all is well."""
        return self._meter.reason if math.isnan(self._meter.energy_j()) else ""

    def measure_idle(self, seconds: float = IDLE_S) -> None:
        """Power while this process does nothing; other programs' share is in it. No time is spent without a sensor."""
        if not self.sensor:
            return
        begin_j, begin_s = self._meter.energy_j(), time.monotonic()
        time.sleep(seconds)
        self.idle_w = (self._meter.energy_j() - begin_j) / (time.monotonic() - begin_s)

    def cost(self, work: Callable[[], object], seconds: float = TURN_S) -> Cost:
        """The mean cost of a call, over so many seconds of calls and at least one.

        Children's CPU time is not counted. ``joules`` needs :meth:`measure_idle` before.
        """
        calls = 0
        begin_j, begin_s, begin_cpu_s = self._meter.energy_j(), time.monotonic(), time.process_time()
        while not calls or time.monotonic() - begin_s < seconds:
            work()
            calls += 1
        cpu_s = time.process_time() - begin_cpu_s
        used_j, passed_s = self._meter.energy_j() - begin_j, time.monotonic() - begin_s
        return Cost(cpu_s * 1000 / calls, (used_j - self.idle_w * passed_s) / calls)

    def close(self) -> None:
        """Let the sensor go."""
        self._meter.close()


def grams_co2e(joules: float, grid_intensity: float) -> float:
    """Carbon of an energy in grams of CO2 equivalent, for a grid of so many grams per kilowatt-hour."""
    return joules / J_PER_KWH * grid_intensity


def parse_grid_intensity(text: str) -> float:
    """A grid's intensity in gCO2e/kWh.

    :raises FerError: it is no number of 0 or more.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise FerError(
            f"--grid-intensity {text!r}: give your grid's grams of CO2 equivalent per kWh, a number of 0 or more"
        )
    return value


def carbon_text(joules: float, grid_intensity: float | None) -> str:
    """Carbon of a thousand times an energy, for people."""
    if math.isnan(joules):
        return "not measured"
    if grid_intensity is None:
        return "not stated (needs --grid-intensity)"
    return f"{grams_co2e(1000 * joules, grid_intensity):.4g} gCO2e per 1,000 at {grid_intensity:g} g/kWh"
