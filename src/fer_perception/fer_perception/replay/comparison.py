"""Two runs on the same bags, frame by frame: whether the new one is better, and where they differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import resampled_confusions, scores
from fer_perception.evaluation.results import interval
from fer_perception.replay.evaluate_bags import REPORT, read_truth_table
from fer_perception.replay.evaluation import KINDS, Truth, confusions_by_unit, label_frames, probabilities
from fer_perception.replay.images import FrameImage, draw_frames
from fer_perception.replay.report import render
from fer_perception.replay.results import (
    ComparedRun,
    Comparison,
    DifferingFrame,
    Kind,
    Paired,
    PairedScore,
    ReplayReport,
)
from fer_perception.replay.tables import STREAM, Predictions, read_predictions

MAX_IMAGES = 12
NEIGHBOURS_NS = 1_000_000_000
KEYS = [*STREAM, "frame"]


def compare(folders: tuple[Path, Path], out: Path, images: bool = True, show_faces: bool = False) -> Comparison:
    """Compare the results of two runs and write ``compare.json`` and ``compare.html``.

    :param folders: output folders of replay: A, B.
    :param images: show the frames in which they differ most.
    :raises FerError: a folder holds no results, or the runs are of different bags, labels or ground truth.
    """
    reports, (a, b), truth = _read(folders)
    both = _prominent(a).merge(_prominent(b), on=KEYS, suffixes=("_a", "_b"))
    worst = _differing(both, a.labels, truth, a)
    result = Comparison(
        runs=[
            ComparedRun(folder=str(folder), model=report.model, all=report.all)
            for folder, report in zip(folders, reports, strict=True)
        ],
        frames=len(both),
        agreement=(both["label_a"] == both["label_b"]).mean() if len(both) else None,
        paired=paired_scores(a, b, truth),
        differ_most=[DifferingFrame.model_validate(row) for row in worst.to_dict("records")],
    )
    shown = _images(worst, a, reports[0], show_faces) if images and len(worst) else []
    page = render("compare.html.j2", result=result, images=shown, show_faces=show_faces)
    result.write(out / "compare.json")
    (out / "compare.html").write_text(page, encoding="utf-8")
    return result


def paired_scores(a: Predictions, b: Predictions, truth: Truth) -> dict[Kind, Paired] | None:
    """Both runs on the labelled frames that both predicted; None where there is no such frame."""
    scored = [label_frames(predictions, truth) for predictions in (a, b)]
    usable = [table[table["predicted"] & table["target"].isin(a.labels)] for table in scored]
    columns = [*KEYS, "target", "unit"]
    labels = [f"{prefix}label" for prefix in KINDS.values()]
    both = usable[0][columns + labels].merge(usable[1][KEYS + labels], on=KEYS, suffixes=("_a", "_b"))
    if both.empty:
        return None
    return {kind: _paired(both, prefix, a.labels) for kind, prefix in KINDS.items()}


def _paired(both: pd.DataFrame, prefix: str, labels: tuple[str, ...]) -> Paired:
    runs = [both[f"{prefix}label_{run}"] for run in "ab"]
    units = [confusions_by_unit(both, predicted, labels) for predicted in runs]
    found = [scores(matrices.sum(axis=0, keepdims=True)) for matrices in units]
    resampled = [scores(resampled_confusions(matrices)) for matrices in units]
    right = [predicted == both["target"] for predicted in runs]
    accuracy, macro_f1 = (
        PairedScore(
            a=found[0][name][0],
            b=found[1][name][0],
            difference=found[1][name][0] - found[0][name][0],
            interval=interval(resampled[1][name] - resampled[0][name]),
        )
        for name in ("accuracy", "macro_f1")
    )
    return Paired(
        n=len(both),
        units=len(units[0]),
        only_a_right=int((right[0] & ~right[1]).sum()),
        only_b_right=int((right[1] & ~right[0]).sum()),
        accuracy=accuracy,
        macro_f1=macro_f1,
    )


def format_comparison(result: Comparison) -> str:
    """The result as text for a terminal."""
    runs = [f"{name}: {run.folder} ({run.model.id})" for name, run in zip("AB", result.runs, strict=True)]
    agreement = "-" if result.agreement is None else f"{result.agreement:.2%}"
    lines = [*runs, f"{result.frames} frames predicted by both, the same label in {agreement}"]
    for kind, paired in (result.paired or {}).items():
        for name, score in (("accuracy", paired.accuracy), ("macro_f1", paired.macro_f1)):
            low, high = score.interval
            lines.append(
                f"{kind}, {name}: A {score.a:.2%}, B {score.b:.2%}, B - A {score.difference:+.2%} "
                f"[{low:+.2%}, {high:+.2%}]"
            )
    return "\n".join(lines)


def _read(folders: tuple[Path, Path]) -> tuple[list[ReplayReport], list[Predictions], Truth]:
    for folder in folders:
        if not (folder / REPORT).is_file():
            raise FerError(f"{folder}: holds no result of replay. Give the folder of its --out")
    reports = [ReplayReport.read(folder / REPORT) for folder in folders]
    streams = [{(s.bag, s.topic): [file.sha256 for file in s.files] for s in report.streams} for report in reports]
    if streams[0] != streams[1]:
        raise FerError(f"{folders[0]} and {folders[1]} are of different bags. Run both models on the same ones")
    predictions = [read_predictions(folder) for folder in folders]
    if predictions[0].labels != predictions[1].labels:
        raise FerError(f"{folders[0]} and {folders[1]}: the models have different labels and cannot be compared")
    truths = [read_truth_table(folder) for folder in folders]
    if truths[0] != truths[1]:
        raise FerError(f"{folders[0]} and {folders[1]} have different ground truth. Give both runs the same --labels")
    return reports, predictions, truths[0]


def _prominent(predictions: Predictions) -> pd.DataFrame:
    return predictions.emotions[predictions.emotions["prominent"] & (predictions.emotions["refusal"] == "")]


def _differing(both: pd.DataFrame, labels: tuple[str, ...], truth: Truth, a: Predictions) -> pd.DataFrame:
    """The frames whose distributions differ most, one of each second: half the sum of absolute differences."""
    rows = [
        probabilities(both.rename(columns={f"{label}_{run}": label for label in labels}), "", labels) for run in "ab"
    ]
    both = both.assign(
        distance=np.abs(rows[0] - rows[1]).sum(axis=1).round(4) / 2, second=both["time_ns_a"] // NEIGHBOURS_NS
    )
    worst = both.sort_values("distance", ascending=False, kind="stable").drop_duplicates([*STREAM, "second"])
    worst = worst[worst["distance"] > 0].head(MAX_IMAGES)
    targets = label_frames(a, truth)[[*KEYS, "target"]]
    worst = worst.merge(targets, how="left", on=KEYS)
    renamed = worst.rename(columns={"time_ns_a": "time_ns", "stamp_ns_a": "stamp_ns"})
    columns = [*KEYS, "time_ns", "stamp_ns", "label_a", "confidence_a", "label_b", "confidence_b", "distance"]
    return renamed[columns].assign(target=worst["target"].astype(object).where(worst["target"].notna(), None))


def _images(worst: pd.DataFrame, a: Predictions, report: ReplayReport, show_faces: bool) -> list[FrameImage]:
    starts = {(stream.bag, stream.topic): stream.start_ns for stream in report.streams}
    captions = []
    for _, row in worst.iterrows():
        truth = f"ground truth {row.target}, " if row.target else ""
        at_s = (row.time_ns - starts[row.bag, row.topic]) * 1e-9
        captions.append(
            f"{Path(row.bag).name}, {at_s:.2f} s: {truth}A {row.label_a} {row.confidence_a:.0%}, "
            f"B {row.label_b} {row.confidence_b:.0%}"
        )
    return draw_frames(worst, captions, a.emotions, show_faces)
