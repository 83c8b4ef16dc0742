import math
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_perception.telemetry.power import EnergyCounter, PowerIntegral, PowerMeter


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has, only the generated sensors count; None makes the import fail."""
    monkeypatch.setitem(sys.modules, "pynvml", None)


def write(folder: Path, **files: object) -> Path:
    """Files by name. Each is replaced in one step: the meter's thread may read at any moment."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        new = folder / "new"
        new.write_text(f"{content}\n")
        new.replace(folder / name)
    return folder


def link(path: Path, target: Path) -> None:
    """As in the real sysfs, where classes and buses hold links to the devices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def ina3221(root: Path, device: str, rails: dict[int, tuple[str, int, int]]) -> Path:
    """The driver of JetPack 5 and later; rails by channel: label, millivolts, milliamperes."""
    files: dict[str, object] = {"name": "ina3221", "in7_label": "sum of shunt voltages", "in7_input": 40}
    for channel, (label, millivolts, milliamperes) in rails.items():
        files |= {
            f"in{channel}_label": label,
            f"in{channel}_input": millivolts,
            f"curr{channel}_input": milliamperes,
        }
    folder = write(root / "sys/devices/i2c-1" / device / "hwmon/hwmon3", **files)
    link(root / "sys/bus/i2c/devices" / device, folder.parents[1])
    return folder


def orin_nano(root: Path, milliamperes: int = 1000) -> Path:
    """5 V times 1 A is 5 W."""
    rails = {1: ("VDD_IN", 5000, milliamperes), 2: ("VDD_CPU_GPU_CV", 5000, 200), 3: ("VDD_SOC", 5000, 300)}
    return ina3221(root, "1-0040", rails)


def jetpack4(root: Path, rails: list[tuple[str, int]]) -> Path:
    """The driver of JetPack 4; rails: label, milliwatts."""
    files: dict[str, object] = {}
    for channel, (label, milliwatts) in enumerate(rails):
        files |= {f"rail_name_{channel}": label, f"in_power{channel}_input": milliwatts}
    folder = write(root / "sys/devices/i2c-6/6-0040/iio:device0", **files)
    link(root / "sys/bus/i2c/drivers/ina3221x/6-0040", folder.parent)
    return folder


def rapl_zone(root: Path, zone: str, name: str, energy_uj: int, range_uj: int = 1_000_000_000) -> Path:
    folder = root / "sys/devices/virtual/powercap" / zone
    write(folder, name=name, energy_uj=energy_uj, max_energy_range_uj=range_uj)
    link(root / "sys/class/powercap" / zone, folder)
    return folder


def measured(meter: PowerMeter, seconds: float) -> tuple[float, float]:
    """Average power of a while in watts: at least and at most, as the sensor's own moments are not known."""
    before = time.monotonic()
    meter.start()
    started = time.monotonic()
    time.sleep(seconds)
    shortest_s = time.monotonic() - started
    energy_j = meter.energy_j()
    longest_s = time.monotonic() - before
    meter.close()
    return energy_j / longest_s, energy_j / shortest_s


def test_constant_power() -> None:
    integral = PowerIntegral()
    assert [integral.add(time_s, 5.0) for time_s in (10.0, 10.05, 12.0, 12.0)] == pytest.approx([0, 0.25, 10, 10])


def test_changing_power_is_integrated_by_the_trapezoidal_rule() -> None:
    integral = PowerIntegral()
    samples = [(0.0, 2.0), (1.0, 4.0), (3.0, 4.0), (4.0, 0.0)]
    assert [integral.add(*sample) for sample in samples] == pytest.approx([0, 3, 11, 13])


@pytest.mark.parametrize("power_w", [-0.001, math.nan, math.inf])
def test_impossible_power(power_w: float) -> None:
    with pytest.raises(ValueError, match="the sensor gave"):
        PowerIntegral().add(0.0, power_w)


def test_a_counter_begins_again() -> None:
    counter = EnergyCounter(100.0)
    assert [counter.add(reading) for reading in (70.0, 95.0, 5.0, 5.0, 60.0, 10.0)] == [0, 25, 35, 35, 90, 140]


def test_a_counter_without_a_range_never_goes_back() -> None:
    counter = EnergyCounter()
    assert [counter.add(reading) for reading in (70.0, 95.0)] == [0, 25]
    with pytest.raises(ValueError, match=r"from 95\.0 J to 5\.0 J"):
        counter.add(5.0)


def test_ina3221_measures_the_total_rail(tmp_path: Path) -> None:
    orin_nano(tmp_path)
    other = tmp_path / "sys/bus/i2c/devices/2-0050/hwmon/hwmon4"
    write(other, name="pmbus", in1_label="VDD_IN", in1_input=12000, curr1_input=9000)
    meter = PowerMeter(tmp_path)
    assert (meter.sensor, meter.reason) == ("INA3221 VDD_IN", "")
    assert math.isnan(meter.energy_j())  # not started
    least_w, most_w = measured(meter, 0.2)
    assert least_w <= 5.0 <= most_w
    assert meter.reason == ""


def test_the_thread_sees_power_that_changes_between_two_calls(tmp_path: Path) -> None:
    folder = orin_nano(tmp_path, 0)
    meter = PowerMeter(tmp_path)
    meter.start()
    deadline = time.monotonic() + 60
    while meter.energy_j() == 0 and time.monotonic() < deadline:  # each call of this thread sees 0 W
        write(folder, curr1_input=200_000)  # 1 kW
        time.sleep(0.2)
        write(folder, curr1_input=0)
    assert meter.energy_j() > 0
    meter.close()


def test_energy_stays_after_the_end(tmp_path: Path) -> None:
    orin_nano(tmp_path)
    meter = PowerMeter(tmp_path)
    meter.start()
    time.sleep(0.05)
    meter.close()
    energy_j = meter.energy_j()
    assert energy_j > 0.2
    time.sleep(0.05)
    assert meter.energy_j() == energy_j
    meter.close()


def test_ina3221_without_a_total_rail_is_not_summed(tmp_path: Path) -> None:
    agx_orin = {1: ("VDD_GPU_SOC", 20000, 300), 2: ("VDD_CPU_CV", 20000, 100), 3: ("VIN_SYS_5V0", 5000, 900)}
    ina3221(tmp_path, "1-0040", agx_orin)
    meter = PowerMeter(tmp_path)
    assert meter.sensor == ""
    assert "no rail VDD_IN or POM_5V_IN, only VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0" in meter.reason


@pytest.mark.parametrize("total", ["POM_5V_IN", "VDD_IN"])
def test_jetpack_4(tmp_path: Path, total: str) -> None:
    jetpack4(tmp_path, [("POM_5V_GPU", 700), (total, 2500), ("POM_5V_CPU", 900)])
    meter = PowerMeter(tmp_path)
    assert meter.sensor == f"INA3221 {total}"
    least_w, most_w = measured(meter, 0.2)
    assert least_w <= 2.5 <= most_w


def test_rapl_sums_the_packages_only(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap/intel-rapl").mkdir(parents=True)  # the control type has no counter
    packages = [rapl_zone(tmp_path, f"intel-rapl:{index}", f"package-{index}", 990_000_000) for index in range(2)]
    others = [
        rapl_zone(tmp_path, "intel-rapl:0:0", "core", 0),
        rapl_zone(tmp_path, "intel-rapl:2", "psys", 0),
        rapl_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    meter = PowerMeter(tmp_path)
    assert meter.sensor == "RAPL package-0 + package-1"
    write(packages[1], energy_uj=993_000_000)  # before the start, not counted
    meter.start()
    assert meter.energy_j() == 0
    for folder in others:
        write(folder, energy_uj=900_000_000)
    write(packages[0], energy_uj=991_500_000)
    assert meter.energy_j() == pytest.approx(1.5)
    write(packages[0], energy_uj=2_000_000)  # begun again: 10.5 J more
    write(packages[1], energy_uj=994_000_000)
    assert meter.energy_j() == pytest.approx(13)
    write(packages[1], energy_uj=995_000_000)
    meter.close()
    assert meter.energy_j() == pytest.approx(14)


def test_a_counter_that_cannot_be_read_names_file_and_remedy(tmp_path: Path) -> None:
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 5)
    counter = rapl_zone(tmp_path, "intel-rapl:1", "package-1", 5) / "energy_uj"
    counter.unlink()
    counter.mkdir()  # root may read any file, but no folder
    meter = PowerMeter(tmp_path)
    path = tmp_path / "sys/class/powercap/intel-rapl:1/energy_uj"
    assert meter.sensor == ""
    assert f"{path} cannot be read (Is a directory)" in meter.reason
    assert f"sudo chmod a+r {path}" in meter.reason
    meter.start()
    assert math.isnan(meter.energy_j())
    meter.close()


def test_an_unreadable_sensor_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    (orin_nano(tmp_path) / "curr1_input").unlink()
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 5)
    meter = PowerMeter(tmp_path)
    assert (meter.sensor, meter.reason) == ("RAPL package-0", "")


def test_nothing_is_measured_without_a_sensor(tmp_path: Path) -> None:
    meter = PowerMeter(tmp_path)
    meter.start()
    assert math.isnan(meter.energy_j())
    meter.close()
    assert meter.sensor == ""
    for part in ("no INA3221", "no RAPL", "nvidia-ml-py is not installed"):
        assert part in meter.reason


@pytest.mark.parametrize("content", ["", "garbage", "-7"])
def test_power_that_turns_to_nonsense(tmp_path: Path, content: str) -> None:
    folder = orin_nano(tmp_path)
    meter = PowerMeter(tmp_path)
    meter.start()
    assert meter.energy_j() >= 0
    (folder / "curr1_input").write_text(content)
    assert math.isnan(meter.energy_j())
    assert meter.reason.startswith("INA3221 VDD_IN failed: ")
    write(folder, curr1_input=1000)
    assert math.isnan(meter.energy_j())  # what was missed stays unknown
    meter.close()


def test_the_thread_notices_a_sensor_that_vanishes(tmp_path: Path) -> None:
    folder = orin_nano(tmp_path)
    meter = PowerMeter(tmp_path)
    meter.start()
    (folder / "in1_input").unlink()
    deadline = time.monotonic() + 10
    while not meter.reason and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "in1_input cannot be read (No such file or directory)" in meter.reason
    assert math.isnan(meter.energy_j())
    meter.close()
    assert math.isnan(meter.energy_j())


def test_a_counter_that_vanishes(tmp_path: Path) -> None:
    folder = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 5)
    meter = PowerMeter(tmp_path)
    meter.start()
    (folder / "energy_uj").unlink()
    assert math.isnan(meter.energy_j())
    assert "energy_uj cannot be read" in meter.reason
    meter.close()


class FakeNvmlError(Exception):
    pass


def fake_nvml(powers_mw: list[int | None], energies_mj: list[int | None]) -> SimpleNamespace:
    """Stands in for the library pynvml; readings by GPU, None: not supported."""

    def change_users(step: int) -> None:
        library.users += step

    def reading(values: list[int | None], gpu: int) -> int:
        value = values[gpu]
        if value is None:
            raise FakeNvmlError("Not Supported")
        return value

    library = SimpleNamespace(
        users=0,
        NVMLError=FakeNvmlError,
        nvmlInit=lambda: change_users(1),
        nvmlShutdown=lambda: change_users(-1),
        nvmlDeviceGetCount=lambda: len(powers_mw),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetPowerUsage=lambda gpu: reading(powers_mw, gpu),
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: reading(energies_mj, gpu),
    )
    return library


def test_nvml_counts_the_energy_of_all_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    energies_mj: list[int | None] = [70_000, 1_000]
    nvml = fake_nvml([0, 0], energies_mj)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = PowerMeter(tmp_path)
    assert meter.sensor == "NVML energy of GPU 0 + GPU 1"
    meter.start()
    energies_mj[:] = [72_000, 1_500]
    assert meter.energy_j() == pytest.approx(2.5)
    energies_mj[1] = None
    assert math.isnan(meter.energy_j())
    assert meter.reason == "NVML energy of GPU 0 + GPU 1 failed: Not Supported"
    meter.close()
    assert nvml.users == 0


def test_processor_and_gpu_are_summed_unless_a_rail_holds_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    energies_mj: list[int | None] = [70_000]
    nvml = fake_nvml([0], energies_mj)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    package = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    meter = PowerMeter(tmp_path)
    assert meter.sensor == "RAPL package-0, NVML energy of GPU 0"
    meter.start()
    write(package, energy_uj=6_500_000)
    energies_mj[0] = 72_000
    assert meter.energy_j() == pytest.approx(3.5)
    meter.close()
    assert nvml.users == 0
    orin_nano(tmp_path)
    meter = PowerMeter(tmp_path)
    assert meter.sensor == "INA3221 VDD_IN"
    meter.close()
    assert nvml.users == 0


def test_nvml_power_where_energy_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = fake_nvml([60_000], [None])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = PowerMeter(tmp_path)
    assert meter.sensor == "NVML power of GPU 0"
    least_w, most_w = measured(meter, 0.2)
    assert least_w <= 60 <= most_w
    assert nvml.users == 0


@pytest.mark.parametrize(("powers_mw", "reason"), [([], "NVML: no GPU"), ([None], "NVML: Not Supported")])
def test_nvml_without_a_sensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, powers_mw: list[int | None], reason: str
) -> None:
    nvml = fake_nvml(powers_mw, [None])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = PowerMeter(tmp_path)
    assert meter.sensor == ""
    assert reason in meter.reason
    assert nvml.users == 0
