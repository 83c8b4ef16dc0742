#!/usr/bin/env python3
"""Where eyes and mouth lie in a dataset's images: the figures behind a bundle's alignment template.

    python scripts/measure_template.py fer2013:PATH

Prints the medians of the detector's key points over the training split's images in which one face is found, as
fractions of the image's width and height.
"""

from __future__ import annotations

import argparse
from contextlib import closing

import cv2
import numpy as np
from tqdm import tqdm

from fer_perception.faces.finder import open_finder
from fer_perception.settings import FaceSettings
from fer_training.datasets import load_dataset

SIDE, MARGIN = 192, 48


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="NAME:PATH")
    parser.add_argument("--every", type=int, default=10, help="look at every n-th image only (default 10)")
    options = parser.parse_args()
    images = load_dataset(options.dataset, "train").images[:: options.every]
    found = []
    with closing(open_finder(FaceSettings(min_confidence=0.5))) as finder:
        for image in tqdm(images, unit="image"):
            # The detector expects room around a face.
            large = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            framed = cv2.copyMakeBorder(large, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE)
            faces = finder.find(cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB) if framed.ndim == 2 else framed)
            if len(faces) == 1:
                found.append((faces[0].eyes_and_mouth + 0.5 - MARGIN) / SIDE)
    print(f"one face in {len(found)} of {len(images)} images")
    for name, median, deviation in zip(
        ("right eye", "left eye", "mouth"), np.median(found, axis=0), np.std(found, axis=0), strict=True
    ):
        print(f"{name:10} median {median.round(3)}  standard deviation {deviation.round(3)}")


if __name__ == "__main__":
    main()
