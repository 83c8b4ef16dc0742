"""The result of ``benchmark range`` for people."""

from __future__ import annotations

from fer_perception.evaluation.range import FACE_WIDTH_M, IMAGE_WIDTH_PX, VIEW_DEG, RangeResult, SceneResult


def format_range(result: RangeResult) -> str:
    """All tables."""
    detectors = result.detectors
    split = f", split {result.split}" if result.split else ""
    lines = [
        "",
        f"{result.manifest}{split}: {result.faces} faces of {result.photographs} photographs; {result.model}; "
        f"{result.machine}",
        f"in metres: a face of {FACE_WIDTH_M:g} m, a camera of {VIEW_DEG:g} degrees, {IMAGE_WIDTH_PX} pixels wide",
        "found, right (emotion, among those found), both: in %; points: median error, in % of the eyes' distance; ",
        "metres: error of the distance by camera_info in %, median and nine tenths",
        "",
        f"{'':25}" + "".join(f"  {detector.name:^34}" for detector in detectors),
        f"{'px':>4}{'m':>6}  {'scene':13}"
        + f"{'found':>9}{'right':>6}{'both':>5}{'points':>7}{'metres':>9}" * len(detectors),
    ]
    for rows in zip(*(detector.scenes for detector in detectors), strict=True):
        cells = "".join(
            f"{_percent(row.found):>9}{_percent(row.accuracy):>6}{_percent(row.found_and_right):>5}"
            f"{_percent(row.keypoint_error):>7}{_distance(row.distance_error):>9}"
            for row in rows
        )
        lines.append(f"{rows[0].width_px:4}{rows[0].distance_m:6.2f}  {_scene(rows[0]):13}{cells}")
    lines += ["", "an image that is alone is searched by range auto as by range far: no need to measure that", ""]
    whos = list(detectors[0].times)
    lines.append(
        f"{'face stage at 30 Hz':20}" + "".join(f"  {f'{who}: ms, ratio, found':>31}" for who in whos) + "  false"
    )
    for detector in detectors:
        cells = "".join(
            f"  {time.mean_ms:19.2f}{time.ratio:6.2f}{time.faces:6.1f}"
            for time in map(detector.times.get, whos)
            if time
        )
        lines.append(f"{detector.name:20}{cells}{detector.false_faces:7}")
    lines.append(f"ratio: to {detectors[0].name}; false: faces found in {result.pictures} pictures without people")
    return "\n".join(lines)


def _scene(row: SceneResult) -> str:
    return "hard edge" if row.hard_edge else f"rolled {row.roll_deg}°" if row.roll_deg else ""


def _distance(errors: tuple[float, float] | None) -> str:
    return "-" if errors is None else " / ".join(map(_percent, errors))


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.0f}"
