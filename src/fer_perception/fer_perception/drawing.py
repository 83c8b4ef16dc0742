"""Draws faces and emotions into an image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fer_perception.faces import Face
from fer_perception.preprocessing import Float32Array, UInt8Image

# RGB, one per label in the order of the taxonomy
COLORS = (
    (220, 60, 50),
    (130, 160, 40),
    (150, 90, 200),
    (250, 190, 30),
    (70, 120, 220),
    (250, 130, 50),
    (170, 170, 170),
    (140, 100, 80),
)
FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE = (255, 255, 255)


def draw_results(
    image: UInt8Image, faces: Sequence[Face], probabilities: Float32Array, labels: Sequence[str]
) -> UInt8Image:
    """A copy of an image with a box, landmarks, label and bars of all probabilities for each face.

    :param image: uint8, (H, W, 3), RGB.
    :param probabilities: (faces, labels).
    """
    canvas = image.copy()
    unit = max(1.0, min(image.shape[:2]) / 480)
    for face, row in zip(faces, probabilities, strict=True):
        winner = int(row.argmax())
        color = COLORS[winner]
        x, y, width, height = face.box
        cv2.rectangle(canvas, (x, y), (x + width, y + height), color, round(2 * unit), cv2.LINE_AA)
        points = face.keypoints if face.mesh is None else face.mesh[:, :2]
        radius = round((2.5 if face.mesh is None else 0.5) * unit)
        for point in points:
            cv2.circle(canvas, (round(float(point[0])), round(float(point[1]))), radius, color, -1, cv2.LINE_AA)
        _tag(canvas, f"{labels[winner]} {row[winner] * 100:.0f}%", (x, y), color, unit)
        _bars(canvas, face, row, labels, unit)
    return canvas


def _tag(canvas: UInt8Image, text: str, corner: tuple[int, int], color: tuple[int, int, int], unit: float) -> None:
    """A label on a coloured ground, above the corner where there is room."""
    scale, padding = 0.6 * unit, round(4 * unit)
    (width, height), _ = cv2.getTextSize(text, FONT, scale, round(unit))
    x, bottom = corner[0], max(corner[1], height + 2 * padding)
    cv2.rectangle(canvas, (x, bottom - height - 2 * padding), (x + width + 2 * padding, bottom), color, -1)
    cv2.putText(canvas, text, (x + padding, bottom - padding), FONT, scale, WHITE, round(unit), cv2.LINE_AA)


def _bars(canvas: UInt8Image, face: Face, row: Float32Array, labels: Sequence[str], unit: float) -> None:
    """One bar per label beside the face, on the side where there is room, on a darkened ground."""
    line, length, text_width, gap = round(15 * unit), round(60 * unit), round(66 * unit), round(6 * unit)
    x, y, width, _ = face.box
    panel_width, panel_height = text_width + length + 2 * gap, line * len(labels) + gap
    right = x + width + gap
    left = right if right + panel_width <= canvas.shape[1] else max(0, x - gap - panel_width)
    top = int(np.clip(y, 0, max(0, canvas.shape[0] - panel_height)))
    ground = canvas[top : top + panel_height, left : left + panel_width]
    ground[:] = ground // 3
    for index, (label, probability) in enumerate(zip(labels, row, strict=True)):
        base = top + gap // 2 + line * (index + 1) - round(4 * unit)
        cv2.putText(canvas, label, (left + gap, base), FONT, 0.4 * unit, WHITE, round(unit), cv2.LINE_AA)
        start = left + gap + text_width
        end = start + max(1, round(length * float(probability)))
        cv2.rectangle(canvas, (start, base - round(8 * unit)), (end, base), COLORS[index], -1)
