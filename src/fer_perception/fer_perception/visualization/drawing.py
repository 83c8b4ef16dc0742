"""Draws faces and emotions into an image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fer_perception.emotions.attention_maps import AttentionMap
from fer_perception.faces.face import Face
from fer_perception.geometry import clip
from fer_perception.labels import EMOTIONS_8, UNKNOWN
from fer_perception.types import Box, Float32Array, UInt8Image

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
UNKNOWN_COLOR = (90, 90, 90)
# A redacted face is so many squares wide and high, whatever its size, with hair and chin.
SQUARES = 6
BLUR_MARGIN = 0.3
# Attention maps are enlarged to so many pixels before they are coloured, so that the colours change gradually.
MAP_PX = 128
MAP_OPACITY = 0.5
# Of more faces than these the panels would hide each other: they get the bars of the most probable labels.
FEW_FACES, FEW_LABELS = 2, 3
FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE = (255, 255, 255)


def color_of(label: str) -> tuple[int, int, int]:
    """RGB of a label; grey of anything else, such as ``unknown``."""
    return COLORS[EMOTIONS_8.index(label)] if label in EMOTIONS_8 else UNKNOWN_COLOR


def draw_results(
    image: UInt8Image, faces: Sequence[Face], probabilities: Float32Array, labels: Sequence[str]
) -> UInt8Image:
    """A copy of an image with a box, landmarks, label and named bars of the probabilities for each face: of all labels,
    or where there are several faces of the most probable ones.

    :param image: uint8, (H, W, 3), RGB.
    :param probabilities: (faces, labels); a row of NaN draws the face as unknown, without bars.
    """
    canvas = image.copy()
    unit = max(1.0, min(image.shape[:2]) / 480)
    for face, row in zip(faces, probabilities, strict=True):
        predicted = not np.isnan(row).any()
        winner = int(row.argmax())
        color = COLORS[winner] if predicted else UNKNOWN_COLOR
        x, y, width, height = face.box
        cv2.rectangle(canvas, (x, y), (x + width, y + height), color, round(2 * unit), cv2.LINE_AA)
        points = face.keypoints if face.mesh is None else face.mesh[:, :2]
        radius = round((2.5 if face.mesh is None else 0.5) * unit)
        for point in points[~np.isnan(points).any(axis=1)]:
            cv2.circle(canvas, (round(float(point[0])), round(float(point[1]))), radius, color, -1, cv2.LINE_AA)
        _tag(canvas, f"{labels[winner]} {row[winner] * 100:.0f}%" if predicted else UNKNOWN, (x, y), color, unit)
        if predicted:
            _bars(canvas, face, labels, row, len(labels) if len(faces) <= FEW_FACES else FEW_LABELS, unit)
    return canvas


def redact(image: UInt8Image, boxes: Sequence[Box]) -> UInt8Image:
    """A copy of an image in which each box, widened, is a mosaic of a few squares."""
    redacted = image.copy()
    height, width = image.shape[:2]
    for x, y, box_width, box_height in boxes:
        more_x, more_y = round(BLUR_MARGIN * box_width), round(BLUR_MARGIN * box_height)
        wide = (x - more_x, y - more_y, box_width + 2 * more_x, box_height + 2 * more_y)
        left, top, part_width, part_height = clip(wide, width, height)
        part = redacted[top : top + part_height, left : left + part_width]
        mosaic = cv2.resize(part, (SQUARES, SQUARES), interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(mosaic, (part_width, part_height), interpolation=cv2.INTER_NEAREST)
    return redacted


def draw_attention(image: UInt8Image, maps: Sequence[AttentionMap]) -> UInt8Image:
    """A copy of an image with each map blended over its face's crop, from blue for 0 over green to red for 1.

    Colours stand for the weights as they are, not for their ranks: a map without contrast has one colour.

    :param image: uint8, (H, W, 3), RGB.
    """
    canvas = image.copy()
    size = (image.shape[1], image.shape[0])
    for values, to_image in maps:
        if not np.isfinite(to_image).all() or abs(np.linalg.det(to_image[:, :2])) < 1e-6:  # no face has such key points
            continue
        large = cv2.resize(values, (MAP_PX, MAP_PX), interpolation=cv2.INTER_LINEAR)
        colours = cv2.cvtColor(cv2.applyColorMap(large, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
        places = np.array([values.shape[1], values.shape[0]]) / MAP_PX  # that a pixel of the large map spans
        shift = to_image[:, :2] @ ((places - 1) / 2)  # centres at whole numbers in both
        matrix = np.column_stack([to_image[:, :2] * places, to_image[:, 2] + shift])
        coloured = cv2.warpAffine(colours, matrix, size, dst=canvas.copy(), borderMode=cv2.BORDER_TRANSPARENT)
        canvas = cv2.addWeighted(canvas, 1 - MAP_OPACITY, coloured, MAP_OPACITY, 0)
    return canvas


def _tag(canvas: UInt8Image, text: str, corner: tuple[int, int], color: tuple[int, int, int], unit: float) -> None:
    """A label on a coloured ground, above the corner where there is room."""
    scale, padding = 0.6 * unit, round(4 * unit)
    (width, height), _ = cv2.getTextSize(text, FONT, scale, round(unit))
    x, bottom = corner[0], max(corner[1], height + 2 * padding)
    cv2.rectangle(canvas, (x, bottom - height - 2 * padding), (x + width + 2 * padding, bottom), color, -1)
    _text(canvas, text, (x + padding, bottom - padding), scale, unit)


def _bars(canvas: UInt8Image, face: Face, labels: Sequence[str], row: Float32Array, rows: int, unit: float) -> None:
    """A panel to the right of the face's box, or to its left where the image ends: so many of the most probable labels,
    in their own order, each with its bar.
    """
    x, y, width, _ = face.box
    line, gap, names, bar = (round(value * unit) for value in (17, 4, 66, 60))
    size = names + bar + 3 * gap
    right = x + width + gap
    left = max(0, right if right + size <= canvas.shape[1] else x - gap - size)
    top = max(0, min(y, canvas.shape[0] - line * rows - gap))
    ground = canvas[top : top + line * rows + gap, left : left + size]
    ground[:] = ground // 3
    for place, index in enumerate(np.sort(np.argsort(-row, kind="stable")[:rows])):
        base = top + line * (place + 1)
        _text(canvas, labels[index], (left + gap, base - round(4 * unit)), 0.42 * unit, unit)
        start = left + gap + names
        end = start + max(1, round(bar * float(row[index])))
        cv2.rectangle(canvas, (start, base - round(12 * unit)), (end, base - round(2 * unit)), COLORS[index], -1)


def _text(canvas: UInt8Image, text: str, place: tuple[int, int], scale: float, unit: float) -> None:
    cv2.putText(canvas, text, place, FONT, scale, WHITE, round(unit), cv2.LINE_AA)
