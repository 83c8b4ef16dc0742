"""Two runs on the same bags, frame by frame: whether the new one is better, and where they differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_perception.errors import FerError
from fer_perception.evaluation.metrics import interval, resampled_confusions, scores
from fer_perception.replay.evaluate_bags import REPORT, read_truth_table
from fer_perception.replay.evaluation import KINDS, Truth, confusions_by_unit, label_frames, probabilities
from fer_perception.replay.images import Picture, draw_frames
from fer_perception.replay.report import render
from fer_perception.replay.tables import STREAM, Answers, read_answers

MAX_PICTURES = 12
NEIGHBOURS_NS = 1_000_000_000
KEYS = [*STREAM, "frame"]


def compare(folders: tuple[Path, Path], out: Path, images: bool = True, show_faces: bool = False) -> dict[str, Any]:
    """Compare the results of two runs and write ``compare.json`` and ``compare.html``.

    :param folders: output folders of replay: A, B.
    :param images: show the frames in which they differ most.
    :return: the contents of ``compare.json``: ``runs`` (of each its folder, model and all measures), ``frames``
        (answered by both), ``agreement`` (share of these with the same label), ``paired`` (for ``single`` and
        ``smoothed``, see :func:`paired_scores`, or None without ground truth), ``differ_most``.
    :raises FerError: a folder holds no results, or the runs are of different bags, labels or ground truth.
    """
    reports, (a, b), truth = _read(folders)
    result: dict[str, Any] = {
        "runs": [
            {"folder": str(folder), "model": report["model"], "all": report["all"]}
            for folder, report in zip(folders, reports, strict=True)
        ]
    }
    both = _prominent(a).merge(_prominent(b), on=KEYS, suffixes=("_a", "_b"))
    result["frames"] = len(both)
    result["agreement"] = float((both["label_a"] == both["label_b"]).mean()) if len(both) else None
    result["paired"] = paired_scores(a, b, truth)
    worst = _differing(both, a.labels, truth, a)
    result["differ_most"] = worst.to_dict("records")
    pictures = _pictures(worst, a, reports[0], show_faces) if images and len(worst) else []
    out.mkdir(parents=True, exist_ok=True)
    page = render("compare.html.j2", result=result, pictures=pictures, show_faces=show_faces)
    (out / "compare.html").write_text(page, encoding="utf-8")
    (out / "compare.json").write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return result


def paired_scores(a: Answers, b: Answers, truth: Truth) -> dict[str, Any] | None:
    """Both runs on the labelled frames that both have answered.

    :return: None where there is no such frame, else for ``single`` and ``smoothed``: ``n``, ``units`` (which bootstrap
        draws, the same for both), for ``accuracy`` and ``macro_f1`` each ``a``, ``b``, ``difference`` (B less A) and
        its 95% ``interval``, and ``only_a_right``, ``only_b_right`` (frames).
    """
    scored = [label_frames(answers, truth) for answers in (a, b)]
    usable = [table[table["answered"] & table["target"].isin(a.labels)] for table in scored]
    columns = [*KEYS, "target", "unit"]
    predictions = [f"{prefix}label" for prefix in KINDS.values()]
    both = usable[0][columns + predictions].merge(usable[1][KEYS + predictions], on=KEYS, suffixes=("_a", "_b"))
    if both.empty:
        return None
    result = {}
    for kind, prefix in KINDS.items():
        runs = [both[f"{prefix}label_{run}"] for run in "ab"]
        units = [confusions_by_unit(both, labels, a.labels) for labels in runs]
        found = [scores(matrices.sum(axis=0, keepdims=True)) for matrices in units]
        resampled = [scores(resampled_confusions(matrices)) for matrices in units]
        right = [labels == both["target"] for labels in runs]
        result[kind] = {
            "n": len(both),
            "units": len(units[0]),
            "only_a_right": int((right[0] & ~right[1]).sum()),
            "only_b_right": int((right[1] & ~right[0]).sum()),
            **{
                name: {
                    "a": float(found[0][name][0]),
                    "b": float(found[1][name][0]),
                    "difference": float(found[1][name][0] - found[0][name][0]),
                    "interval": interval(resampled[1][name] - resampled[0][name]),
                }
                for name in ("accuracy", "macro_f1")
            },
        }
    return result


def format_comparison(result: dict[str, Any]) -> str:
    """The result as text for a terminal."""
    runs = [f"{name}: {run['folder']} ({run['model']['id']})" for name, run in zip("AB", result["runs"], strict=True)]
    agreement = "-" if result["agreement"] is None else f"{result['agreement']:.2%}"
    lines = [*runs, f"{result['frames']} frames answered by both, the same label in {agreement}"]
    for kind, values in (result["paired"] or {}).items():
        for name in ("accuracy", "macro_f1"):
            low, high = values[name]["interval"]
            lines.append(
                f"{kind}, {name}: A {values[name]['a']:.2%}, B {values[name]['b']:.2%}, "
                f"B - A {values[name]['difference']:+.2%} [{low:+.2%}, {high:+.2%}]"
            )
    return "\n".join(lines)


def _read(folders: tuple[Path, Path]) -> tuple[list[dict[str, Any]], list[Answers], Truth]:
    reports = []
    for folder in folders:
        try:
            reports.append(json.loads((folder / REPORT).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise FerError(f"{folder}: holds no result of replay ({error}). Give the folder of its --out") from error
    streams = [
        {(stream["bag"], stream["topic"]): [file["sha256"] for file in stream["files"]] for stream in report["streams"]}
        for report in reports
    ]
    if streams[0] != streams[1]:
        raise FerError(f"{folders[0]} and {folders[1]} are of different bags. Run both models on the same ones")
    answers = [read_answers(folder) for folder in folders]
    if answers[0].labels != answers[1].labels:
        raise FerError(f"{folders[0]} and {folders[1]}: the models have different labels and cannot be compared")
    truths = [read_truth_table(folder) for folder in folders]
    if truths[0] != truths[1]:
        raise FerError(f"{folders[0]} and {folders[1]} have different ground truth. Give both runs the same --labels")
    return reports, answers, truths[0]


def _prominent(answers: Answers) -> pd.DataFrame:
    return answers.emotions[answers.emotions["prominent"] & (answers.emotions["refusal"] == "")]


def _differing(both: pd.DataFrame, labels: tuple[str, ...], truth: Truth, a: Answers) -> pd.DataFrame:
    """The frames whose distributions differ most, one of each second: half the sum of absolute differences."""
    rows = [
        probabilities(both.rename(columns={f"{label}_{run}": label for label in labels}), "", labels) for run in "ab"
    ]
    both = both.assign(
        distance=np.abs(rows[0] - rows[1]).sum(axis=1).round(4) / 2, second=both["time_ns_a"] // NEIGHBOURS_NS
    )
    worst = both.sort_values("distance", ascending=False, kind="stable").drop_duplicates([*STREAM, "second"])
    worst = worst[worst["distance"] > 0].head(MAX_PICTURES)
    targets = label_frames(a, truth)[[*KEYS, "target"]]
    worst = worst.merge(targets, how="left", on=KEYS)
    renamed = worst.rename(columns={"time_ns_a": "time_ns", "stamp_ns_a": "stamp_ns"})
    columns = [*KEYS, "time_ns", "stamp_ns", "label_a", "confidence_a", "label_b", "confidence_b", "distance"]
    return renamed[columns].assign(target=worst["target"].astype(object).where(worst["target"].notna(), None))


def _pictures(worst: pd.DataFrame, a: Answers, report: dict[str, Any], show_faces: bool) -> list[Picture]:
    starts = {(stream["bag"], stream["topic"]): stream["start_ns"] for stream in report["streams"]}
    captions = []
    for _, row in worst.iterrows():
        shown = f"shown {row.target}, " if row.target else ""
        at_s = (row.time_ns - starts[row.bag, row.topic]) * 1e-9
        captions.append(
            f"{Path(row.bag).name}, {at_s:.2f} s: {shown}A {row.label_a} {row.confidence_a:.0%}, "
            f"B {row.label_b} {row.confidence_b:.0%}"
        )
    return draw_frames(worst, captions, a.emotions, show_faces)
