"""CPU time and energy of calls: real CPU time, and a generated RAPL counter that rises as a processor's would."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fer_perception.commands.benchmark import engines as engine_benchmark
from fer_perception.commands.benchmark.engines import format_engines, measure_engines
from fer_perception.errors import FerError
from fer_perception.telemetry import energy
from fer_perception.telemetry.energy import CostMeter, carbon_text, grams_co2e, parse_grid_intensity


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has, only the generated sensor counts; None makes the import fail."""
    monkeypatch.setitem(sys.modules, "pynvml", None)


class Package:
    """A processor package that draws idle power, and some joules for each call of :meth:`work`, and its clock.

    The clock stands in for the module ``time``: it goes on by a tick at each look, so that nothing here depends on
    how busy the machine is. The counter stands shortly before its range of 20 J and begins again at 0 while it is read.
    """

    RANGE_J = 20.0
    TICK_S = 0.001
    process_time = staticmethod(time.process_time)

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, idle_w: float, call_j: float = 0.0) -> None:
        self._folder = root / "sys/class/powercap/intel-rapl:0"
        self._folder.mkdir(parents=True)
        self._idle_w, self._call_j, self._calls, self._now_s = idle_w, call_j, 0, 0.0
        (self._folder / "name").write_text("package-0\n")
        (self._folder / "max_energy_range_uj").write_text(f"{self.RANGE_J * 1e6:.0f}\n")
        self.sleep(0)
        monkeypatch.setattr(energy, "time", self)

    def monotonic(self) -> float:
        self.sleep(self.TICK_S)
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds
        energy_j = 18.0 + self._idle_w * self._now_s + self._call_j * self._calls
        new = self._folder / "new"
        new.write_text(f"{energy_j % self.RANGE_J * 1e6:.0f}\n")
        new.replace(self._folder / "energy_uj")

    def work(self) -> None:
        self._calls += 1
        self.sleep(0.01)

    def vanish(self) -> None:
        (self._folder / "energy_uj").unlink()
        self.sleep = lambda seconds: None  # type: ignore[method-assign]


def multiply(times: int) -> None:
    matrix = np.ones((64, 64), np.float32)
    for _ in range(times):
        matrix = matrix @ matrix / 64


def test_cpu_time_grows_with_the_work_and_not_with_waiting(tmp_path: Path) -> None:
    meter = CostMeter(tmp_path)
    meter.measure_idle()  # without a sensor it takes no time
    little, much = (meter.cost(lambda times=times: multiply(times), 0.1) for times in (50, 1000))
    waiting = meter.cost(lambda: time.sleep(0.2), 0.0)
    assert 0 < little.cpu_ms < much.cpu_ms
    assert waiting.cpu_ms < 100  # of 200 ms
    assert math.isnan(much.joules)
    assert meter.sensor == ""
    assert "no RAPL packages" in meter.reason
    meter.close()


def test_joules_of_a_call_are_above_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package(tmp_path, monkeypatch, idle_w=10.0, call_j=0.2)
    meter = CostMeter(tmp_path)
    assert (meter.sensor, meter.reason) == ("RAPL package-0", "")
    assert math.isnan(meter.cost(package.work, 0.0).joules)  # idle power is not known yet
    meter.measure_idle(0.5)
    assert meter.idle_w == pytest.approx(10, rel=0.01)
    assert meter.cost(package.work, 0.4).joules == pytest.approx(0.2, rel=0.01)  # past the counter's range
    meter.close()


def test_a_sensor_that_vanishes_leaves_the_cpu_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package(tmp_path, monkeypatch, idle_w=10.0)
    meter = CostMeter(tmp_path)
    meter.measure_idle(0.1)
    package.vanish()
    cost = meter.cost(lambda: multiply(50), 0.0)
    assert cost.cpu_ms > 0
    assert math.isnan(cost.joules)
    assert "RAPL package-0 failed" in meter.reason
    assert "energy_uj cannot be read" in meter.reason
    meter.close()


def test_carbon_of_an_energy() -> None:
    assert grams_co2e(3.6e6, 400.0) == 400.0  # one kWh
    assert carbon_text(36.0, 400.0) == "4 gCO2e per 1,000 at 400 g/kWh"
    assert carbon_text(36.0, None) == "not stated (needs --grid-intensity)"
    assert carbon_text(math.nan, 400.0) == "not measured"


@pytest.mark.parametrize("text", ["", "much", "-1", "nan", "inf"])
def test_a_grid_intensity_that_is_none(text: str) -> None:
    assert parse_grid_intensity("23.5") == 23.5
    with pytest.raises(FerError, match=r"--grid-intensity .*: give your grid's grams"):
        parse_grid_intensity(text)


@pytest.mark.parametrize(("grid_intensity", "carbon"), [(None, "not stated"), (360.0, "gCO2e per 1,000 at 360 g/kWh")])
def test_energy_and_carbon_of_an_inference(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid_intensity: float | None, carbon: str
) -> None:
    monkeypatch.setattr(engine_benchmark, "IDLE_S", 0.3)  # less than the counter's range
    Package(tmp_path, monkeypatch, idle_w=10.0)
    result = measure_engines([str(tiny_bundle)], "fp32", "onnxruntime", 1, grid_intensity, tmp_path)
    assert result.energy.sensor == "RAPL package-0"
    assert result.energy.idle_w == pytest.approx(10, rel=0.01)
    speed = result.engines[0].batch_1
    assert speed.joules is not None
    assert abs(speed.joules) < 1e-3  # nothing but idle power is drawn
    expected = None if grid_intensity is None else pytest.approx(speed.joules * 0.1, abs=2e-6)
    assert speed.g_co2e_per_1000 == expected
    text = format_engines(result)
    assert "W idle, by RAPL package-0:" in text
    assert carbon in text
