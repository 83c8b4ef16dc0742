"""The result of ``benchmark live`` for people."""

from __future__ import annotations

from fer_perception.evaluation.speed import LiveEnergy, LiveResult, ModeResult
from fer_perception.telemetry.energy import carbon_text


def energy_text(energy: LiveEnergy, grid_intensity: float | None = None) -> str:
    """Energy of a face mode."""
    if not energy.sensor:
        return f"not measured ({energy.reason})"
    joules = energy.j_per_image or 0.0
    return (
        f"{energy.idle_w:.2f} W without images, {energy.w_at_30_hz:.2f} W at 30 Hz, {joules * 1000:.1f} mJ an image "
        f"above the former, by {energy.sensor}; carbon: {carbon_text(joules, grid_intensity)}"
    )


def format_live(result: LiveResult) -> str:
    """All tables."""
    lines = ["", f"{'':34}{'sent':>6}{'received':>9}{'p50':>8}{'p95':>8}{'p99':>8}{'jitter':>8}   ms"]
    for mode, found in result.modes.items():
        lines += _mode_lines(mode, found, result.grid_intensity_g_per_kwh)
    if result.start:
        lines.append(
            f"{'start to first prediction':34}{result.start.cold_s:.1f} s with an empty cache, then "
            f"{result.start.warm_s:.1f} s"
        )
    if result.faces:
        for stages in (result.faces.one, result.faces.eight):
            values = "  ".join(f"{name} {getattr(stages, name):.2f}" for name in ("detect", "align", "infer", "frame"))
            lines.append(f"{str(stages.count) + ' face(s), medians in ms':34}{values}")
        ratios = f"frame {result.faces.frame_ratio} x, emotion stage {result.faces.emotion_ratio} x"
        lines.append(f"eight to one: {ratios}")
    for shape, run in result.cameras.items():
        lines.append(
            f"{shape.replace('_', ' ') + ', all cameras, 30 Hz':34}{run.sent:6}{run.received:9}"
            f"{''.join(map(_ms, (run.p50_ms, run.p95_ms, run.p99_ms)))}"
            f"           {run.cpu_percent:.0f}% of a core, {run.rss_mb:.0f} MB"
        )
    if result.busy:
        busy = result.busy
        lines.append(
            f"{f'15 Hz, {busy.processes} other processes':34}{busy.sent:6}{busy.received:9}"
            f"{''.join(map(_ms, (busy.p50_ms, busy.p95_ms, busy.p99_ms)))}           "
            f"{busy.received / busy.sent:.1%} answered, age of the image at publication{_ms(busy.age_p50_ms)} (p50),"
            f"{_ms(busy.age_p99_ms)} (p99)"
        )
    if result.soak:
        soak = result.soak
        lines.append(
            f"soak: {soak.minutes} min at 30 Hz, {soak.lost} lost, memory {soak.rss_mb[0]:.1f} to "
            f"{soak.rss_mb[-1]:.1f} MB, age of the image at publication {soak.age_p50_ms[0]:.1f} to "
            f"{soak.age_p50_ms[-1]:.1f} ms"
        )
    return "\n".join(lines)


def _mode_lines(mode: str, found: ModeResult, grid_intensity: float | None) -> list[str]:
    floor = found.floor
    lines = [
        f"{mode + ', floor: bare pipeline':34}{'':15}{floor.p50_ms:8.2f}{'':8}{floor.p99_ms:8.2f}{'':11}"
        f"{floor.fps:.0f} FPS"
    ]
    for rate, run in found.rates.items():
        values = "".join(map(_ms, (run.p50_ms, run.p95_ms, run.p99_ms, run.jitter_ms)))
        lines.append(f"{f'{mode}, {rate} Hz, end to end':34}{run.sent:6}{run.received:9}{values}")
    cpu = "" if found.cpu_percent is None else f"at 30 Hz {found.cpu_percent:.0f}% of a core, "
    lines.append(
        f"{mode}, peak at 1% loss: {found.peak_fps:.0f} FPS, {found.peak_fraction_of_floor:.2f} of the floor's; {cpu}"
        f"{found.cpu_ms_per_image:.1f} ms CPU an image, {found.rss_mb:.0f} MB; {found.engine}"
    )
    return [*lines, f"{mode}, energy: {energy_text(found.energy, grid_intensity)}"]


def _ms(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.2f}"
