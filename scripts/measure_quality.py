"""What the quality gate measures on pictures of one person each, to choose its limits by: face size, sharpness, yaw.

Yaw by the key points is compared with that of MediaPipe's mesh, and the depth of the nose is fitted that
``fer_perception.emotions.quality_gate`` has as a constant.

    python scripts/measure_quality.py wildfaces/images --pictures 500
"""

from __future__ import annotations

import argparse
import json
import random
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from fer_perception.emotions.quality_gate import NOSE_DEPTH, sharpness, yaw_deg
from fer_perception.faces.detector import Face, FaceFinder
from fer_perception.models.bundle import Bundle
from fer_perception.models.shipped import resolve_face_model, resolve_model
from fer_perception.pipeline import FacePipeline

SUFFIXES = (".jpg", ".jpeg", ".png")
QUANTILES = (0.001, 0.01, 0.05, 0.5, 0.95)
TURNED_DEG = 20


def yaw_by_mesh_deg(face: Face) -> float:
    """Absolute yaw of the head's orientation."""
    x, y, z, w = face.orientation or (0.0, 0.0, 0.0, 1.0)
    return abs(float(np.degrees(np.arctan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y)))))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pictures")
    parser.add_argument("--pictures", type=int, default=500, help="so many, drawn by chance (500)")
    options = parser.parse_args()
    files = sorted(file for file in options.folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    rows = []
    manifest = Bundle(resolve_model("")).manifest
    with closing(FacePipeline(FaceFinder(resolve_face_model("")), manifest)) as pipeline:
        for file in random.Random(0).sample(files, min(options.pictures, len(files))):
            if (picture := cv2.imread(str(file))) is None:
                continue
            image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            faces = [face for face in pipeline.find(image, mesh=True)[:1] if face.orientation]
            for face, crop in zip(faces, pipeline.crop(image, faces), strict=True):
                rows.append((min(face.box[2:]), sharpness(crop), yaw_deg(face), yaw_by_mesh_deg(face)))
    sizes, sharpnesses, yaws, by_mesh = np.asarray(rows, float).T
    # tan yaw = offset / depth: the least squares fit of the depth to the offsets that the constant stands for.
    offsets, tangents = np.tan(np.radians(yaws)) * NOSE_DEPTH, np.tan(np.radians(by_mesh))
    errors = np.abs(yaws - by_mesh)
    result = {
        "faces": len(rows),
        "quantiles": QUANTILES,
        "face_px": np.quantile(sizes, QUANTILES).round().tolist(),
        "sharpness": np.quantile(sharpnesses, QUANTILES).round(3).tolist(),
        "yaw_deg": np.quantile(yaws, QUANTILES).round(1).tolist(),
        "yaw_mean_error_deg": round(float(errors.mean()), 2),
        f"yaw_mean_error_beyond_{TURNED_DEG}_deg": round(float(errors[by_mesh > TURNED_DEG].mean()), 2),
        "nose_depth": round(float(offsets @ tangents / (tangents @ tangents)), 3),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
